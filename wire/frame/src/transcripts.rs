//! Odd frames as they are read, and frames of every sort as a person sees them.

use std::net::Ipv4Addr;

use crate::build::{self, Envelope, TcpFields};
use crate::control::{self, Admitted, Assignment, Body, Control, Heard, Heartbeat, Matrix, MemberState};
use crate::flow::{Flow, Protocol};
use crate::ids::{Bucket, Generation, GroupId, Incarnation, MemberId, MhoId, NetworkId, NodeId};
use crate::mac::Mac;
use crate::render::line;
use crate::shim::{self, Kind, Shim};
use crate::signature::{self, Class, Compact, Direction, Signature};
use crate::sync::{ConnectionState, Entry, Item, Neighbour, SyncMessage, Version};
use crate::view::{self, Arp, Fragment, Ip, Network, Transport, View};

const ENVELOPE: Envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 7 };
const SHIM: Shim = Shim::new(Kind::Correction, NetworkId(1), GroupId(1));

fn flow(protocol: Protocol) -> Flow {
    Flow {
        protocol,
        src: Ipv4Addr::new(198, 18, 0, 5).into(),
        dst: Ipv4Addr::new(198, 18, 1, 9).into(),
        src_port: 1000,
        dst_port: 2000,
    }
}

fn udp(payload: &[u8]) -> Vec<u8> {
    build::udp(ENVELOPE, flow(Protocol::UDP), payload).0
}

/// Makes the checksum of the header right again.
fn mend(frame: &mut [u8], header: usize) {
    frame[24..26].fill(0);
    let packet = pnet_packet::ipv4::Ipv4Packet::new(&frame[14..14 + header]).expect("a header");
    let sum = pnet_packet::ipv4::checksum(&packet);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn ip(frame: &[u8]) -> Ip {
    *View::parse(frame).expect("a frame").ip().expect("a packet")
}

#[test]
fn padding_is_not_payload() {
    let mut frame = udp(b"hello");
    frame.resize(60, 0);
    let ip = ip(&frame);
    assert_eq!(&frame[ip.payload().expect("a payload")..ip.end], b"hello");
}

/// A tap keeps the first bytes of a frame: headers are read, the end is where it was.
#[test]
fn a_capture_that_was_cut_has_its_headers() {
    let frame = udp(&[1; 1000]);
    let ip = ip(&frame[..60]);
    assert_eq!((ip.flow(), ip.end), (flow(Protocol::UDP), frame.len()));
    assert!(matches!(View::parse(&frame[..33]).map(|view| view.network), Some(Network::Malformed)));
}

#[test]
fn fragments_have_no_ports_for_the_distribution() {
    let read = |pieces: [u8; 2]| {
        let mut frame = udp(b"hello");
        frame[20..22].copy_from_slice(&pieces);
        mend(&mut frame, 20);
        let ip = ip(&frame);
        (ip.fragment, ip.has_ports(), ip.transport == Transport::None)
    };
    assert_eq!(read([0x40, 0]), (Fragment::Whole, true, false), "don't fragment");
    assert_eq!(read([0x20, 0]), (Fragment::First, false, false));
    assert_eq!(read([0x20, 1]), (Fragment::Later, false, true));
    assert_eq!(read([0x00, 9]), (Fragment::Later, false, true));
}

#[test]
fn icmp_errors_have_no_ports_and_echoes_have() {
    let flow = Flow { src_port: 0, dst_port: 0, ..flow(Protocol::ICMP) };
    assert!(!ip(build::icmp(ENVELOPE, flow, 11, 0, &[0; 32]).bytes()).has_ports());
    assert!(ip(build::echo(ENVELOPE, flow, false, 1, b"").bytes()).has_ports());
}

/// IPv4 options move everything behind them.
#[test]
fn options_are_stepped_over() {
    let mut frame = udp(b"hello");
    frame[14] = 0x46;
    frame[17] += 4;
    frame.splice(34..34, [1; 4]);
    mend(&mut frame, 24);
    let ip = ip(&frame);
    assert_eq!((ip.flow(), ip.l4), (flow(Protocol::UDP), 38));
}

/// RFC 8200: a chain of extension headers, a fragment header in it (RFC 6946: an atomic one is no fragment).
#[test]
fn extension_headers_are_walked() {
    let read = |pieces: u8| {
        let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 0, 9]].concat();
        frame.extend([0x20; 16]);
        frame.extend([0x30; 16]);
        frame.extend([44, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend([17, 0, 0, pieces, 0, 0, 0, 1]);
        frame.extend([0x03, 0xe8, 0x07, 0xd0, 0, 8, 0, 0]);
        ip(&frame)
    };
    let whole = read(0);
    assert_eq!((whole.fragment, whole.protocol, whole.ttl), (Fragment::Whole, Protocol::UDP, 9));
    assert_eq!((whole.flow().src_port, whole.flow().dst_port, whole.l4), (1000, 2000, 70));
    assert_eq!(read(1).fragment, Fragment::First);
    assert_eq!((read(8).fragment, read(9).transport), (Fragment::Later, Transport::None));
}

/// More headers than are walked: named by what comes next, without a transport header.
#[test]
fn an_endless_chain_ends() {
    let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 80, 60, 9], &[0; 32]].concat();
    frame.extend([60, 0, 1, 4, 0, 0, 0, 0].repeat(10));
    assert_eq!((ip(&frame).protocol, ip(&frame).transport), (Protocol(60), Transport::None));
}

