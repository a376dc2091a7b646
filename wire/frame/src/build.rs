//! Builders: complete Ethernet frames, checksums valid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet_packet::icmp::IcmpPacket;
use pnet_packet::icmpv6::Icmpv6Packet;
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::ipv6::MutableIpv6Packet;
use pnet_packet::tcp::{self, MutableTcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket};

use crate::Frame;
use crate::flow::{Flow, Protocol};
use crate::mac::Mac;
use crate::ndp;
use crate::view::{Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

const ETHERNET: usize = 14;
/// Where the IP header of a frame without a shim starts.
pub const L3: usize = ETHERNET;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// Where a frame comes from and goes to, and what its IP header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Source MAC.
    pub src: Mac,
    /// Destination MAC.
    pub dst: Mac,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification; of IPv6 nothing carries it.
    pub identification: u16,
}

/// A UDP packet of `flow` around `payload`, of IPv4 or IPv6 as its addresses are. Here and below: addresses of two
/// families give an empty frame.
#[must_use]
pub fn udp(envelope: Envelope, flow: Flow, payload: &[u8]) -> Frame {
    ip(envelope, flow, Protocol::UDP, 8 + payload.len(), |body, src, dst| {
        if let Some(mut packet) = MutableUdpPacket::new(body) {
            packet.set_source(flow.src_port);
            packet.set_destination(flow.dst_port);
            packet.set_length(u16::try_from(8 + payload.len()).unwrap_or(u16::MAX));
            packet.set_payload(payload);
            // RFC 768: a computed 0 is sent as all ones, 0 means "no checksum".
            let sum = match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => udp::ipv4_checksum(&packet.to_immutable(), &src, &dst),
                (IpAddr::V6(src), IpAddr::V6(dst)) => udp::ipv6_checksum(&packet.to_immutable(), &src, &dst),
                _ => 0,
            };
            packet.set_checksum(if sum == 0 { 0xffff } else { sum });
        }
    })
}

/// The TCP header fields of [`tcp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpFields {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags as in [`crate::view`].
    pub flags: u8,
    /// Receive window.
    pub window: u16,
}

/// A TCP segment of `flow` around `payload`, no options.
#[must_use]
pub fn tcp(envelope: Envelope, flow: Flow, fields: TcpFields, payload: &[u8]) -> Frame {
    ip(envelope, flow, Protocol::TCP, 20 + payload.len(), |body, src, dst| {
        if let Some(mut packet) = MutableTcpPacket::new(body) {
            packet.set_source(flow.src_port);
            packet.set_destination(flow.dst_port);
            packet.set_sequence(fields.sequence);
            packet.set_acknowledgement(fields.acknowledgement);
            packet.set_data_offset(5);
            packet.set_flags(fields.flags);
            packet.set_window(fields.window);
            packet.set_payload(payload);
            packet.set_checksum(match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => tcp::ipv4_checksum(&packet.to_immutable(), &src, &dst),
                (IpAddr::V6(src), IpAddr::V6(dst)) => tcp::ipv6_checksum(&packet.to_immutable(), &src, &dst),
                _ => 0,
            });
        }
    })
}

/// An echo request or reply of ICMP (RFC 792) or ICMPv6 (RFC 4443); the identifier is the flow's source port.
#[must_use]
pub fn echo(envelope: Envelope, flow: Flow, reply: bool, sequence: u16, payload: &[u8]) -> Frame {
    let mut rest = Vec::with_capacity(4 + payload.len());
    rest.extend_from_slice(&flow.src_port.to_be_bytes());
    rest.extend_from_slice(&sequence.to_be_bytes());
    rest.extend_from_slice(payload);
    let kind = match (flow.src.is_ipv4(), reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    icmp(envelope, flow, kind, 0, &rest)
}

/// A message of any kind of ICMP (RFC 792) or ICMPv6 (RFC 4443), as the addresses are, from `flow.src` to `flow.dst`;
/// `rest` is everything behind the checksum.
#[must_use]
pub fn icmp(envelope: Envelope, flow: Flow, kind: u8, code: u8, rest: &[u8]) -> Frame {
    let protocol = if flow.src.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    ip(envelope, flow, protocol, 4 + rest.len(), |body, src, dst| {
        body[4..].copy_from_slice(rest);
        (body[0], body[1]) = (kind, code);
        let sum = match (src, dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Icmpv6Packet::new(body).map(|packet| pnet_packet::icmpv6::checksum(&packet, &src, &dst))
            }
            _ => IcmpPacket::new(body).map(|packet| pnet_packet::icmp::checksum(&packet)),
        };
        body[2..4].copy_from_slice(&sum.unwrap_or(0).to_be_bytes());
    })
}

