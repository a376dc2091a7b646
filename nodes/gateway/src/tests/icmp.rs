//! ICMP errors follow the connection that they quote. Sums are made here anew, never by the code that mends them.

use std::net::IpAddr;

use super::*;
use crate::table::Connection;

/// A router behind the server's side, one behind the clients'.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 200);
const INNER_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);
const UNREACHABLE: u8 = 3;
const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP];

pub(super) mod elsewhere;
mod refused;

/// What the client sends, and what the server sees of it under hide NAT.
fn sent(protocol: Protocol) -> Flow {
    let echo = Flow { src_port: 77, dst_port: 77, ..out(protocol, 77) };
    if protocol == Protocol::ICMP { echo } else { out(protocol, 53) }
}

fn seen(protocol: Protocol) -> Flow {
    let echo = protocol == Protocol::ICMP;
    Flow { src: HIDDEN.into(), src_port: 10_000, dst_port: if echo { 10_000 } else { 53 }, ..sent(protocol) }
}

fn first(flow: Flow) -> Frame {
    match flow.protocol {
        Protocol::TCP => segment(0, flow, SYN),
        Protocol::UDP => build::udp(envelope(0, 64), flow, b"question"),
        _ => build::echo(envelope(0, 64), flow, false, 1, b"question"),
    }
}

/// A packet of a flow from its IPv4 header on.
fn quoted(flow: Flow) -> Vec<u8> {
    let fields = TcpFields { sequence: 9, acknowledgement: 4, flags: ACK, window: 7 };
    let frame = match flow.protocol {
        Protocol::TCP => build::tcp(envelope(0, 1), flow, fields, b"what was sent"),
        Protocol::UDP => build::udp(envelope(0, 1), flow, b"what was sent"),
        _ => build::echo(envelope(0, 1), flow, false, 1, b"what was sent"),
    };
    frame.bytes()[14..].to_vec()
}

/// An error that comes in at a port.
fn error(port: u16, from: Ipv4Addr, to: IpAddr, (kind, code): (u8, u8), quoted: &[u8]) -> Frame {
    let flow = Flow { protocol: Protocol::ICMP, src: from.into(), dst: to, src_port: 0, dst_port: 0 };
    build::icmp(envelope(port, 33), flow, kind, code, &[&[0, 0, 5, 100], quoted].concat())
}

/// About a packet of a flow, to whom that came from.
fn about(port: u16, from: Ipv4Addr, flow: Flow) -> Frame {
    error(port, from, flow.src, (UNREACHABLE, 4), &quoted(flow))
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

/// The connection of a protocol, begun by the client; what came out of that is forgotten.
fn with_connection(config: NodeConfig, protocol: Protocol) -> Bench {
    let mut bench = Bench::serving(config);
    for (port, network, ip) in [(1, OUTSIDE, ROUTER), (0, INSIDE, INNER_ROUTER)] {
        bench.give(port, build::gratuitous(Mac::host(u32::from(network.0) + 100), ip));
    }
    bench.give(0, first(sent(protocol)));
    assert_eq!(bench.count(Count::Created), 1);
    bench.sent.clear();
    bench
}

fn plain() -> NodeConfig {
    NodeConfig { group: Group { nat: Vec::new(), ..config().group }, ..config() }
}

/// All that is remembered of connections and NAT ports.
fn memory(gateway: &Gateway) -> (Vec<Connection>, String) {
    (gateway.table.iter().map(|(_, one)| one.clone()).collect(), format!("{:?}", gateway.nat))
}

/// Gives an error and gets what came out: exactly one frame at `port`, whose sums hold, and nothing was remembered.
fn forwarded(bench: &mut Bench, came_by: u16, leaves_by: u16, frame: Frame) -> Vec<u8> {
    // Later than the connection's last packet: a new deadline would be another one.
    bench.run(Duration::from_millis(1500));
    bench.sent.clear();
    let before = memory(&bench.gateway);
    bench.give(came_by, frame);
    assert_eq!(memory(&bench.gateway), before, "an error changes nothing");
    assert_eq!(bench.sent.len(), 1, "{:?}", bench.gateway.counters.drops());
    let (port, frame) = bench.sent.remove(0);
    assert_eq!(port, leaves_by);
    let bytes = frame.bytes().to_vec();
    assert_eq!((sum(&bytes[14..34]), sum(&bytes[34..])), (0xffff, 0xffff), "sums of the error");
    bytes
}

/// Source, destination and TTL of the error, and what it quotes.
fn read(frame: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    let view = View::parse(frame).expect("a frame");
    let ip = view.ip().expect("a packet");
    (ip.src, ip.dst, ip.ttl, &frame[ip.l4 + 8..ip.end])
}

#[test]
fn an_error_from_outside_is_translated_back_to_who_hides() {
    for protocol in PROTOCOLS {
        let mut bench = with_connection(config(), protocol);
        // The server itself, and a router before it: who complains stays.
        for from in [SERVER, ROUTER] {
            let frame = forwarded(&mut bench, 1, 0, about(1, from, seen(protocol)));
            // The quote is byte for byte the packet as the client sent it, its own sums among it.
            assert_eq!(read(&frame), (from.into(), CLIENT.into(), 32, &quoted(sent(protocol))[..]), "{protocol}");
            assert_eq!(frame[34..36], [UNREACHABLE, 4]);
            assert_eq!(frame[38..42], [0, 0, 5, 100], "the next hop's MTU (RFC 1191)");
            assert_eq!(frame[..12], [Mac::host(1).0, config().networks[0].cluster_mac.0].concat());
        }
        assert_eq!((bench.count(Count::IcmpErrors), bench.count(Count::Created)), (2, 1));
    }
}

#[test]
fn an_error_from_inside_shows_nobody_who_hides() {
    for protocol in PROTOCOLS {
        let mut bench = with_connection(config(), protocol);
        for from in [CLIENT, INNER_ROUTER] {
            let frame = forwarded(&mut bench, 0, 1, about(0, from, sent(protocol).reversed()));
            let (src, dst, ttl, quote) = read(&frame);
            assert_eq!((src, dst, ttl), (HIDDEN.into(), SERVER.into(), 32));
            assert_eq!(quote, &quoted(seen(protocol).reversed())[..], "{protocol}");
            for hidden in [CLIENT, INNER_ROUTER] {
                assert!(!frame.windows(4).any(|four| four == hidden.octets()), "{hidden} leaked");
            }
        }
    }
}

#[test]
fn without_translation_only_the_way_changes() {
    for protocol in PROTOCOLS {
        let mut bench = with_connection(plain(), protocol);
        for from in [SERVER, ROUTER] {
            let frame = forwarded(&mut bench, 1, 0, about(1, from, sent(protocol)));
            assert_eq!(read(&frame), (from.into(), CLIENT.into(), 32, &quoted(sent(protocol))[..]));
        }
        for from in [CLIENT, INNER_ROUTER] {
            let flow = sent(protocol).reversed();
            let frame = forwarded(&mut bench, 0, 1, about(0, from, flow));
            assert_eq!(read(&frame), (from.into(), SERVER.into(), 32, &quoted(flow)[..]));
        }
    }
}

#[test]
fn every_kind_of_error_about_a_packet_goes_its_way() {
    let mut bench = with_connection(config(), Protocol::UDP);
    for kind in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (11, 1), (12, 0), (12, 2)] {
        let about = error(1, ROUTER, HIDDEN.into(), kind, &quoted(seen(Protocol::UDP)));
        let frame = forwarded(&mut bench, 1, 0, about);
        assert_eq!((frame[34], frame[35]), kind);
    }
}

