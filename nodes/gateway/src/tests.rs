//! A group of one member, which serves alone: what a packet meets between its two networks.

mod fragments;
mod icmp;
mod ipv6;
mod limits;
mod moves;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use scalebed_cluster::{Ablations, NodeConfig};
use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::build::{self, Envelope, TcpFields};
use scalebed_frame::control::{Admitted, Assignment, Matrix};
use scalebed_frame::view::{ACK, Arp, FIN, Network as Layer3, RST, SYN};
use scalebed_frame::{
    DistributionMode, Flow, Generation, GroupId, Incarnation, Mac, MemberId, NetworkId, Protocol, View, mac, render,
};
use scalebed_topologies::lab::{
    Architecture, Group, HideNat, Ipv6Side, Network, NetworkRole, Port, PortRole, Prefix, Rule,
};

use crate::Gateway;
use crate::counters::{Count, Reason};

const INSIDE: NetworkId = NetworkId(1);
const OUTSIDE: NetworkId = NetworkId(2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);
const HIDDEN: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const ME: MemberId = MemberId::new(1, 1);
const OTHERS: [MemberId; 3] = [MemberId::new(1, 2), MemberId::new(1, 3), MemberId::new(1, 4)];
const LIFE: Incarnation = Incarnation(256);
const GENERATION: Generation = Generation { counter: 7, author: ME, incarnation: LIFE };

/// Every bucket belongs to `owner` and is backed up by `backup`; all four members are in. `previous`: as that one's list
/// to the owner is under way.
fn matrix(owner: MemberId, backup: Option<MemberId>, previous: Option<MemberId>) -> Matrix {
    let members = [ME].into_iter().chain(OTHERS);
    Matrix {
        generation: GENERATION,
        admitted: members.map(|member| Admitted { member, incarnation: LIFE }).collect(),
        orchestrators: Vec::new(),
        buckets: vec![Assignment { owner, backup, moved: GENERATION, previous }; usize::from(config().group.buckets)],
    }
}

/// An address of a network.
const fn v6(network: NetworkId, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 2, 0, network.0 as u16, 0, 0, 0, last)
}

fn config() -> NodeConfig {
    let group = GroupId(1);
    let network = |id: NetworkId, name: &str, role| Network {
        id,
        name: name.to_owned(),
        role,
        subnet: Prefix { address: Ipv4Addr::new(10, id.0, 0, 0).into(), length: 24 },
        cluster_ip: Ipv4Addr::new(10, id.0, 0, 1),
        ipv6: Some(Ipv6Side { subnet: Prefix { address: v6(id, 0).into(), length: 64 }, cluster_ip: v6(id, 1) }),
        mtu: 1500,
        cluster_mac: Mac([2, 0x5b, 0xed, 1, 0xa0, id.0]),
        routes: Vec::new(),
    };
    let port = |name: &str, role, mac| Port { name: name.to_owned(), role, mac, mtu: 1600, cable: 0 };
    let inside = Prefix { address: Ipv4Addr::new(10, 1, 0, 0).into(), length: 24 };
    let inside6 = Prefix { address: v6(INSIDE, 0).into(), length: 64 };
    let any = Rule { src: Some(inside), dst: None, protocol: None, dst_ports: None, accept: true };
    let any6 = Rule { src: Some(inside6), ..any.clone() };
    NodeConfig {
        name: "member-1-01".to_owned(),
        id: ME.into(),
        incarnation: Incarnation(256),
        architecture: Architecture::ElasticXl,
        group: Group {
            rules: vec![
                Rule { protocol: Some(6), dst_ports: Some((23, 23)), accept: false, src: None, ..any.clone() },
                any,
                any6,
            ],
            nat: vec![HideNat { from: INSIDE, to: OUTSIDE, address: HIDDEN, ports: (10000, 10003) }],
            ..Group::new(group, DistributionMode::General)
        },
        config_digest: 1,
        networks: vec![
            network(INSIDE, "inside", NetworkRole::Inside),
            network(OUTSIDE, "outside", NetworkRole::Outside),
        ],
        ports: vec![
            port("in", PortRole::Data(INSIDE), mac::member_mac(group, ME, INSIDE)),
            port("out", PortRole::Data(OUTSIDE), mac::member_mac(group, ME, OUTSIDE)),
            port("sync", PortRole::Sync, mac::smac(group, ME)),
        ],
        members: vec![ME],
        starters: vec![ME],
        orchestrators: Vec::new(),
        ablations: Ablations::default(),
    }
}

/// A gateway, its clock, and the frames of the data networks that it sent since the last look.
struct Bench {
    gateway: Gateway,
    now: Instant,
    deadline: Option<Instant>,
    sent: Vec<(u16, Frame)>,
}