#[test]
fn packets_are_read_like_a_capture() {
    insta::assert_snapshot!(line(&udp(b"hello")), @"000001>000002 udp 198.18.0.5:1000 > 198.18.1.9:2000 ttl 64");
    let fields = TcpFields { sequence: 5, acknowledgement: 9, flags: view::SYN | view::ACK, window: 1 };
    insta::assert_snapshot!(line(build::tcp(ENVELOPE, flow(Protocol::TCP), fields, b"").bytes()), @"000001>000002 tcp 198.18.0.5:1000 > 198.18.1.9:2000 SA seq 5 ack 9 ttl 64");
    let echo = Flow { src_port: 77, dst_port: 77, ..flow(Protocol::ICMP) };
    insta::assert_snapshot!(line(build::echo(ENVELOPE, echo, true, 4, b"abc").bytes()), @"000001>000002 icmp 198.18.0.5:77 > 198.18.1.9:77 echo-reply 4 ttl 64");
    insta::assert_snapshot!(line(build::icmp(ENVELOPE, flow(Protocol::ICMP), 3, 1, &[0; 4]).bytes()), @"000001>000002 icmp 198.18.0.5:0 > 198.18.1.9:0 type 3 code 1 ttl 64");
    let mut fragment = udp(b"hello");
    fragment[21] = 9;
    insta::assert_snapshot!(line(&fragment), @"000001>000002 corrupt IPv4 header");
    mend(&mut fragment, 20);
    insta::assert_snapshot!(line(&fragment), @"000001>000002 udp 198.18.0.5:0 > 198.18.1.9:0 fragment ttl 64");
    insta::assert_snapshot!(line(&[1, 2, 3]), @"malformed, 3 bytes");
    insta::assert_snapshot!(line(&udp(b"")[..30]), @"000001>000002 malformed 0x0800");
    insta::assert_snapshot!(line(&[[2; 12], [0x88; 12]].concat()), @"020202>020202 ethertype 0x8888");
}

#[test]
fn arp_is_read_like_a_capture() {
    let (asked, asker) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 5));
    let request =
        Arp { operation: 1, sender_mac: Mac::host(3), sender_ip: asker, target_mac: Mac::ZERO, target_ip: asked };
    insta::assert_snapshot!(line(build::arp(Mac::host(3), Mac::BROADCAST, request).bytes()), @"000003>* arp who-has 198.18.0.1 tell 198.18.0.5");
    let reply =
        Arp { operation: 2, sender_mac: Mac::host(9), sender_ip: asked, target_mac: Mac::host(3), target_ip: asker };
    insta::assert_snapshot!(line(build::arp(Mac::host(9), Mac::host(3), reply).bytes()), @"000009>000003 arp 198.18.0.1 is-at 000009");
    insta::assert_snapshot!(line(build::gratuitous(Mac::host(3), asked).bytes()), @"000003>* garp 198.18.0.1 is-at 000003");
}

