//! Quotes are read and rewritten as the RFCs say; the sums are made here anew, never by the code that mends them.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::build::{self, Envelope, TcpFields};
use crate::mac::Mac;
use crate::rewrite;
use crate::view::View;

/// Of IPv6.
mod of_v6;

const ENVELOPE: Envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 7 };
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 7);
/// Behind the Ethernet header, the outer IPv4 header and the error's own head.
const AT: usize = 14 + 20 + 8;

fn flow(protocol: Protocol) -> Flow {
    let (src, dst) = (Ipv4Addr::new(198, 18, 1, 1).into(), Ipv4Addr::new(198, 19, 0, 9).into());
    let (src_port, dst_port) = if protocol == Protocol::ICMP { (77, 77) } else { (10_001, 80) };
    Flow { protocol, src, dst, src_port, dst_port }
}

/// A packet from its IPv4 header on.
fn packet(flow: Flow, payload: &[u8]) -> Vec<u8> {
    let frame = match flow.protocol {
        Protocol::TCP => build::tcp(ENVELOPE, flow, TcpFields { sequence: 9, ..TcpFields::default() }, payload),
        Protocol::UDP => build::udp(ENVELOPE, flow, payload),
        _ => build::echo(ENVELOPE, flow, false, 3, payload),
    };
    frame.bytes()[14..].to_vec()
}

/// An error from a router about a packet.
fn error(to: IpAddr, kind: u8, head: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let flow = Flow { protocol: Protocol::ICMP, src: ROUTER.into(), dst: to, src_port: 0, dst_port: 0 };
    build::icmp(ENVELOPE, flow, kind, 4, &[&head[..], quoted].concat()).0
}

fn about(flow: Flow, quoted: &[u8]) -> Vec<u8> {
    error(flow.src, UNREACHABLE, [0, 0, 5, 220], quoted)
}

fn parse(frame: &[u8]) -> Option<Quote> {
    Quote::parse(frame, View::parse(frame)?.ip()?)
}

/// The one's complement sum of RFC 1071, word by word.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// Changes a quoted header and makes its checksum anew.
fn with(mut quoted: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut quoted);
    quoted[10..12].fill(0);
    let header = usize::from(quoted[0] & 15) * 4;
    let made = !sum(&quoted[..header.min(quoted.len())]);
    quoted[10..12].copy_from_slice(&made.to_be_bytes());
    quoted
}

#[test]
fn a_quote_names_the_packet_it_is_of() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
        let quoted = packet(flow(protocol), &[7; 30]);
        for kind in [UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM] {
            for length in [28, quoted.len()] {
                let frame = error(flow(protocol).src, kind, [0; 4], &quoted[..length]);
                let wanted = Quote { flow: flow(protocol), l3: AT, l4: AT + 20, end: frame.len() };
                assert_eq!(parse(&frame), Some(wanted));
                let view = View::parse(&frame).expect("a frame");
                assert_eq!(tuple(&frame, view.ip().expect("a packet")), (flow(protocol).reversed(), true));
            }
        }
        for kind in [4, 5, 13, 30] {
            assert_eq!(parse(&error(flow(protocol).src, kind, [0; 4], &quoted)), None, "type {kind}");
        }
    }
    let reply = build::echo(ENVELOPE, flow(Protocol::ICMP), true, 3, b"").bytes()[14..].to_vec();
    assert_eq!(parse(&about(flow(Protocol::ICMP), &reply)).map(|quote| quote.flow), Some(flow(Protocol::ICMP)));
}

#[test]
fn other_packets_are_found_by_their_own_tuple() {
    let frame = build::udp(ENVELOPE, flow(Protocol::UDP), b"");
    let view = View::parse(frame.bytes()).expect("a frame");
    assert_eq!(tuple(frame.bytes(), view.ip().expect("a packet")), (flow(Protocol::UDP), true));
    let frame = about(flow(Protocol::UDP), &[0; 28]);
    let view = View::parse(&frame).expect("a frame");
    let ip = view.ip().expect("a packet");
    assert_eq!(tuple(&frame, ip), (ip.flow(), false));
}