impl Bench {
    /// Serving, with both neighbours known.
    fn new() -> Self {
        Self::serving(config())
    }

    /// The same with a configuration.
    fn serving(config: NodeConfig) -> Self {
        let units = 200 * config.group.unit_ms;
        let mut bench = Self::start(config);
        bench.run(Duration::from_millis(units.into()));
        assert!(bench.gateway.view.leads, "a group of one boots: {:?}", bench.gateway.view);
        for (port, network, ip) in [(0, INSIDE, CLIENT), (1, OUTSIDE, SERVER)] {
            let garp = build::gratuitous(Mac::host(network.0.into()), ip);
            bench.give(port, garp);
        }
        bench.sent.clear();
        bench
    }

    /// Just started, its cables plugged.
    fn start(config: NodeConfig) -> Self {
        let mut bench = Self {
            gateway: Gateway::with_decision(config, |entering| entering.owner),
            now: Instant(0),
            deadline: None,
            sent: Vec::new(),
        };
        for port in 0..3 {
            bench.handle(Input::Link { port: PortIndex(port), up: true, changes: 1 });
        }
        bench.handle(Input::Timeout);
        bench
    }

    fn handle(&mut self, input: Input) {
        self.gateway.handle(input, self.now);
        loop {
            match self.gateway.poll() {
                Output::Transmit { port, frame } if port.0 < 2 && !is_internal(&frame) => {
                    self.sent.push((port.0, frame))
                }
                Output::Idle(deadline) => {
                    self.deadline = deadline;
                    break;
                }
                _ => {}
            }
        }
        let (came, accounted) = self.gateway.accounts();
        assert_eq!(came, accounted, "every frame has one fate");
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.deadline.filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    fn give(&mut self, port: u16, frame: Frame) {
        self.handle(Input::Frame { port: PortIndex(port), frame, received: self.now });
    }

    /// What came out, a line each.
    fn lines(&mut self) -> String {
        let sent = std::mem::take(&mut self.sent);
        sent.iter().map(|(port, frame)| format!("{port} {}\n", render::line(frame.bytes()))).collect()
    }

    fn count(&self, count: Count) -> u64 {
        self.gateway.counters.get(count)
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.gateway.counters.dropped(reason)
    }
}

fn is_internal(frame: &Frame) -> bool {
    View::parse(frame.bytes()).is_none_or(|view| view.shim.is_some())
}

fn envelope(port: u16, ttl: u8) -> Envelope {
    let network = config().networks[usize::from(port)].clone();
    Envelope { src: Mac::host(u32::from(network.id.0)), dst: network.cluster_mac, ttl, identification: 7 }
}

fn out(protocol: Protocol, dst_port: u16) -> Flow {
    Flow { protocol, src: CLIENT.into(), dst: SERVER.into(), src_port: 1000, dst_port }
}

/// The answer's tuple, to the port that NAT chose.
fn back(protocol: Protocol, src_port: u16, hidden: u16) -> Flow {
    Flow { protocol, src: SERVER.into(), dst: HIDDEN.into(), src_port, dst_port: hidden }
}

fn segment(port: u16, flow: Flow, flags: u8) -> Frame {
    build::tcp(envelope(port, 64), flow, TcpFields { sequence: 1, acknowledgement: 1, flags, window: 100 }, b"")
}

#[test]
fn a_connection_hides_behind_the_cluster_and_its_answers_find_back() {
    let mut bench = Bench::new();
    bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, 53), b"question"));
    bench.give(1, build::udp(envelope(1, 60), back(Protocol::UDP, 53, 10000), b"answer"));
    let echo = Flow { src_port: 77, dst_port: 77, ..out(Protocol::ICMP, 77) };
    bench.give(0, build::echo(envelope(0, 64), echo, false, 3, b"ping"));
    bench.give(1, build::echo(envelope(1, 64), back(Protocol::ICMP, 10001, 10001), true, 3, b"ping"));
    insta::assert_snapshot!(bench.lines(), @r"
    1 01a002>000002 udp 10.2.0.1:10000 > 10.2.0.9:53 ttl 63
    0 01a001>000001 udp 10.2.0.9:53 > 10.1.0.5:1000 ttl 59
    1 01a002>000002 icmp 10.2.0.1:10001 > 10.2.0.9:10001 echo-request 3 ttl 63
    0 01a001>000001 icmp 10.2.0.9:77 > 10.1.0.5:77 echo-reply 3 ttl 63
    ");
}

