//! Dispatch with transcripts, on an orchestrator whose matrix is given by a Prepare, and an account of every frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use scalebed_cluster::{Ablations, NodeConfig};
use scalebed_distribution::matrix;
use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::build::{self, Envelope};
use scalebed_frame::control::{self, Admitted, Body, Control};
use scalebed_frame::shim::{DETOURED, TO_UPLINK};
use scalebed_frame::view::Arp;
use scalebed_frame::{
    DistributionMode, Flow, Generation, GroupId, Incarnation, Kind, Mac, MemberId, MhoId, NetworkId, NodeId, Protocol,
    Shim, mac, ndp, render,
};
use scalebed_topologies::lab::{Architecture, Group, Network, NetworkRole, Port, PortRole, Prefix};

use super::Orchestrator;

const GROUP: GroupId = GroupId(1);
const PAIR: u16 = 4;
const VMAC: Mac = mac::vmac(GROUP, 1, MhoId(1), 5);

fn port(name: &str, role: PortRole) -> Port {
    Port { name: name.to_owned(), role, mac: Mac::ZERO, mtu: 1600, cable: 0 }
}

fn network(id: u8, role: NetworkRole) -> Network {
    Network {
        id: NetworkId(id),
        name: format!("n{id}"),
        role,
        subnet: Prefix { address: Ipv4Addr::new(198, 18, id - 1, 0).into(), length: 24 },
        cluster_ip: Ipv4Addr::new(198, 18, id - 1, 1),
        ipv6: None,
        mtu: 1500,
        cluster_mac: VMAC,
        routes: Vec::new(),
    }
}

/// Ports: uplinks 0 (inside) and 1 (outside), downlinks 2 and 3, the pair 4.
fn orchestrator() -> Orchestrator {
    let config = NodeConfig {
        name: "mho1".to_owned(),
        id: MhoId(1).into(),
        incarnation: Incarnation(256),
        architecture: Architecture::Maestro,
        group: Group::new(GROUP, DistributionMode::AutoTopology),
        config_digest: 1,
        networks: vec![network(1, NetworkRole::Inside), network(2, NetworkRole::Outside)],
        ports: vec![
            port("eth1-05", PortRole::Uplink(NetworkId(1))),
            port("eth1-06", PortRole::Uplink(NetworkId(2))),
            port("eth1-27", PortRole::DownlinkTo(MemberId::new(1, 1))),
            port("eth1-28", PortRole::DownlinkTo(MemberId::new(1, 2))),
            port("pair", PortRole::Pair),
        ],
        members: vec![MemberId::new(1, 1), MemberId::new(1, 2)],
        starters: vec![MemberId::new(1, 1), MemberId::new(1, 2)],
        orchestrators: vec![MhoId(1), MhoId(2)],
        ablations: Ablations::default(),
    };
    let mut mho = Orchestrator::new(config);
    for index in 0..5 {
        give(&mut mho, Input::Link { port: PortIndex(index), up: true, changes: 1 });
    }
    give(&mut mho, Input::Timeout);
    let life = |number| Admitted { member: MemberId::new(1, number), incarnation: Incarnation(256) };
    let generation = Generation { counter: 1, author: MemberId::new(1, 1), incarnation: Incarnation(256) };
    let matrix = matrix::first(generation, 512, &[life(1), life(2)], &[(MhoId(1), Incarnation(256))]);
    let generation = matrix.generation;
    let prepare = Control {
        from: MemberId::new(1, 1).into(),
        incarnation: Incarnation(256),
        to: Some(MhoId(1).into()),
        body: Body::Prepare(matrix),
    };
    let activate = Control { body: Body::Activate { generation }, ..prepare.clone() };
    for (number, message) in (1..).zip([prepare, activate]) {
        for piece in control::encode(&message, number) {
            let mut shim = Shim::new(Kind::Control, NetworkId::SYNC, GROUP);
            (shim.origin, shim.target) = (message.from.code(), NodeId::from(MhoId(1)).code());
            let to = mac::orchestrator_mac(MhoId(1));
            let frame = control::frame(Mac::host(1), to, shim, message.from, message.to, &piece);
            give(&mut mho, Input::Frame { port: PortIndex(2), frame, received: Instant(1) });
        }
    }
    mho
}