/// A neighbour solicitation (RFC 4861 section 4.3) to the target's group. A `from` that is unspecified claims no address.
#[must_use]
pub fn solicitation(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Frame {
    let group = ndp::group_of(target);
    let link = (!from.is_unspecified()).then_some((ndp::SOURCE_LINK, mac));
    discovery((mac, from), (ndp::group_mac(group), group), ndp::SOLICITATION, 0, target, link)
}

/// A neighbour advertisement (RFC 4861 section 4.4) that `address` is at `mac`, for ever and whatever was known before. To
/// who asked, or unsolicited to all nodes. `router`: who says so forwards packets.
#[must_use]
pub fn advertisement(mac: Mac, address: Ipv6Addr, router: bool, to: Option<(Mac, Ipv6Addr)>) -> Frame {
    let all = (ndp::group_mac(ndp::ALL_NODES), ndp::ALL_NODES);
    let flags = u8::from(router) << 7 | u8::from(to.is_some()) << 6 | 1 << 5;
    let link = Some((ndp::TARGET_LINK, mac));
    discovery((mac, address), to.unwrap_or(all), ndp::ADVERTISEMENT, flags, address, link)
}

fn discovery(
    (src, from): (Mac, Ipv6Addr),
    (dst, to): (Mac, Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    link: Option<(u8, Mac)>,
) -> Frame {
    let mut rest = vec![flags, 0, 0, 0];
    rest.extend_from_slice(&target.octets());
    if let Some((option, mac)) = link {
        // Length in units of 8 bytes.
        rest.extend_from_slice(&[option, 1]);
        rest.extend_from_slice(&mac.0);
    }
    let flow = Flow { protocol: Protocol::ICMPV6, src: from.into(), dst: to.into(), src_port: 0, dst_port: 0 };
    icmp(Envelope { src, dst, ttl: ndp::HOP_LIMIT, identification: 0 }, flow, kind, 0, &rest)
}

/// An ARP packet from `src` to `dst` (the Ethernet addresses).
#[must_use]
pub fn arp(src: Mac, dst: Mac, arp: Arp) -> Frame {
    let mut bytes = ethernet(src, dst, ETHERTYPE_ARP, 28);
    bytes.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    bytes.extend_from_slice(&arp.operation.to_be_bytes());
    bytes.extend_from_slice(&arp.sender_mac.0);
    bytes.extend_from_slice(&arp.sender_ip.octets());
    bytes.extend_from_slice(&arp.target_mac.0);
    bytes.extend_from_slice(&arp.target_ip.octets());
    Frame(bytes)
}

/// A gratuitous ARP request (RFC 5227 announcement): broadcast, sender and target are `ip`.
#[must_use]
pub fn gratuitous(mac: Mac, ip: Ipv4Addr) -> Frame {
    let target = Arp { operation: 1, sender_mac: mac, sender_ip: ip, target_mac: Mac::ZERO, target_ip: ip };
    arp(mac, Mac::BROADCAST, target)
}

fn ethernet(src: Mac, dst: Mac, ethertype: u16, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ETHERNET + room);
    bytes.extend_from_slice(&dst.0);
    bytes.extend_from_slice(&src.0);
    bytes.extend_from_slice(&ethertype.to_be_bytes());
    bytes
}

/// An IP packet of `protocol` with `length` bytes behind its header, which `fill` writes.
fn ip(
    envelope: Envelope,
    flow: Flow,
    protocol: Protocol,
    length: usize,
    fill: impl FnOnce(&mut [u8], IpAddr, IpAddr),
) -> Frame {
    let (mut bytes, l4) = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (ipv4_header(envelope, (src, dst), protocol, length), ETHERNET + IPV4),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (ipv6_header(envelope, (src, dst), protocol, length), ETHERNET + IPV6),
        _ => return Frame::default(),
    };
    fill(&mut bytes[l4..], flow.src, flow.dst);
    Frame(bytes)
}

fn ipv4_header(envelope: Envelope, (src, dst): (Ipv4Addr, Ipv4Addr), protocol: Protocol, length: usize) -> Vec<u8> {
    let mut bytes = ethernet(envelope.src, envelope.dst, ETHERTYPE_IPV4, IPV4 + length);
    bytes.resize(ETHERNET + IPV4 + length, 0);
    if let Some(mut packet) = MutableIpv4Packet::new(&mut bytes[ETHERNET..]) {
        packet.set_version(4);
        packet.set_header_length(5);
        packet.set_total_length(u16::try_from(IPV4 + length).unwrap_or(u16::MAX));
        packet.set_identification(envelope.identification);
        packet.set_ttl(envelope.ttl);
        packet.set_next_level_protocol(IpNextHeaderProtocol(protocol.0));
        packet.set_source(src);
        packet.set_destination(dst);
        packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    }
    bytes
}

fn ipv6_header(envelope: Envelope, (src, dst): (Ipv6Addr, Ipv6Addr), protocol: Protocol, length: usize) -> Vec<u8> {
    let mut bytes = ethernet(envelope.src, envelope.dst, ETHERTYPE_IPV6, IPV6 + length);
    bytes.resize(ETHERNET + IPV6 + length, 0);
    if let Some(mut packet) = MutableIpv6Packet::new(&mut bytes[ETHERNET..]) {
        packet.set_version(6);
        packet.set_payload_length(u16::try_from(length).unwrap_or(u16::MAX));
        packet.set_hop_limit(envelope.ttl);
        packet.set_next_header(IpNextHeaderProtocol(protocol.0));
        packet.set_source(src);
        packet.set_destination(dst);
    }
    bytes
}