#[test]
fn only_what_the_policy_accepts_starts_a_connection() {
    let mut bench = Bench::new();
    bench.give(0, segment(0, out(Protocol::TCP, 23), SYN));
    assert_eq!(bench.dropped(Reason::Policy), 1);
    // No first packets: a bare ACK, and anything to an address that connections hide behind.
    bench.give(0, segment(0, out(Protocol::TCP, 80), ACK));
    bench.give(1, build::udp(envelope(1, 64), back(Protocol::UDP, 53, 10002), b"nobody asked"));
    bench.give(1, segment(1, back(Protocol::TCP, 80, 10003), SYN));
    assert_eq!(bench.dropped(Reason::OutOfState), 3);
    assert_eq!((bench.lines().as_str(), bench.count(Count::Created)), ("", 0));
}

#[test]
fn tcp_is_followed_from_its_first_segment_to_its_last() {
    let mut bench = Bench::new();
    let (forth, answer) = (out(Protocol::TCP, 80), back(Protocol::TCP, 80, 10000));
    bench.give(0, segment(0, forth, SYN));
    // Data before the handshake does not fit.
    bench.give(0, segment(0, forth, ACK));
    assert_eq!(bench.dropped(Reason::TcpState), 1);
    let both =
        [(1, answer, SYN | ACK), (0, forth, ACK), (1, answer, ACK), (0, forth, FIN | ACK), (1, answer, FIN | ACK)];
    for (port, flow, flags) in both {
        bench.give(port, segment(port, flow, flags));
    }
    assert_eq!(bench.sent.len(), 6);
    // Closed: the tuple may be used again at once, and the next connection takes another port.
    bench.give(0, segment(0, forth, SYN));
    assert_eq!((bench.count(Count::Created), bench.count(Count::Deleted)), (2, 1));
    bench.give(1, segment(1, back(Protocol::TCP, 80, 10001), RST));
    bench.run(Duration::from_secs(6));
    assert_eq!(bench.count(Count::Deleted), 2);
    bench.give(1, segment(1, back(Protocol::TCP, 80, 10001), ACK));
    assert_eq!(bench.dropped(Reason::OutOfState), 1);
}

#[test]
fn nat_ports_run_out_and_come_back() {
    let mut bench = Bench::new();
    for dst_port in 1..=6 {
        bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, dst_port), b""));
    }
    assert_eq!((bench.count(Count::Created), bench.dropped(Reason::NatPorts)), (4, 2));
    bench.run(Duration::from_secs(41));
    assert_eq!(bench.gateway.table.len(), 0);
    bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, 9), b""));
    assert_eq!(bench.count(Count::Created), 5);
}

#[test]
fn a_packet_that_dies_here_is_told_to_its_source() {
    let mut bench = Bench::new();
    bench.give(0, build::udp(envelope(0, 1), out(Protocol::UDP, 53), b"traceroute"));
    assert_eq!((bench.dropped(Reason::Ttl), bench.count(Count::TimeExceeded)), (1, 1));
    insta::assert_snapshot!(bench.lines(), @"0 01a001>000001 icmp 10.1.0.1:0 > 10.1.0.5:0 type 11 code 0 ttl 64");
}

#[test]
fn the_leader_answers_arp_and_echo_and_a_packet_waits_for_its_next_hop() {
    let mut bench = Bench::new();
    let ask = Arp {
        operation: 1,
        sender_mac: Mac::host(1),
        sender_ip: CLIENT,
        target_mac: Mac::ZERO,
        target_ip: Ipv4Addr::new(10, 1, 0, 1),
    };
    bench.give(0, build::arp(Mac::host(1), Mac::BROADCAST, ask));
    let ping = Flow { dst: Ipv4Addr::new(10, 1, 0, 1).into(), src_port: 5, ..out(Protocol::ICMP, 5) };
    bench.give(0, build::echo(envelope(0, 64), ping, false, 1, b"hello"));
    let other = Ipv4Addr::new(10, 2, 0, 77);
    bench.give(0, build::udp(envelope(0, 64), Flow { dst: other.into(), ..out(Protocol::UDP, 1) }, b""));
    let told =
        Arp { operation: 2, sender_mac: Mac::host(77), sender_ip: other, target_mac: Mac::ZERO, target_ip: HIDDEN };
    bench.give(1, build::arp(Mac::host(77), config().networks[1].cluster_mac, told));
    insta::assert_snapshot!(bench.lines(), @r"
    0 01a001>000001 arp 10.1.0.1 is-at 01a001
    0 01a001>000001 icmp 10.1.0.1:5 > 10.1.0.5:5 echo-reply 1 ttl 64
    1 01a002>* arp who-has 10.2.0.77 tell 10.2.0.1
    1 01a002>00004d udp 10.2.0.1:10000 > 10.2.0.77:1 ttl 63
    ");
    // One that never answers costs its packets, by name.
    bench.give(
        0,
        build::udp(envelope(0, 64), Flow { dst: Ipv4Addr::new(10, 2, 0, 78).into(), ..out(Protocol::UDP, 2) }, b""),
    );
    bench.run(Duration::from_secs(4));
    assert_eq!(bench.dropped(Reason::Neighbour), 1);
}

#[test]
fn before_it_is_admitted_it_forwards_and_answers_nothing() {
    // It waits for another that the lab starts.
    let mut bench = Bench::start(NodeConfig { starters: vec![ME, MemberId::new(1, 2)], ..config() });
    bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, 53), b""));
    assert_eq!((bench.dropped(Reason::Fenced), bench.sent.len()), (1, 0));
}

