//! Builders: complete Ethernet frames, checksums valid.

use std::net::{IpAddr, Ipv4Addr};

use pnet_packet::icmp::{IcmpPacket, IcmpType, MutableIcmpPacket};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::tcp::{self, MutableTcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket};

use crate::Frame;
use crate::flow::{Flow, Protocol};
use crate::mac::Mac;
use crate::view::{Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4};

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// Where a frame comes from and goes to, and what its IP header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Source MAC.
    pub src: Mac,
    /// Destination MAC.
    pub dst: Mac,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification.
    pub identification: u16,
}

/// A UDP packet of `flow` around `payload`. A flow of IPv6 addresses gives an empty frame: its builder comes with the
/// IPv6 data path.
#[must_use]
pub fn udp(envelope: Envelope, flow: Flow, payload: &[u8]) -> Frame {
    ip(envelope, flow, Protocol::UDP, 8 + payload.len(), |body, src, dst| {
        if let Some(mut packet) = MutableUdpPacket::new(body) {
            packet.set_source(flow.src_port);
            packet.set_destination(flow.dst_port);
            packet.set_length(u16::try_from(8 + payload.len()).unwrap_or(u16::MAX));
            packet.set_payload(payload);
            // RFC 768: a computed 0 is sent as all ones, 0 means "no checksum".
            let sum = udp::ipv4_checksum(&packet.to_immutable(), &src, &dst);
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
            packet.set_checksum(tcp::ipv4_checksum(&packet.to_immutable(), &src, &dst));
        }
    })
}

/// An ICMP echo request or reply; the identifier is the flow's source port.
#[must_use]
pub fn echo(envelope: Envelope, flow: Flow, reply: bool, sequence: u16, payload: &[u8]) -> Frame {
    let mut rest = Vec::with_capacity(4 + payload.len());
    rest.extend_from_slice(&flow.src_port.to_be_bytes());
    rest.extend_from_slice(&sequence.to_be_bytes());
    rest.extend_from_slice(payload);
    icmp(envelope, flow, if reply { 0 } else { 8 }, 0, &rest)
}

/// An ICMP message of any kind (RFC 792) from `flow.src` to `flow.dst`; `rest` is everything behind the checksum.
#[must_use]
pub fn icmp(envelope: Envelope, flow: Flow, kind: u8, code: u8, rest: &[u8]) -> Frame {
    ip(envelope, flow, Protocol::ICMP, 4 + rest.len(), |body, _, _| {
        body[4..].copy_from_slice(rest);
        body[1] = code;
        if let Some(mut packet) = MutableIcmpPacket::new(body) {
            packet.set_icmp_type(IcmpType(kind));
        }
        let sum = IcmpPacket::new(body).map_or(0, |packet| pnet_packet::icmp::checksum(&packet));
        if let Some(mut packet) = MutableIcmpPacket::new(body) {
            packet.set_checksum(sum);
        }
    })
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

/// An IPv4 packet of `protocol` with `length` bytes behind its header, which `fill` writes.
fn ip(
    envelope: Envelope,
    flow: Flow,
    protocol: Protocol,
    length: usize,
    fill: impl FnOnce(&mut [u8], Ipv4Addr, Ipv4Addr),
) -> Frame {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else { return Frame::default() };
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
    fill(&mut bytes[ETHERNET + IPV4..], src, dst);
    Frame(bytes)
}
