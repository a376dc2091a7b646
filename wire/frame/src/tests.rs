//! What is built is read back, what is rewritten equals what is built anew, and no bytes panic.

use std::net::{IpAddr, Ipv4Addr};

use pnet_packet::ipv4::Ipv4Packet;
use proptest::prelude::*;

use crate::build::{self, Envelope, TcpFields};
use crate::flow::{Flow, Protocol};
use crate::ids::{GroupId, NetworkId, NodeId};
use crate::mac::Mac;
use crate::render;
use crate::rewrite::{self, End};
use crate::shim::{Kind, LEN, Shim};
use crate::signature::{self, Class, Compact, Direction, Signature};
use crate::view::{Transport, View};

const ENVELOPE: Envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 7 };

fn flows() -> impl Strategy<Value = Flow> {
    let protocol = prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP), Just(Protocol::ICMP)];
    (protocol, any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>()).prop_map(|(protocol, src, dst, a, b)| Flow {
        protocol,
        src: Ipv4Addr::from(src).into(),
        dst: Ipv4Addr::from(dst).into(),
        src_port: a,
        dst_port: if protocol == Protocol::ICMP { a } else { b },
    })
}

fn built(flow: Flow, payload: &[u8]) -> Vec<u8> {
    match flow.protocol {
        Protocol::TCP => {
            build::tcp(ENVELOPE, flow, TcpFields { sequence: 5, flags: 16, ..TcpFields::default() }, payload)
        }
        Protocol::UDP => build::udp(ENVELOPE, flow, payload),
        _ => build::echo(ENVELOPE, flow, false, 3, payload),
    }
    .0
}