#[test]
fn a_node_that_stood_still_drops_its_backlog_unread() {
    let mut bench = Bench::new();
    bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, 53), b""));
    bench.sent.clear();
    bench.now = bench.now + Duration::from_millis(500);
    bench.give(0, build::udp(envelope(0, 64), out(Protocol::UDP, 53), b""));
    assert_eq!((bench.dropped(Reason::Fenced), bench.lines().as_str()), (1, ""));
}

/// A small world of addresses and flags, so that random packets meet each other.
fn packets() -> impl Strategy<Value = (u16, Frame)> {
    let addresses =
        prop::sample::select(vec![CLIENT, SERVER, HIDDEN, Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(9, 9, 9, 9)]);
    let ports = prop::sample::select(vec![23u16, 80, 10000, 10001]);
    let flags = prop::sample::select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST]);
    let ends = (addresses.clone(), addresses, ports.clone(), ports);
    (0u16..2, 0u8..4, ends, flags, 0u8..3).prop_map(|(port, kind, (src, dst, src_port, dst_port), flags, ttl)| {
        let flow = |protocol| Flow { protocol, src: src.into(), dst: dst.into(), src_port, dst_port };
        let frame = match kind {
            0 => build::udp(envelope(port, ttl), flow(Protocol::UDP), b"x"),
            1 => build::echo(envelope(port, ttl), flow(Protocol::ICMP), flags == ACK, 1, b"x"),
            2 => build::arp(Mac::host(3), Mac::BROADCAST, arp_of(src, dst)),
            _ => segment(port, flow(Protocol::TCP), flags),
        };
        (port, frame)
    })
}

fn arp_of(sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Arp {
    Arp { operation: 1, sender_mac: Mac::host(3), sender_ip, target_mac: Mac::ZERO, target_ip }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Every frame has one fate (checked by `handle`), what comes out never carries a client's own address outside, the
    /// denied port never passes, and the same inputs give the same frames.
    #[test]
    fn whatever_comes_is_accounted_for(
        inputs in prop::collection::vec((packets(), 0u64..2000), 0..80),
        cut in 0usize..60,
    ) {
        let play = || {
            let mut bench = Bench::new();
            for ((port, frame), pause) in &inputs {
                let mut frame = frame.clone();
                if cut < 8 {
                    frame.bytes_mut().truncate(14 + cut * 5);
                }
                bench.give(*port, frame);
                bench.run(Duration::from_millis(*pause));
            }
            bench
        };
        let bench = play();
        for (port, frame) in &bench.sent {
            let view = View::parse(frame.bytes());
            let Some(Layer3::Ip(ip)) = view.map(|view| view.network) else { continue };
            let flow = ip.flow();
            prop_assert!(*port != 1 || flow.src != CLIENT, "{} leaked", flow);
            prop_assert!(*port != 1 || flow.protocol != Protocol::TCP || flow.dst_port != 23, "{} is denied", flow);
        }
        prop_assert_eq!(bench.sent, play().sent);
    }

    /// Forward and reverse tuple come and go together, whatever the table goes through.
    #[test]
    fn nothing_is_left_when_all_has_expired(inputs in prop::collection::vec(packets(), 0..60)) {
        // Its heart beats once in 10 s: otherwise an hour is mostly heartbeats.
        let slow = Group { unit_ms: 10_000, ..config().group };
        let mut bench = Bench::serving(NodeConfig { group: slow, ..config() });
        for (port, frame) in inputs {
            bench.give(port, frame);
        }
        bench.run(Duration::from_secs(3700));
        prop_assert_eq!(bench.gateway.table.len(), 0);
        prop_assert_eq!(bench.gateway.waiting.len(), 0);
        prop_assert_eq!(bench.count(Count::Created), bench.count(Count::Deleted));
        let ports: Vec<_> = std::iter::from_fn(|| bench.gateway.nat.take(0, |_| true)).collect();
        prop_assert_eq!(ports.len(), 4, "every NAT port came back");
    }
}
