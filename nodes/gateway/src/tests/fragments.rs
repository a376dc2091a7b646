//! Pieces of packets follow the first, which has the ports; nobody puts them together on the way.

use scalebed_frame::pieces;
use scalebed_frame::view::Fragment;

use scalebed_frame::{Kind, NodeId};

use super::icmp::elsewhere::{DOWNLINK, dispatched, member, of_maestro, shim, transmitted};
use super::*;
use crate::counters::Fate;

/// A packet of 3,000 bytes in three pieces, of a connection that begins with it.
fn question(flow: Flow) -> Vec<Frame> {
    let long = Envelope { identification: 99, ..envelope(0, 64) };
    pieces::pieces(&build::udp(long, flow, &[7; 3000]), 1500, 99)
}

fn answer(flow: Flow) -> Vec<Frame> {
    let long = Envelope { identification: 98, ..envelope(1, 64) };
    pieces::pieces(&build::udp(long, flow, &[9; 3000]), 1500, 98)
}

fn flow6() -> Flow {
    Flow { src: v6(INSIDE, 5).into(), dst: v6(OUTSIDE, 9).into(), ..out(Protocol::UDP, 53) }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    for (port, network, last) in [(0, INSIDE, 5), (1, OUTSIDE, 9)] {
        bench.give(port, build::advertisement(Mac::host(network.0.into()), v6(network, last), false, None));
    }
    bench.sent.clear();
    bench
}

/// What the receiver puts together, header and all; its sums must hold.
fn joined(frames: &[(u16, Frame)]) -> (Flow, Vec<u8>) {
    let mut parts: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut flow = None;
    for (_, frame) in frames {
        let view = View::parse(frame.bytes()).expect("a frame");
        let ip = view.ip().expect("a packet");
        let at = |place: usize| usize::from(u16::from_be_bytes([frame.bytes()[place], frame.bytes()[place + 1]]));
        let offset = if ip.src.is_ipv4() { (at(20) & 0x1fff) * 8 } else { at(56) & !7 };
        parts.push((offset, frame.bytes()[ip.l4..ip.end].to_vec()));
        if ip.fragment == Fragment::First {
            flow = Some(ip.flow());
        }
    }
    parts.sort();
    let flow = flow.expect("a first piece");
    (flow, parts.into_iter().flat_map(|(_, part)| part).collect())
}

/// The UDP datagram as it would be without pieces.
fn whole(flow: Flow, payload: &[u8]) -> Vec<u8> {
    let frame = build::udp(envelope(0, 64), flow, payload);
    let l4 = if flow.is_ipv4() { 34 } else { 54 };
    frame.bytes()[l4..].to_vec()
}

#[test]
fn they_are_translated_as_their_packet_in_any_order() {
    let seen = Flow { src: HIDDEN.into(), src_port: 10_000, ..out(Protocol::UDP, 53) };
    for (forth, beyond) in [(out(Protocol::UDP, 53), seen), (flow6(), flow6())] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut bench = bench();
            for (pieces, port) in [(question(forth), 0), (answer(beyond.reversed()), 1)] {
                assert_eq!(pieces.len(), 3);
                order.iter().for_each(|&at| bench.give(port, pieces[at].clone()));
                assert_eq!(bench.sent.len(), 3, "{order:?}: {:?}", bench.gateway.counters.drops());
                let (tuple, datagram) = joined(&bench.sent);
                let wanted = if port == 0 { (beyond, [7; 3000]) } else { (forth.reversed(), [9; 3000]) };
                assert_eq!(tuple, wanted.0);
                assert!(datagram == whole(wanted.0, &wanted.1), "the sum is that of the translated datagram");
                bench.sent.clear();
            }
            assert_eq!((bench.count(Count::Created), bench.count(Count::Pieces)), (1, 6));
        }
    }
}

#[test]
fn without_a_first_piece_they_are_dropped_by_their_name() {
    let mut bench = bench();
    let pieces = question(out(Protocol::UDP, 53));
    bench.give(0, pieces[1].clone());
    bench.give(0, pieces[2].clone());
    bench.run(Duration::from_millis(199));
    assert_eq!(bench.dropped(Reason::Fragment), 0);
    bench.run(Duration::from_millis(2));
    assert_eq!((bench.dropped(Reason::Fragment), bench.count(Count::Processed)), (2, 0));
    // The same identification much later is another packet's.
    bench.give(0, pieces[0].clone());
    bench.run(Duration::from_secs(3));
    bench.give(0, pieces[1].clone());
    bench.run(Duration::from_secs(1));
    assert_eq!((bench.dropped(Reason::Fragment), bench.count(Count::Processed)), (3, 1));
}