/// Hands an input over and gives back the frames that come of it, as lines.
fn give(mho: &mut Orchestrator, input: Input) -> Vec<String> {
    give_at(mho, input, Instant(1))
}

fn give_at(mho: &mut Orchestrator, input: Input, now: Instant) -> Vec<String> {
    mho.handle(input, now);
    let mut lines = Vec::new();
    loop {
        match mho.poll() {
            Output::Transmit { port, frame } => lines.push(format!("{}: {}", port.0, render::line(frame.bytes()))),
            Output::Idle(_) => return lines,
            _ => {}
        }
    }
}

fn frame(mho: &mut Orchestrator, port: u16, frame: Frame) -> String {
    give(mho, Input::Frame { port: PortIndex(port), frame, received: Instant(1) }).join("\n")
}

fn packet(server: u8) -> Frame {
    between(Ipv4Addr::new(198, 18, 0, 9), Ipv4Addr::new(198, 18, 1, server))
}

fn between(src: Ipv4Addr, dst: Ipv4Addr) -> Frame {
    let flow = Flow { protocol: Protocol::UDP, src: src.into(), dst: dst.into(), src_port: 1000, dst_port: 80 };
    build::udp(Envelope { src: Mac::host(9), dst: VMAC, ttl: 64, identification: 0 }, flow, b"x")
}

fn reshim(frame: &mut Frame, change: impl FnOnce(&mut Shim)) {
    let mut shim = Shim::read(&frame.bytes()[12..]).expect("a shim");
    change(&mut shim);
    shim.replace(frame.bytes_mut());
}

/// A frame of which a bit was flipped on the way is counted, and goes nowhere.
#[test]
fn what_is_not_as_it_was_sent_is_dropped() {
    let mut mho = orchestrator();
    let member = NodeId::from(MemberId::new(1, 2)).code();
    let flipped = |mut frame: Frame, at: usize| {
        frame.bytes_mut()[at] ^= 4;
        frame
    };
    assert_eq!(frame(&mut mho, 0, flipped(packet(9), 30)), "");
    assert_eq!(drops(&mho, "bad-checksum"), 1, "an address");
    assert_eq!(frame(&mut mho, 3, flipped(shimmed(Kind::Data, TO_UPLINK, member, 256, 0), 24)), "");
    assert_eq!(drops(&mho, "malformed"), 1, "an incarnation in the shim");
}

/// So is one that is not all there, wherever it was cut and whichever way it goes.
#[test]
fn what_is_cut_short_is_dropped() {
    let mut mho = orchestrator();
    let member = NodeId::from(MemberId::new(1, 2)).code();
    let mut cuts = 0;
    for (port, whole) in [(0, packet(9)), (3, shimmed(Kind::Data, TO_UPLINK, member, 256, 0))] {
        let end = scalebed_frame::View::parse(whole.bytes()).and_then(|view| Some(view.ip()?.end)).expect("a packet");
        for length in 14..end {
            cuts += 1;
            assert_eq!(frame(&mut mho, port, Frame(whole.bytes()[..length].to_vec())), "", "{length} of {end}");
            assert_eq!(drops(&mho, "malformed"), cuts, "{length} of {end}: {:?}", mho.drops.table());
        }
    }
    // An IPv4 header of which nothing is missing but its end.
    assert!(cuts > 2 * 28);
}

/// A server whose bucket belongs to this member.
fn server_of(mho: &Orchestrator, member: u8) -> u8 {
    let owned = |server: &u8| {
        let flow = scalebed_frame::View::parse(packet(*server).bytes()).and_then(|view| view.flow()).expect("a flow");
        let bucket = mho.policy.bucket(&flow, true, scalebed_distribution::Facing::Internal);
        let matrix = mho.cluster.matrix().expect("a matrix");
        matrix.buckets[usize::from(bucket.0)].owner == MemberId::new(1, member)
    };
    (1..=255).find(owned).expect("both members own something")
}

fn shimmed(kind: Kind, flags: u8, origin: u8, incarnation: u16, target: u8) -> Frame {
    let mut frame = packet(1);
    let shim = Shim { flags, origin, incarnation, target, ..Shim::new(kind, NetworkId(2), GROUP) };
    shim.insert(frame.bytes_mut());
    frame
}

