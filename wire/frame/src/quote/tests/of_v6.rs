//! As for IPv4, what RFC 4443 and RFC 4884 say of IPv6.

use std::net::Ipv6Addr;

use super::*;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 7, 0, 0, 0, 7);
/// Behind the Ethernet header, the outer IPv6 header and the error's own head.
const AT: usize = 14 + 40 + 8;

fn flow(protocol: Protocol) -> Flow {
    let (src, dst) = (Ipv6Addr::new(0x2001, 2, 0, 0x40, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 2, 0, 0x80, 0, 0, 0, 9));
    let (src_port, dst_port) = if protocol == Protocol::ICMPV6 { (77, 77) } else { (10_001, 80) };
    Flow { protocol, src: src.into(), dst: dst.into(), src_port, dst_port }
}

fn error(from: Ipv6Addr, to: IpAddr, kind: u8, head: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let flow = Flow { protocol: Protocol::ICMPV6, src: from.into(), dst: to, src_port: 0, dst_port: 0 };
    build::icmp(ENVELOPE, flow, kind, 0, &[&head[..], quoted].concat()).0
}

fn about(flow: Flow, quoted: &[u8]) -> Vec<u8> {
    error(ROUTER, flow.src, v6::TOO_BIG, [0, 0, 5, 0], quoted)
}

#[test]
fn a_quote_names_the_packet_it_is_of() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMPV6] {
        let quoted = packet(flow(protocol), &[7; 30]);
        for kind in [v6::UNREACHABLE, v6::TOO_BIG, v6::TIME_EXCEEDED, v6::PARAMETER_PROBLEM] {
            for length in [48, quoted.len()] {
                let frame = error(ROUTER, flow(protocol).src, kind, [0; 4], &quoted[..length]);
                let wanted = Quote { flow: flow(protocol), l3: AT, l4: AT + 40, end: frame.len() };
                assert_eq!(parse(&frame), Some(wanted), "type {kind}");
                let view = View::parse(&frame).expect("a frame");
                let ip = view.ip().expect("a packet");
                assert!(is_error(ip) && checksum::icmp_is_valid(&frame, ip));
                assert_eq!(tuple(&frame, ip), (flow(protocol).reversed(), true));
            }
            assert_eq!(parse(&error(ROUTER, flow(protocol).src, kind, [0; 4], &quoted[..47])), None, "cut short");
        }
        for kind in [0, 5, 100, 130, 137] {
            assert_eq!(parse(&error(ROUTER, flow(protocol).src, kind, [0; 4], &quoted)), None, "type {kind}");
        }
    }
}

#[test]
fn what_fits_no_connection_by_its_form_is_none() {
    let udp = flow(Protocol::UDP);
    let quoted = packet(udp, &[7; 30]);
    assert!(parse(&about(udp, &quoted)).is_some());
    assert_eq!(parse(&error(ROUTER, udp.dst, v6::TOO_BIG, [0; 4], &quoted)), None, "to somebody else");
    for from in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, "fe80::1".parse().unwrap(), "ff02::1".parse().unwrap()] {
        assert_eq!(parse(&error(from, udp.src, v6::TOO_BIG, [0; 4], &quoted)), None, "from {from}");
    }
    let inner = error(ROUTER, udp.src, v6::TOO_BIG, [0; 4], &quoted)[14..].to_vec();
    assert_eq!(parse(&error(ROUTER, ROUTER.into(), v6::TOO_BIG, [0; 4], &inner)), None, "about an error");
    let mut old = quoted.clone();
    old[0] = 0x45;
    assert_eq!(parse(&about(udp, &old)), None, "of another version");
    let mut icmp4 = quoted;
    icmp4[6] = 1;
    assert_eq!(parse(&about(udp, &icmp4)), None, "ICMPv4 in IPv6");
}

/// A fragment header before the transport's: the first piece has the ports, a later one has none.
#[test]
fn pieces_are_quoted_too() {
    let udp = flow(Protocol::UDP);
    let piece = |offset: u8| {
        let mut quoted = packet(udp, &[7; 30]);
        quoted[6] = 44;
        quoted.splice(40..40, [17, 0, 0, offset | 1, 0, 0, 0, 5]);
        parse(&about(udp, &quoted))
    };
    let first = piece(0).expect("it has ports");
    assert_eq!((first.flow, first.l4), (udp, AT + 48));
    assert_eq!(piece(8), None);
}

#[test]
fn an_extension_ends_the_quote_where_the_type_has_room_to_say_so() {
    let udp = flow(Protocol::UDP);
    let quoted = [packet(udp, &[7; 200]), vec![0x20; 16]].concat();
    for (kind, words, end) in [
        (v6::UNREACHABLE, 20, AT + 160),
        (v6::TIME_EXCEEDED, 16, AT + 128),
        (v6::UNREACHABLE, 15, AT + 248),
        (v6::TOO_BIG, 20, AT + 248),
    ] {
        let read = parse(&error(ROUTER, udp.src, kind, [words, 0, 0, 0], &quoted)).expect("a quote");
        assert_eq!(read.end, end, "type {kind}, {words} words");
    }
}