#[test]
fn the_shim_and_probes_are_read_like_a_capture() {
    let mut payload = [0; signature::LEN];
    let (direction, class, phase) = (Direction::Forward, Class::Probe, 1);
    let full = Signature { direction, class, phase, run: 1, flow: 12, sequence: 34, intended: 0, late: 0, attempt: 0 };
    assert!(full.write(&[1; 16], &mut payload));
    let mut frame = udp(&payload);
    Shim { origin: 2, target: 3, hop: 1, generation: 4, ingress: 1, ..SHIM }.insert(&mut frame);
    insta::assert_snapshot!(line(&frame), @"000001>000002 [correction net 1 from 1_02 to 1_03 gen 4 in mho1 hop 1] udp 198.18.0.5:1000 > 198.18.1.9:2000 ttl 64 probe 12#34 fwd");
    let compact = Compact { direction: Direction::Reverse, class, phase, flow: 12, sequence: 35 };
    assert!(compact.write(&[1; 16], &mut payload));
    let mut frame = udp(&payload[..signature::COMPACT_LEN]);
    let flags = shim::TO_UPLINK | shim::DETOURED | shim::COPY;
    Shim { kind: Kind::Data, origin: 194, flags, ..SHIM }.insert(&mut frame);
    insta::assert_snapshot!(line(&frame), @"000001>000002 [data net 1 from mho2 up detoured copy] udp 198.18.0.5:1000 > 198.18.1.9:2000 ttl 64 probe 12#35 rev");
    frame[14] = 0x11;
    insta::assert_snapshot!(line(&frame), @"malformed, 74 bytes");
}