/// RFC 792 asks for 8 bytes behind the header: of TCP the checksum is not among them, and 28 bytes is all there is.
#[test]
fn the_least_that_must_be_quoted_is_enough() {
    for protocol in PROTOCOLS {
        let mut bench = with_connection(config(), protocol);
        let least = error(1, ROUTER, HIDDEN.into(), (11, 0), &quoted(seen(protocol))[..28]);
        let frame = forwarded(&mut bench, 1, 0, least);
        assert_eq!(read(&frame).3, &quoted(sent(protocol))[..28], "{protocol}");
    }
}

#[test]
fn a_quoted_udp_packet_without_a_checksum_stays_without() {
    let mut bench = with_connection(config(), Protocol::UDP);
    let silent = |flow| {
        let mut packet = quoted(flow);
        packet[26..28].fill(0);
        packet
    };
    let frame = forwarded(&mut bench, 1, 0, error(1, ROUTER, HIDDEN.into(), (3, 3), &silent(seen(Protocol::UDP))));
    assert_eq!(read(&frame).3, &silent(sent(Protocol::UDP))[..]);
}

/// It came back before anybody asked where its client is: that is asked now.
#[test]
fn an_error_waits_for_its_next_hop_like_any_packet() {
    let mut bench = Bench::new();
    let other = Ipv4Addr::new(10, 1, 0, 66);
    let flow = Flow { src: other.into(), ..sent(Protocol::UDP) };
    bench.give(0, build::udp(envelope(0, 64), flow, b"x"));
    bench.sent.clear();
    bench.give(1, error(1, ROUTER, HIDDEN.into(), (11, 0), &quoted(seen(Protocol::UDP))));
    assert_eq!(bench.gateway.waiting.len(), 1);
    let told =
        Arp { operation: 2, sender_mac: Mac::host(66), sender_ip: other, target_mac: Mac::ZERO, target_ip: other };
    bench.give(0, build::arp(Mac::host(66), config().networks[0].cluster_mac, told));
    insta::assert_snapshot!(bench.lines(), @r"
    0 01a001>* arp who-has 10.1.0.66 tell 10.1.0.1
    0 01a001>000042 icmp 10.2.0.200:0 > 10.1.0.66:0 type 11 code 0 ttl 32
    ");
}

/// An error keeps nothing alive: the connection ends when it would have ended.
#[test]
fn errors_do_not_keep_a_connection_alive() {
    let mut bench = with_connection(config(), Protocol::UDP);
    for _ in 0..39 {
        bench.run(Duration::from_secs(1));
        bench.give(1, about(1, ROUTER, seen(Protocol::UDP)));
    }
    assert_eq!((bench.count(Count::IcmpErrors), bench.count(Count::Deleted)), (39, 0));
    bench.run(Duration::from_secs(2));
    assert_eq!(bench.count(Count::Deleted), 1);
    bench.give(1, about(1, ROUTER, seen(Protocol::UDP)));
    assert_eq!(bench.dropped(Reason::OutOfState), 1);
}

/// The client refused the server's answer: that is no answer of the client's, and no state moves.
#[test]
fn errors_do_not_move_the_state_of_tcp() {
    let mut bench = with_connection(config(), Protocol::TCP);
    forwarded(&mut bench, 0, 1, about(0, CLIENT, sent(Protocol::TCP).reversed()));
    forwarded(&mut bench, 1, 0, about(1, SERVER, seen(Protocol::TCP)));
    bench.sent.clear();
    // Still in the handshake: data does not fit.
    bench.give(0, segment(0, sent(Protocol::TCP), ACK));
    assert_eq!(bench.dropped(Reason::TcpState), 1);
}