#[test]
fn a_quote_that_is_cut_short_is_none() {
    let quoted = packet(flow(Protocol::UDP), &[7; 30]);
    for length in 0..quoted.len() {
        assert_eq!(parse(&about(flow(Protocol::UDP), &quoted[..length])).is_some(), length >= 28, "{length} bytes");
    }
    // The frame is cut, not the packet.
    let whole = about(flow(Protocol::UDP), &quoted);
    for length in 14..whole.len() {
        assert_eq!(parse(&whole[..length]).is_some(), length >= AT + 28, "{length} bytes");
    }
    // The quoted header says that there are not even 8 bytes.
    let short = with(quoted, |header| header[2..4].copy_from_slice(&[0, 27]));
    assert_eq!(parse(&about(flow(Protocol::UDP), &short)), None);
}

#[test]
fn what_fits_no_connection_by_its_form_is_none() {
    let udp = flow(Protocol::UDP);
    let quoted = || packet(udp, &[7; 30]);
    let read = |quoted: Vec<u8>| parse(&about(udp, &quoted));
    assert!(read(quoted()).is_some());
    assert!(read(with(quoted(), |header| header[6] = 0x20)).is_some(), "a first fragment has ports");
    assert_eq!(read(with(quoted(), |header| header[7] = 1)), None, "a later fragment");
    assert_eq!(read(with(quoted(), |header| header[0] = 0x65)), None, "another version");
    assert_eq!(read(with(quoted(), |header| header[0] = 0x44)), None, "a header of 16 bytes");
    assert_eq!(read(with(quoted(), |header| header[9] = 47)), None, "another protocol");
    let mut altered = quoted();
    altered[8] ^= 1;
    assert_eq!(read(altered), None, "the checksum of the quoted header");
    // An error about an error; what is quoted is complete.
    let inner = about(Flow { src: udp.dst, dst: udp.src, ..udp }, &quoted());
    assert_eq!(parse(&error(ROUTER.into(), UNREACHABLE, [0; 4], &inner[14..])), None);
    assert_eq!(parse(&error(udp.dst, UNREACHABLE, [0; 4], &quoted())), None, "not to whom it came from");
    // A piece of an error.
    let mut piece = about(udp, &quoted());
    piece[20] = 0x20;
    piece[24..26].fill(0);
    let made = !sum(&piece[14..34]);
    piece[24..26].copy_from_slice(&made.to_be_bytes());
    assert!(View::parse(&piece).is_some_and(|view| view.ip().is_some()));
    assert_eq!(parse(&piece), None);
}

#[test]
fn an_error_is_about_single_hosts() {
    let strange: [[u8; 4]; 5] = [[0; 4], [127, 0, 0, 1], [224, 0, 0, 5], [240, 0, 0, 1], [255; 4]];
    let udp = flow(Protocol::UDP);
    for address in strange.map(IpAddr::from) {
        let to = Flow { dst: address, ..udp };
        assert_eq!(parse(&about(to, &packet(to, b"x"))), None, "to {address}");
        let from = Flow { src: address, ..udp };
        assert_eq!(parse(&about(from, &packet(from, b"x"))), None, "from {address}");
        let teller = Flow { protocol: Protocol::ICMP, src: address, dst: udp.src, src_port: 0, dst_port: 0 };
        let rest = [&[0; 4][..], &packet(udp, b"x")].concat();
        assert_eq!(parse(build::icmp(ENVELOPE, teller, 3, 1, &rest).bytes()), None, "told by {address}");
    }
}

#[test]
fn options_of_the_quoted_header_are_stepped_over() {
    let quoted = with(packet(flow(Protocol::TCP), b""), |packet| {
        packet[0] = 0x46;
        packet[3] += 4;
        packet.splice(20..20, [1; 4]);
    });
    let quote = parse(&about(flow(Protocol::TCP), &quoted)).expect("a quote");
    assert_eq!((quote.flow, quote.l4), (flow(Protocol::TCP), AT + 24));
}