/// The lines of a message as one node sends it to all.
fn said(body: Body) -> String {
    let from = NodeId::from(MemberId::new(1, 2));
    let message = Control { from, incarnation: Incarnation(257), to: None, body };
    let shim = Shim { origin: from.code(), ..Shim::new(Kind::Control, NetworkId::SYNC, GroupId(1)) };
    let frames = control::encode(&message, 1)
        .into_iter()
        .map(|piece| line(control::frame(Mac::host(1), Mac::BROADCAST, shim, from, None, &piece).bytes()));
    frames.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_agreement_is_read_like_a_capture() {
    let (author, incarnation) = (MemberId::new(1, 1), Incarnation(256));
    let generation = Generation { counter: 4, author, incarnation };
    let (one, two) = (MemberId::new(1, 1), MemberId::new(1, 2));
    let admitted = vec![Admitted { member: two, incarnation: Incarnation(257) }];
    let heard = [NodeId::from(one), NodeId::from(MhoId(1))];
    let beat = Heartbeat {
        sent: 1,
        heard: heard.map(|node| Heard { node, incarnation: Incarnation(1), sent: 1 }).to_vec(),
        state: MemberState::Active,
        reason: None,
        config: 0,
        accepted: generation,
        digest: 0,
        activated: Generation { counter: 3, author, incarnation },
        admitted: admitted.clone(),
        smo: true,
        downlinks_down: vec![],
        ports_down: 0,
    };
    insta::assert_snapshot!(said(Body::Heartbeat(beat)), @"000001>* [control net 0 from 1_02] 1_02#257 heartbeat Active smo accepted 4.1_01#256 active 3.1_01#256 hears 1_01 mho1");
    let share = Assignment { owner: two, backup: Some(one), moved: generation, previous: None };
    let matrix = Matrix { generation, admitted, orchestrators: vec![], buckets: vec![share; 8] };
    let whole = Matrix { buckets: vec![share; 512], ..matrix.clone() };
    insta::assert_snapshot!(said(Body::Prepare(matrix.clone())), @"000001>* [control net 0 from 1_02] 1_02#257 prepare 4.1_01#256");
    insta::assert_snapshot!(said(Body::Prepare(whole)), @r"
000001>* [control net 0 from 1_02] part 1 of 5
000001>* [control net 0 from 1_02] part 2 of 5
000001>* [control net 0 from 1_02] part 3 of 5
000001>* [control net 0 from 1_02] part 4 of 5
000001>* [control net 0 from 1_02] part 5 of 5
");
    insta::assert_snapshot!(said(Body::Read { announced: generation }), @"000001>* [control net 0 from 1_02] 1_02#257 read, announces 4.1_01#256");
    let answer = Body::ReadAnswer {
        accepted: generation,
        activated: Generation::NONE,
        promised: generation,
        matrix: Some(matrix),
    };
    insta::assert_snapshot!(said(answer), @"000001>* [control net 0 from 1_02] 1_02#257 read-answer 4.1_01#256");
    insta::assert_snapshot!(said(Body::Ack { generation, digest: 1 }), @"000001>* [control net 0 from 1_02] 1_02#257 ack 4.1_01#256");
    insta::assert_snapshot!(said(Body::Refuse { generation, holds: Generation::NONE, digest: 1 }), @"000001>* [control net 0 from 1_02] 1_02#257 refuse 4.1_01#256, holds 0.0_00#0");
    insta::assert_snapshot!(said(Body::Activate { generation }), @"000001>* [control net 0 from 1_02] 1_02#257 activate 4.1_01#256");
    insta::assert_snapshot!(said(Body::Join { config: 1 }), @"000001>* [control net 0 from 1_02] 1_02#257 join");
    insta::assert_snapshot!(said(Body::MoveComplete { generation, previous: one }), @"000001>* [control net 0 from 1_02] 1_02#257 move-complete 4.1_01#256 from 1_01");
}

#[test]
fn what_is_synced_is_read_like_a_capture() {
    let forward = flow(Protocol::TCP);
    let version = Version { generation: 1, counter: 1 };
    let owner = MemberId::new(1, 2);
    let entry = Entry {
        forward,
        reverse: forward.reversed(),
        entered: NetworkId(1),
        left: NetworkId(2),
        owner,
        life: Incarnation(257),
        bucket: Bucket(9),
        version,
        state: ConnectionState::SynReceived,
        age_ms: 0,
        expires_ms: 1,
    };
    let neighbour = Neighbour { network: NetworkId(1), address: forward.src, mac: Mac::host(1) };
    let generation = Generation { counter: 4, author: owner, incarnation: Incarnation(257) };
    let say = |items: Vec<Item>| {
        said(Body::Sync(SyncMessage { receiver: Incarnation(1), sequence: 7, acknowledged: 3, bitmap: 0, items }))
    };
    insta::assert_snapshot!(say(vec![]), @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3:");
    insta::assert_snapshot!(say(vec![Item::Entry(entry.clone()), Item::Delete { forward, version }]), @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3: entry(tcp 198.18.0.5:1000 > 198.18.1.9:2000 SynReceived) delete(tcp 198.18.0.5:1000 > 198.18.1.9:2000)");
    let kept = say(vec![Item::Kept(entry.clone())]);
    insta::assert_snapshot!(kept, @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3: kept(tcp 198.18.0.5:1000 > 198.18.1.9:2000 of 1_02)");
    let answer = Item::Answer { asked: forward, entry: Some(entry) };
    insta::assert_snapshot!(say(vec![Item::Query(forward), answer]), @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3: query(tcp 198.18.0.5:1000 > 198.18.1.9:2000) answer(tcp 198.18.0.5:1000 > 198.18.1.9:2000 known)");
    insta::assert_snapshot!(say(vec![Item::Answer { asked: forward, entry: None }]), @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3: answer(tcp 198.18.0.5:1000 > 198.18.1.9:2000 unknown)");
    let rest = vec![
        Item::Want,
        Item::Neighbour(neighbour),
        Item::PortsInUse(vec![1, 2]),
        Item::WantDone,
        Item::MoveDone { generation, entries: 3 },
    ];
    insta::assert_snapshot!(say(rest), @"000001>* [control net 0 from 1_02] 1_02#257 sync 7 ack 3: want neighbour(198.18.0.5) ports-in-use(2) want-done move-done(3)");
}