fn checksums_hold(frame: &[u8]) -> bool {
    let view = View::parse(frame).expect("a frame");
    let ip = *view.ip().expect("a packet");
    let packet = Ipv4Packet::new(&frame[view.l3..]).expect("a header");
    let header = pnet_packet::ipv4::checksum(&packet) == packet.get_checksum();
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return false };
    // Summed with its own checksum in place, a valid segment gives zero (all ones before the complement).
    let mut sum: u32 = if ip.protocol == Protocol::ICMP {
        0
    } else {
        let address = |ip: Ipv4Addr| (u32::from(ip) >> 16) + (u32::from(ip) & 0xffff);
        address(src) + address(dst) + u32::from(ip.protocol.0) + u32::try_from(ip.end - ip.l4).expect("short")
    };
    for pair in frame[ip.l4..ip.end].chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header && sum == 0xffff
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(flow in flows(), payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let frame = built(flow, &payload);
        let view = View::parse(&frame).expect("a frame");
        let ip = view.ip().expect("a packet");
        prop_assert_eq!(ip.flow(), flow);
        prop_assert_eq!(&frame[ip.payload().expect("a payload")..ip.end], &payload[..]);
        prop_assert_eq!(ip.end, frame.len(), "nothing is padded");
        if flow.protocol == Protocol::UDP {
            prop_assert_eq!(&frame[ip.l4 + 4..ip.l4 + 6], u16::try_from(8 + payload.len()).expect("short").to_be_bytes());
        }
        prop_assert!(checksums_hold(&frame));
    }

    #[test]
    fn rewriting_equals_building_anew(
        flow in flows(),
        address in any::<u32>(),
        port in any::<u16>(),
        source in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut frame = built(flow, &payload);
        let view = View::parse(&frame).expect("a frame");
        let ip = *view.ip().expect("a packet");
        let end = if source { End::Source } else { End::Destination };
        let address: IpAddr = Ipv4Addr::from(address).into();
        rewrite::set_end(&mut frame, view.l3, &ip, end, address, port);
        let mut wanted = flow;
        if source { (wanted.src, wanted.src_port) = (address, port) } else { (wanted.dst, wanted.dst_port) = (address, port) }
        if flow.protocol == Protocol::ICMP { (wanted.src_port, wanted.dst_port) = (port, port) }
        prop_assert!(checksums_hold(&frame), "checksums");
        prop_assert_eq!(frame, built(wanted, &payload));
    }

    /// RFC 768: a sender may have made no checksum.
    #[test]
    fn udp_without_a_checksum_stays_without(address in any::<u32>(), port in any::<u16>()) {
        let mut frame = built(flow(), b"payload");
        let view = View::parse(&frame).expect("a frame");
        let ip = *view.ip().expect("a packet");
        frame[ip.l4 + 6..ip.l4 + 8].fill(0);
        rewrite::set_end(&mut frame, view.l3, &ip, End::Source, Ipv4Addr::from(address).into(), port);
        prop_assert_eq!(&frame[ip.l4 + 6..ip.l4 + 8], [0, 0]);
        prop_assert_eq!(View::parse(&frame).and_then(|view| view.flow()).map(|flow| flow.src_port), Some(port));
    }

    /// A computed 0 is sent as all ones, or it would say "no checksum". The port is chosen so that the sum is 0.
    #[test]
    fn a_udp_checksum_of_zero_is_all_ones(address in any::<u32>(), old in any::<u16>()) {
        let source = Flow { src_port: old, src: Ipv4Addr::from(address).into(), ..flow() };
        let probe = built(Flow { src_port: 0, ..source }, b"");
        let sum = u16::from_be_bytes([probe[14 + 20 + 6], probe[14 + 20 + 7]]);
        let anew = built(Flow { src_port: sum, ..source }, b"");
        prop_assert_eq!(&anew[40..42], [0xff, 0xff]);
        let mut frame = built(source, b"");
        let view = View::parse(&frame).expect("a frame");
        let ip = *view.ip().expect("a packet");
        rewrite::set_end(&mut frame, view.l3, &ip, End::Source, source.src, sum);
        prop_assert_eq!(frame, anew);
    }

    #[test]
    fn a_lower_ttl_keeps_the_checksum(flow in flows()) {
        let mut frame = built(flow, b"x");
        rewrite::decrement_ttl(&mut frame, 14);
        prop_assert!(checksums_hold(&frame));
        prop_assert_eq!(View::parse(&frame).and_then(|view| view.ip().map(|ip| ip.ttl)), Some(63));
    }

    #[test]
    fn signatures_round_trip_and_their_hash_guards_them(
        flow in any::<u32>(), sequence in any::<u64>(), late in any::<u32>(), phase in 0u8..32, flip in 0usize..40,
    ) {
        let key = [9; 16];
        let signature = Signature {
            direction: Direction::Reverse, class: Class::Population, phase, run: 3, flow, sequence, intended: 99, late, attempt: 1,
        };
        let mut payload = [0; signature::LEN];
        prop_assert!(signature.write(&key, &mut payload));
        prop_assert_eq!(Signature::read(&key, &payload), Some(signature));
        payload[flip] ^= 1;
        prop_assert_eq!(Signature::read(&key, &payload), None);
    }

    #[test]
    fn compact_signatures_round_trip_and_their_hash_guards_them(
        flow in any::<u32>(), sequence in any::<u32>(), phase in 0u8..32, flip in 0usize..16, short in 0usize..16,
    ) {
        let key = [9; 16];
        let compact = Compact { direction: Direction::Forward, class: Class::Population, phase, flow, sequence };
        let mut payload = [0; signature::COMPACT_LEN];
        prop_assert!(compact.write(&key, &mut payload));
        prop_assert_eq!(Compact::read(&key, &payload), Some(compact));
        prop_assert_eq!(Compact::read(&[8; 16], &payload), None);
        prop_assert_eq!(Signature::peek(&[&payload[..], &[0; 32]].concat()), None, "neither is taken for the other");
        prop_assert!(!compact.write(&key, &mut payload[..short]));
        prop_assert_eq!(Compact::peek(&payload[..short]), None);
        payload[flip] ^= 1;
        prop_assert_eq!(Compact::read(&key, &payload), None);
    }

    #[test]
    fn shims_round_trip(generation in any::<u32>(), incarnation in any::<u16>(), flags in 0u8..8, hop in 0u8..16) {
        let shim = Shim { generation, incarnation, flags, hop, origin: 5, target: 6, ingress: 2, author: 1,
            ..Shim::new(Kind::Correction, NetworkId(2), GroupId(1)) };
        let mut frame = built(flow(), b"");
        let plain = frame.clone();
        shim.insert(&mut frame);
        prop_assert_eq!(frame.len(), plain.len() + LEN);
        prop_assert_eq!(View::parse(&frame).and_then(|view| view.shim), Some(shim));
        prop_assert_eq!(Shim::remove(&mut frame), Some(shim));
        prop_assert_eq!(frame, plain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_bytes_panic(ethertype in prop::sample::select(TYPES.to_vec()), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _signatures = (Signature::peek(&bytes), Compact::peek(&bytes));
        let _line = render::line(&bytes);
        let mut frame = bytes;
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&ethertype);
        }
        handle(&mut frame);
    }

    #[test]
    fn no_mutated_frame_panics(
        flow in flows(),
        shimmed in any::<bool>(),
        changes in proptest::collection::vec((12usize..90, any::<u8>()), 1..4),
        cut in 0usize..110,
    ) {
        let mut frame = built(flow, &[0x5b; 60]);
        if shimmed {
            Shim::new(Kind::Control, NetworkId(1), GroupId(1)).insert(&mut frame);
        }
        for (at, to) in changes {
            frame[at] = to;
        }
        frame.truncate(frame.len().saturating_sub(cut));
        handle(&mut frame);
    }
}

/// EtherTypes that are parsed: IPv4, IPv6, ARP, the shim.
const TYPES: [[u8; 2]; 4] = [[8, 0], [0x86, 0xdd], [8, 6], [0x88, 0xb5]];