/// RFC 4884: what follows the quote is not the quoted packet's, and its TCP checksum may lie behind the end.
#[test]
fn a_quote_ends_where_its_length_says() {
    let mut quoted = packet(flow(Protocol::TCP), &[7; 200]);
    quoted.truncate(128);
    quoted.extend([0x20, 0, 0, 0, 1, 2, 3, 4]);
    let extended = parse(&error(flow(Protocol::TCP).src, UNREACHABLE, [0, 32, 0, 0], &quoted));
    assert_eq!(extended.map(|quote| quote.end), Some(AT + 128));
    let old = parse(&error(flow(Protocol::TCP).src, UNREACHABLE, [0, 31, 0, 0], &quoted));
    assert_eq!(old.map(|quote| quote.end), Some(AT + 136), "less than 128 bytes is no length");
    // Padded to 128 bytes: the quoted packet's own length says where it ends.
    let mut padded = packet(flow(Protocol::UDP), b"");
    padded.resize(128, 0);
    let quote = parse(&error(flow(Protocol::UDP).src, UNREACHABLE, [0, 32, 0, 0], &padded));
    assert_eq!(quote.map(|quote| quote.end), Some(AT + 28));
}

fn tuples() -> impl Strategy<Value = (Flow, Flow)> {
    let protocol = prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP), Just(Protocol::ICMP)];
    // 1.0.0.0 to 126.255.255.255: single hosts, whatever is drawn.
    let end = || (0x0100_0000u32..0x7eff_ffff, any::<u16>());
    (protocol, end(), end(), end(), end()).prop_map(|(protocol, a, b, c, d)| {
        let flow = |(src, src_port): (u32, u16), (dst, dst_port): (u32, u16)| Flow {
            protocol,
            src: Ipv4Addr::from(src).into(),
            dst: Ipv4Addr::from(dst).into(),
            src_port,
            dst_port: if protocol == Protocol::ICMP { src_port } else { dst_port },
        };
        (flow(a, b), flow(c, d))
    })
}

proptest! {
    /// What is quoted of a packet after the rewriting equals what is quoted of the packet with the other tuple, whatever
    /// part of it is quoted, and the error's own checksum holds.
    #[test]
    fn rewriting_equals_quoting_the_other_packet(
        (from, to) in tuples(), payload in prop::collection::vec(any::<u8>(), 0..60), short in 0usize..60, silent: bool,
    ) {
        let quote_of = |flow: Flow| {
            let mut quoted = packet(flow, &payload);
            if silent && flow.protocol == Protocol::UDP {
                quoted[26..28].fill(0);
            }
            let length = quoted.len().saturating_sub(short).max(28);
            quoted.truncate(length);
            quoted
        };
        let mut frame = about(from, &quote_of(from));
        let quote = parse(&frame).expect("a quote");
        let ip = *View::parse(&frame).and_then(|view| view.ip().copied()).as_ref().expect("a packet");
        rewrite::set_quote(&mut frame, &ip, &quote, to);
        let mut wanted = quote_of(to);
        if from.protocol == Protocol::TCP && wanted.len() == 37 {
            // Half a checksum: of the other half nobody knows anything, it stays.
            wanted[36] = quote_of(from)[36];
        }
        prop_assert_eq!(&frame[AT..], &wanted[..]);
        prop_assert_eq!(sum(&frame[34..]), 0xffff);
        // The outer header is another function's.
        prop_assert_eq!(&frame[..34], &about(from, &quote_of(from))[..34]);
    }

    /// No bytes panic, and a frame that was cut after it was read is left alone.
    #[test]
    fn no_mutated_error_panics(
        (from, to) in tuples(),
        changes in prop::collection::vec((14usize..100, any::<u8>()), 0..6),
        mended: bool,
        cut in 0usize..100,
        later in 0usize..100,
    ) {
        let mut frame = about(from, &packet(from, &[0x5b; 30]));
        for (at, to) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = to;
            }
        }
        if mended {
            frame[24..26].fill(0);
            let made = !sum(&frame[14..34]);
            frame[24..26].copy_from_slice(&made.to_be_bytes());
        }
        frame.truncate(frame.len().saturating_sub(cut));
        let Some(ip) = View::parse(&frame).and_then(|view| view.ip().copied()) else { return Ok(()) };
        let _tuple = tuple(&frame, &ip);
        let _valid = checksum::icmp_is_valid(&frame, &ip);
        if let Some(quote) = Quote::parse(&frame, &ip) {
            frame.truncate(frame.len().saturating_sub(later));
            let before = frame.clone();
            rewrite::set_quote(&mut frame, &ip, &quote, to);
            prop_assert!(frame == before || frame.len() >= quote.end);
        }
    }
}