fn drops(mho: &Orchestrator, reason: &str) -> u64 {
    mho.drops.table()[reason]
}

#[test]
fn a_packet_goes_to_the_owner_of_its_bucket() {
    let mut mho = orchestrator();
    insta::assert_snapshot!(frame(&mut mho, 0, packet(1)), @"2: 000009>010100 [data net 1 from mho1 to 1_01 gen 1 in mho1] udp 198.18.0.9:1000 > 198.18.1.1:80 ttl 64");
    let server = server_of(&mho, 2);
    let line = frame(&mut mho, 0, packet(server));
    assert!(line.starts_with("3: 000009>010200 [data net 1 from mho1 to 1_02 gen 1 in mho1] udp"), "{line}");
}

#[test]
fn both_directions_reach_one_member() {
    let mut mho = orchestrator();
    for server in 1..50 {
        let out = frame(&mut mho, 0, packet(server));
        let back = between(Ipv4Addr::new(198, 18, 1, server), Ipv4Addr::new(198, 18, 1, 1));
        let back = frame(&mut mho, 1, back);
        assert_eq!(out.split(':').next(), back.split(':').next());
    }
}

/// Whoever tells it: to where the packets go that go its way.
#[test]
fn an_icmp_error_goes_to_the_member_of_the_connection_that_it_quotes() {
    let mut mho = orchestrator();
    let mut lines = std::collections::BTreeSet::new();
    for server in 1..50 {
        let out = frame(&mut mho, 0, packet(server));
        let port = |line: &str| line.split(':').next().map(str::to_owned);
        let (client, hidden) = (Ipv4Addr::new(198, 18, 0, 9), Ipv4Addr::new(198, 18, 1, 1));
        let server = Ipv4Addr::new(198, 18, 1, server);
        let told = |from: [u8; 4], quoted: Frame| {
            let to = scalebed_frame::View::parse(quoted.bytes()).and_then(|view| view.flow()).expect("a flow").src;
            let flow = Flow { protocol: Protocol::ICMP, src: from.into(), dst: to, src_port: 0, dst_port: 0 };
            let rest = [&[0; 4], &quoted.bytes()[14..]].concat();
            build::icmp(Envelope { src: Mac::host(9), dst: VMAC, ttl: 64, identification: 0 }, flow, 3, 1, &rest)
        };
        let outside = frame(&mut mho, 1, told([198, 18, 1, 250], between(hidden, server)));
        let inside = frame(&mut mho, 0, told([198, 18, 0, 250], between(server, client)));
        assert_eq!((port(&outside), port(&inside)), (port(&out), port(&out)), "{outside} {inside}");
        lines.insert(port(&out));
    }
    assert_eq!(lines.len(), 2, "both members have some");
}

#[test]
fn questions_of_neighbours_go_to_the_smo_and_what_they_say_to_all() {
    let mut mho = orchestrator();
    let (asks, own) = (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 9), Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1));
    let question = build::solicitation(Mac::host(9), asks, own);
    let line = "2: 000009>010100 [data net 1 from mho1 to 1_01 in mho1] ns who-has 2001:2::1 tell 2001:2::9";
    assert_eq!(frame(&mut mho, 0, question.clone()).trim_end(), line);
    // Asked again of whom it knows (RFC 4861 section 7.3.3): by unicast.
    let mut again = question;
    scalebed_frame::rewrite::set_macs(again.bytes_mut(), VMAC, Mac::host(9));
    assert_eq!(frame(&mut mho, 0, again).trim_end(), line);
    let flow = Flow { protocol: Protocol::ICMPV6, src: asks.into(), dst: own.into(), src_port: 0, dst_port: 0 };
    let all_routers = ndp::group_mac(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
    let envelope = Envelope { src: Mac::host(9), dst: all_routers, ttl: 255, identification: 0 };
    let routers = frame(&mut mho, 0, build::icmp(envelope, flow, ndp::ROUTER_SOLICITATION, 0, &[0; 4]));
    assert!(routers.starts_with("2: ") && routers.lines().count() == 1, "{routers}");
    for to in [None, Some((VMAC, own))] {
        let lines = frame(&mut mho, 0, build::advertisement(Mac::host(9), asks, false, to));
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(lines.lines().all(|line| line.contains("copy")), "{lines}");
    }
}