#[test]
fn what_the_policy_drops_it_drops_in_pieces_and_tcp_states_hold() {
    let mut bench = bench();
    let long = Envelope { identification: 5, ..envelope(0, 64) };
    let tcp = |dst_port, flags| {
        let fields = TcpFields { sequence: 1, acknowledgement: 1, flags, window: 100 };
        pieces::pieces(&build::tcp(long, out(Protocol::TCP, dst_port), fields, &[1; 2000]), 1500, 0)
    };
    tcp(23, SYN).into_iter().for_each(|piece| bench.give(0, piece));
    assert_eq!((bench.dropped(Reason::Policy), bench.dropped(Reason::OutOfState)), (1, 1), "the first, and the rest");
    bench.give(0, segment(0, out(Protocol::TCP, 80), SYN));
    bench.sent.clear();
    tcp(80, ACK).into_iter().for_each(|piece| bench.give(0, piece));
    assert_eq!(bench.dropped(Reason::TcpState), 1, "data before the handshake");
    bench.give(1, segment(1, back(Protocol::TCP, 80, 10000), SYN | ACK));
    bench.sent.clear();
    tcp(80, ACK).into_iter().for_each(|piece| bench.give(0, piece));
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn of_pieces_that_die_here_the_first_alone_is_told_of() {
    for flow in [out(Protocol::UDP, 53), flow6()] {
        let mut bench = bench();
        let dying = Envelope { identification: 3, ..envelope(0, 1) };
        for piece in pieces::pieces(&build::udp(dying, flow, &[7; 3000]), 1500, 3) {
            bench.give(0, piece);
        }
        assert_eq!((bench.dropped(Reason::Ttl), bench.count(Count::TimeExceeded), bench.sent.len()), (3, 1, 1));
    }
}

#[test]
fn the_cluster_itself_puts_nothing_together() {
    for (src, dst, protocol) in [
        (CLIENT.into(), Ipv4Addr::new(10, 1, 0, 1).into(), Protocol::ICMP),
        (v6(INSIDE, 5).into(), v6(INSIDE, 1).into(), Protocol::ICMPV6),
    ] {
        let mut bench = bench();
        let flow = Flow { protocol, src, dst, src_port: 5, dst_port: 5 };
        let ping = build::echo(Envelope { identification: 3, ..envelope(0, 64) }, flow, false, 1, &[1; 3000]);
        pieces::pieces(&ping, 1500, 3).into_iter().for_each(|piece| bench.give(0, piece));
        assert_eq!((bench.dropped(Reason::Fragment), bench.sent.len()), (3, 0));
    }
}

/// With ports in the key, where a packet in pieces enters and whose its connection is are two members: it is corrected.
#[test]
fn with_ports_in_the_key_pieces_are_corrected_to_the_owner() {
    const OWNER: MemberId = OTHERS[1];
    let config = |me| NodeConfig { group: Group { l4: true, ..config().group }, ..of_maestro(me) };
    let both = |me| {
        let mut gateway = member(config(me), ME);
        let mut matrix = matrix(ME, None, None);
        let bucket = gateway.bucket(&out(Protocol::UDP, 53), true, INSIDE);
        assert_ne!(bucket, gateway.bucket(&out(Protocol::UDP, 53), false, INSIDE));
        matrix.buckets[usize::from(bucket.0)].owner = OWNER;
        gateway.view.install(Some(&matrix), |_| (true, None));
        gateway
    };
    let (mut here, mut there) = (both(ME), both(OWNER));
    // The last comes first: it waits here for the first, not at the owner.
    let pieces = question(out(Protocol::UDP, 53));
    let mut corrected = Vec::new();
    for (piece, fate) in [(2, Fate::Waits), (0, Fate::Sent), (1, Fate::Sent)] {
        let got = here.intake(DOWNLINK, dispatched(pieces[piece].clone(), ME, INSIDE, 7), here.now);
        assert_eq!(got, fate, "{piece}");
        here.pieces_follow();
        corrected.extend(transmitted(&mut here));
    }
    assert_eq!((corrected.len(), here.table.len()), (3, 0));
    let mut sent = Vec::new();
    for frame in corrected {
        let under = shim(&frame);
        assert_eq!((under.kind, under.hop, under.target), (Kind::Correction, 1, NodeId::from(OWNER).code()));
        assert_eq!(there.intake(DOWNLINK, frame, there.now), Fate::Sent);
        sent.extend(transmitted(&mut there));
    }
    assert_eq!((sent.len(), there.table.len()), (3, 1));
}