/// All that a node does with the bytes of a frame.
fn handle(frame: &mut Vec<u8>) {
    let _line = render::line(frame);
    if let Some((view, ip)) = View::parse(frame).and_then(|view| view.ip().copied().map(|ip| (view, ip))) {
        rewrite::decrement_ttl(frame, view.l3);
        rewrite::set_end(frame, view.l3, &ip, End::Source, Ipv4Addr::LOCALHOST.into(), 9);
    }
    rewrite::set_macs(frame, Mac::ZERO, Mac::BROADCAST);
    Shim::new(Kind::Data, NetworkId(1), GroupId(1)).replace(frame);
    let _shim = Shim::remove(frame);
}

/// The frame may have been cut after it was parsed: the contract of `set_end` is to leave it alone.
#[test]
fn a_frame_that_does_not_hold_its_ports_is_left_alone() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
        let whole = built(Flow { protocol, ..flow() }, b"payload");
        let view = View::parse(&whole).expect("a frame");
        let ip = *view.ip().expect("a packet");
        let needs = match protocol {
            Protocol::TCP => ip.l4 + 18,
            Protocol::UDP => ip.l4 + 8,
            _ => ip.l4 + 6,
        };
        for length in 0..=whole.len() {
            for end in [End::Source, End::Destination] {
                let mut frame = whole[..length].to_vec();
                rewrite::set_end(&mut frame, view.l3, &ip, end, Ipv4Addr::new(203, 0, 113, 9).into(), 4242);
                assert_eq!(frame != whole[..length], length >= needs, "{protocol} {end:?} {length} of {}", whole.len());
            }
        }
    }
}

fn flow() -> Flow {
    Flow {
        protocol: Protocol::UDP,
        src: Ipv4Addr::new(198, 18, 0, 5).into(),
        dst: Ipv4Addr::new(198, 18, 1, 9).into(),
        src_port: 1000,
        dst_port: 2000,
    }
}

#[test]
fn node_codes_name_every_node_once() {
    for code in 0..=255 {
        if let Some(node) = NodeId::from_code(code) {
            assert_eq!(node.code(), code);
        } else {
            assert!([0, 128, 192].contains(&code));
        }
    }
}

#[test]
fn the_shim_has_its_documented_bytes() {
    let shim = Shim {
        generation: 0x0102_0304,
        incarnation: 0x0506,
        flags: 1,
        hop: 1,
        origin: 2,
        target: 3,
        ingress: 2,
        author: 1,
        ..Shim::new(Kind::Handover, NetworkId(7), GroupId(9))
    };
    assert_eq!(shim.to_bytes(), [0x88, 0xb5, 0x23, 7, 9, 0xd9, 1, 2, 3, 4, 1, 2, 5, 6, 0x21, 3]);
}

#[test]
fn signatures_have_their_documented_bytes() {
    let (direction, class, phase) = (Direction::Reverse, Class::Population, 3);
    let full =
        Signature { direction, class, phase, run: 0x0102, flow: 5, sequence: 6, intended: 7, late: 8, attempt: 2 };
    let mut bytes = [0xee; signature::LEN];
    assert!(full.write(&[0; 16], &mut bytes));
    assert_eq!(bytes[..12], [0x5b, 0xed, 1, 0b11011, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[12..36], [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8]);
    assert_eq!(bytes[36..40], [2, 0, 0, 0]);
    assert_eq!(bytes[44..], [0; 4]);
    assert_eq!(Compact::peek(&bytes), None, "neither is taken for the other");
    assert!(Compact { direction, class, phase, flow: 5, sequence: 6 }.write(&[0; 16], &mut bytes));
    assert_eq!(bytes[..12], [0x5b, 0xed, 0x81, 0b11011, 0, 0, 0, 5, 0, 0, 0, 6]);
}

#[test]
fn an_echo_is_read_as_one() {
    let flow = Flow { protocol: Protocol::ICMP, src_port: 77, dst_port: 77, ..flow() };
    let frame = build::echo(ENVELOPE, flow, true, 4, b"abc");
    let transport = View::parse(frame.bytes()).and_then(|view| view.ip().map(|ip| ip.transport));
    assert!(matches!(transport, Some(Transport::Echo { reply: true, identifier: 77, sequence: 4, .. })));
}

proptest! {
    /// A frame whose shim has a flipped bit is read by nobody.
    #[test]
    fn any_flipped_bit_of_a_shim_is_noticed(
        generation: u32, origin: u8, incarnation: u16, target: u8, flags in 0u8..8, at in 0usize..16, bit in 0u8..8,
    ) {
        let shim = Shim {
            generation, origin, incarnation, target, flags,
            ..Shim::new(Kind::Handover, NetworkId(3), GroupId(1))
        };
        let mut bytes = shim.to_bytes();
        prop_assert_eq!(Shim::read(&bytes), Some(shim));
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(Shim::read(&bytes), None);
    }
}
