//! Builders: complete Ethernet frames, checksums valid.

use std::net::Ipv4Addr;

use crate::Frame;
use crate::flow::Flow;
use crate::mac::Mac;
use crate::view::Arp;

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

/// A UDP packet of `flow` around `payload`.
#[must_use]
pub fn udp(envelope: Envelope, flow: Flow, payload: &[u8]) -> Frame {
    let _ = (envelope, flow, payload);
    Frame::default()
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
    let _ = (envelope, flow, fields, payload);
    Frame::default()
}

/// An ICMP echo request or reply; the identifier is the flow's source port.
#[must_use]
pub fn echo(envelope: Envelope, flow: Flow, reply: bool, sequence: u16, payload: &[u8]) -> Frame {
    let _ = (envelope, flow, reply, sequence, payload);
    Frame::default()
}

/// An ARP packet from `src` to `dst` (the Ethernet addresses).
#[must_use]
pub fn arp(src: Mac, dst: Mac, arp: Arp) -> Frame {
    let _ = (src, dst, arp);
    Frame::default()
}

/// A gratuitous ARP request (RFC 5227 announcement): broadcast, sender and target are `ip`.
#[must_use]
pub fn gratuitous(mac: Mac, ip: Ipv4Addr) -> Frame {
    let target = Arp { operation: 1, sender_mac: mac, sender_ip: ip, target_mac: Mac::ZERO, target_ip: ip };
    arp(mac, Mac::BROADCAST, target)
}