#[test]
fn arp_requests_go_to_the_smo_and_replies_to_all() {
    let mut mho = orchestrator();
    let ip = Ipv4Addr::new(198, 18, 0, 1);
    let ask =
        Arp { operation: 1, sender_mac: Mac::host(9), sender_ip: ip, target_mac: Mac::ZERO, target_ip: ip.max(ip) };
    let request = build::arp(Mac::host(9), Mac::BROADCAST, Arp { sender_ip: Ipv4Addr::new(198, 18, 0, 9), ..ask });
    insta::assert_snapshot!(frame(&mut mho, 0, request), @"2: 000009>010100 [data net 1 from mho1 to 1_01 in mho1] arp who-has 198.18.0.1 tell 198.18.0.9");
    let reply = build::arp(Mac::host(9), VMAC, Arp { operation: 2, ..ask });
    let lines = frame(&mut mho, 0, reply);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().all(|line| line.contains("copy")));
}

#[test]
fn the_fence_stops_who_is_not_admitted() {
    let mut mho = orchestrator();
    let member = NodeId::from(MemberId::new(1, 2)).code();
    let up = |life| shimmed(Kind::Data, TO_UPLINK, member, life, 0);
    insta::assert_snapshot!(frame(&mut mho, 3, up(256)), @"1: 000009>01a105 udp 198.18.0.9:1000 > 198.18.1.1:80 ttl 64");
    assert_eq!(frame(&mut mho, 3, up(257)), "");
    assert_eq!(frame(&mut mho, 3, shimmed(Kind::Correction, 0, member, 1, 1)), "");
    assert_eq!(drops(&mho, "fenced-sender"), 2);
}

#[test]
fn a_downlink_without_carrier_is_detoured_once() {
    let mut mho = orchestrator();
    give(&mut mho, Input::Link { port: PortIndex(3), up: false, changes: 2 });
    let server = server_of(&mho, 2);
    let line = frame(&mut mho, 0, packet(server));
    assert!(line.starts_with("4: 000009>010200 [data net 1 from mho1 to 1_02 gen 1 in mho1 detoured] udp"), "{line}");
    // What came over the pair never goes back into it.
    let target = NodeId::from(MemberId::new(1, 2)).code();
    assert_eq!(frame(&mut mho, PAIR, shimmed(Kind::Data, DETOURED, 194, 0, target)), "");
    assert_eq!(drops(&mho, "no-path"), 1);
}

#[test]
fn an_uplink_without_carrier_is_reached_over_the_pair() {
    let mut mho = orchestrator();
    give(&mut mho, Input::Link { port: PortIndex(1), up: false, changes: 2 });
    let member = NodeId::from(MemberId::new(1, 2)).code();
    let line = frame(&mut mho, 3, shimmed(Kind::Data, TO_UPLINK, member, 256, 0));
    assert!(line.starts_with("4: ") && line.contains("detoured"), "{line}");
    assert_eq!(frame(&mut mho, PAIR, shimmed(Kind::Data, TO_UPLINK | DETOURED, member, 256, 0)), "");
    assert_eq!(drops(&mho, "no-path"), 1);
}

#[test]
fn a_third_hop_is_dropped() {
    let mut mho = orchestrator();
    let mut looping = shimmed(Kind::Correction, 0, 1, 256, 2);
    reshim(&mut looping, |shim| shim.hop = 3);
    assert_eq!(frame(&mut mho, 2, looping), "");
    assert_eq!(drops(&mho, "hop-limit"), 1);
}

#[test]
fn a_foreign_group_gets_nothing_through() {
    let mut mho = orchestrator();
    let member = NodeId::from(MemberId::new(1, 2)).code();
    for kind in [Kind::Data, Kind::Correction, Kind::Control] {
        let mut foreign = shimmed(kind, TO_UPLINK, member, 256, 1);
        reshim(&mut foreign, |shim| shim.group = GroupId(2));
        assert_eq!(frame(&mut mho, 3, foreign), "");
    }
    assert_eq!(drops(&mho, "foreign-group"), 3);
}

