//! Packets that are larger than the network that they leave to.

use scalebed_frame::quote::{self, Quote};

use super::*;

/// The outside takes 1,400 bytes.
fn bench() -> Bench {
    let mut config = config();
    config.networks[1].mtu = 1_400;
    let mut bench = Bench::serving(config);
    for (port, network, last) in [(0, INSIDE, 5), (1, OUTSIDE, 9)] {
        bench.give(port, build::advertisement(Mac::host(network.0.into()), v6(network, last), false, None));
    }
    bench.sent.clear();
    bench
}

fn flow6() -> Flow {
    Flow { src: v6(INSIDE, 5).into(), dst: v6(OUTSIDE, 9).into(), ..out(Protocol::UDP, 53) }
}

/// A UDP packet of so many bytes from its IP header on.
fn packet(flow: Flow, length: usize, forbidden: bool) -> Frame {
    let head = if flow.is_ipv4() { 28 } else { 48 };
    let mut frame = build::udp(envelope(0, 64), flow, &vec![7; length - head]);
    if forbidden {
        // Don't fragment: the bit, and the header's sum with it (RFC 1624).
        frame.bytes_mut()[20] = 0x40;
        let sum = u16::from_be_bytes([frame.bytes()[24], frame.bytes()[25]]);
        let less = if sum >= 0x4000 { sum - 0x4000 } else { sum + 0xbfff };
        frame.bytes_mut()[24..26].copy_from_slice(&less.to_be_bytes());
    }
    frame
}

#[test]
fn what_may_not_be_broken_is_told_to_its_source_with_the_mtu() {
    for (flow, kind) in [(out(Protocol::UDP, 53), (3, 4)), (flow6(), (2, 0))] {
        let mut bench = bench();
        bench.give(0, packet(flow, 1_400, flow.is_ipv4()));
        assert_eq!((bench.dropped(Reason::TooBig), bench.sent.len()), (0, 1), "it fits exactly");
        bench.sent.clear();
        let big = packet(flow, 1_401, flow.is_ipv4());
        bench.give(0, big.clone());
        assert_eq!((bench.dropped(Reason::TooBig), bench.count(Count::TooBig), bench.sent.len()), (1, 1, 1));
        let (port, frame) = bench.sent.remove(0);
        let view = View::parse(frame.bytes()).expect("a frame");
        let ip = view.ip().expect("a packet");
        let at = ip.l4;
        assert_eq!((port, ip.dst, (frame.bytes()[at], frame.bytes()[at + 1])), (0, flow.src, kind));
        assert_eq!(frame.bytes()[at + 4..at + 8], [0, 0, 5, 120], "1,400");
        assert_eq!(Quote::parse(frame.bytes(), ip).map(|quote| quote.flow), Some(flow));
        let length = if flow.is_ipv4() { 28 } else { quote::v6::LONGEST };
        assert_eq!(frame.bytes()[at + 8..], big.bytes()[14..14 + length], "as it came in, before translation");
        // Into the other network it fits.
        assert_eq!(bench.count(Count::Broken), 0);
    }
}

#[test]
fn what_may_be_broken_leaves_in_pieces_that_make_the_packet_again() {
    let mut bench = bench();
    bench.give(0, packet(out(Protocol::UDP, 53), 1_500, false));
    assert_eq!((bench.sent.len(), bench.count(Count::Broken), bench.dropped(Reason::TooBig)), (2, 2, 0));
    let mut datagram = Vec::new();
    for (port, frame) in &bench.sent {
        let view = View::parse(frame.bytes()).expect("a frame");
        let ip = view.ip().expect("a packet, its header's sum as it should be");
        assert!(*port == 1 && frame.bytes().len() - 14 <= 1_400 && ip.ttl == 63 && ip.src == HIDDEN);
        datagram.extend_from_slice(&frame.bytes()[ip.l4..ip.end]);
    }
    let seen = Flow { src: HIDDEN.into(), src_port: 10_000, ..out(Protocol::UDP, 53) };
    assert!(datagram == packet(seen, 1_500, false).bytes()[34..]);
}

/// It waits for the next hop whole, like any packet.
#[test]
fn a_packet_is_broken_when_its_next_hop_is_known() {
    let mut bench = bench();
    let other = Ipv4Addr::new(10, 2, 0, 77);
    let flow = Flow { dst: other.into(), ..out(Protocol::UDP, 53) };
    bench.give(0, packet(flow, 1_500, false));
    assert_eq!(bench.sent.len(), 1, "who has it?");
    bench.give(1, build::gratuitous(Mac::host(77), other));
    assert_eq!(bench.sent.len(), 3);
    bench.give(0, packet(Flow { dst: Ipv4Addr::new(10, 2, 0, 78).into(), ..flow }, 1_500, false));
    bench.run(Duration::from_secs(4));
    assert_eq!(bench.dropped(Reason::Neighbour), 1);
}

#[test]
fn a_piece_that_is_too_big_is_broken_again_and_one_of_ipv6_is_not() {
    for (flow, sent) in [(out(Protocol::UDP, 53), 3), (flow6(), 1)] {
        let mut bench = bench();
        let long = build::udp(Envelope { identification: 3, ..envelope(0, 64) }, flow, &[7; 2_000]);
        scalebed_frame::pieces::pieces(&long, 1_500, 3).into_iter().for_each(|piece| bench.give(0, piece));
        // Of IPv6 the first dies and is told of, the second is small enough.
        let told = u64::from(!flow.is_ipv4());
        assert_eq!((bench.count(Count::TooBig), bench.dropped(Reason::TooBig)), (told, told));
        assert_eq!(bench.sent.len(), sent + usize::from(!flow.is_ipv4()));
    }
}

/// No error is about an error, and nobody but its source breaks a packet of IPv6 (RFC 8200 section 5).
#[test]
fn an_error_that_is_too_big_goes_nowhere() {
    let mut config = config();
    config.networks[0].mtu = 1_280;
    let mut bench = Bench::serving(config);
    for (port, network, last) in [(0, INSIDE, 5), (1, OUTSIDE, 9)] {
        bench.give(port, build::advertisement(Mac::host(network.0.into()), v6(network, last), false, None));
    }
    bench.give(0, packet(flow6(), 100, false));
    bench.sent.clear();
    let quoted = [&[0; 4], &packet(flow6(), 1_300, false).bytes()[14..]].concat();
    let about = Flow { protocol: Protocol::ICMPV6, src_port: 0, dst_port: 0, ..flow6().reversed() };
    bench.give(1, build::icmp(envelope(1, 60), about, 1, 4, &quoted));
    assert_eq!((bench.dropped(Reason::TooBig), bench.sent.len()), (1, 0));
    bench.give(1, build::icmp(envelope(1, 60), about, 1, 4, &quoted[..1_200]));
    assert_eq!((bench.count(Count::IcmpErrors), bench.sent.len()), (2, 1));
}