#[test]
fn an_orchestrator_that_stood_still_drops_its_backlog_unread() {
    let mut mho = orchestrator();
    let member = NodeId::from(MemberId::new(1, 2)).code();
    let late = Instant::from_millis(251);
    let backlog = [
        (0, packet(1)),
        (3, shimmed(Kind::Data, TO_UPLINK, member, 256, 0)),
        (3, shimmed(Kind::Correction, 0, member, 256, 1)),
        (PAIR, shimmed(Kind::Data, DETOURED, 194, 0, 1)),
    ];
    for (port, frame) in backlog {
        let sent = give_at(&mut mho, Input::Frame { port: PortIndex(port), frame, received: Instant(1) }, late);
        // Heartbeats that say so, and nothing else.
        assert!(sent.iter().all(|line| line.contains("[control")), "{sent:?}");
    }
    assert_eq!(drops(&mho, "fenced"), 4);
}

#[test]
fn control_for_everybody_is_never_flooded_into_the_pair() {
    let mut mho = orchestrator();
    let message = Control {
        from: MemberId::new(1, 2).into(),
        incarnation: Incarnation(256),
        to: None,
        body: Body::Join { config: 1 },
    };
    let shim = Shim { origin: message.from.code(), ..Shim::new(Kind::Control, NetworkId::SYNC, GROUP) };
    let piece = &control::encode(&message, 3)[0];
    let built = control::frame(Mac::host(2), Mac::BROADCAST, shim, message.from, None, piece);
    let lines = frame(&mut mho, 3, built.clone());
    assert!(lines.starts_with("2: ") && lines.lines().count() == 1, "{lines}");
    assert_eq!(frame(&mut mho, PAIR, built), "");
}

proptest! {
    #[test]
    fn every_frame_is_accounted_for(
        frames in proptest::collection::vec((0u16..5, any::<u8>(), any::<u8>(), any::<u16>(), any::<u8>(), 1u8..5), 1..40),
        down in proptest::option::of(0u16..5),
    ) {
        let mut mho = orchestrator();
        if let Some(port) = down {
            give(&mut mho, Input::Link { port: PortIndex(port), up: false, changes: 2 });
        }
        for (port, flags, origin, life, target, kind) in frames {
            let kind = [Kind::Data, Kind::Correction, Kind::Handover, Kind::Control][usize::from(kind - 1)];
            let one = if target % 3 == 0 { packet(target) } else { shimmed(kind, flags, origin, life, target) };
            give(&mut mho, Input::Frame { port: PortIndex(port), frame: one, received: Instant(1) });
        }
        let (came, went) = mho.accounts();
        prop_assert_eq!(came, went);
    }

    #[test]
    fn nothing_crosses_the_pair_twice(
        frames in proptest::collection::vec((any::<u8>(), any::<u8>(), 0u8..8, 0usize..4), 1..40),
        down in proptest::collection::vec(any::<bool>(), 4),
    ) {
        let mut mho = orchestrator();
        for (port, down) in (0..).zip(down) {
            give(&mut mho, Input::Link { port: PortIndex(port), up: !down, changes: 2 });
        }
        for (origin, target, flags, kind) in frames {
            let kind = [Kind::Data, Kind::Correction, Kind::Handover, Kind::Control][kind];
            // From a member that is admitted over a downlink, and the same frame over the pair.
            let from_below = shimmed(kind, flags, 1 + origin % 2, 256, target);
            let crossed = flags & DETOURED != 0;
            for (port, once) in [(2, crossed), (PAIR, true)] {
                let frame = Input::Frame { port: PortIndex(port), frame: from_below.clone(), received: Instant(1) };
                let lines = give(&mut mho, frame);
                let over = lines.iter().filter(|line| line.starts_with("4: ")).count();
                prop_assert!(over <= usize::from(!once), "{lines:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(port in 0u16..6, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut mho = orchestrator();
        give(&mut mho, Input::Frame { port: PortIndex(port), frame: Frame(bytes), received: Instant(1) });
        let (came, went) = mho.accounts();
        prop_assert_eq!(came, went);
    }
}
