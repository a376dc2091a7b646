//! Rewriting in place, with incremental checksum updates (RFC 1624).

use std::net::IpAddr;

use crate::flow::Protocol;
use crate::mac::Mac;
use crate::view::{Ip, Transport};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// Sets the Ethernet addresses.
pub fn set_macs(frame: &mut [u8], dst: Mac, src: Mac) {
    if frame.len() >= 12 {
        frame[..6].copy_from_slice(&dst.0);
        frame[6..12].copy_from_slice(&src.0);
    }
}

/// Lowers TTL or hop limit by one and mends the header checksum. `l3` is where the IP header starts.
pub fn decrement_ttl(frame: &mut [u8], l3: usize) {
    match frame.get(l3).map(|first| first >> 4) {
        Some(4) if frame.len() >= l3 + 20 && frame[l3 + 8] > 0 => {
            let old = word(frame, l3 + 8);
            frame[l3 + 8] -= 1;
            let new = word(frame, l3 + 8);
            mend(frame, l3 + 10, old, new);
        }
        Some(6) if frame.len() >= l3 + 40 => frame[l3 + 7] = frame[l3 + 7].saturating_sub(1),
        _ => {}
    }
}

/// Sets address and port (or echo identifier) of one end and mends every checksum. `ip` is the parsed packet.
/// An address of the other family, or a frame that does not hold what `ip` says, leaves the frame alone.
pub fn set_end(frame: &mut [u8], l3: usize, ip: &Ip, end: End, address: IpAddr, port: u16) {
    let IpAddr::V4(address) = address else { return };
    let (sum, port_at) = (checksum_place(ip), port_place(ip, end));
    // All or nothing: an address without its port, or without its checksum, would be another flow's packet.
    let needed = [Some(l3 + 20), Some(ip.l4), sum.map(|at| at + 2), port_at.map(|at| at + 2)];
    if !ip.src.is_ipv4() || needed.into_iter().flatten().any(|end| frame.len() < end) {
        return;
    }
    let at = l3 + if end == End::Source { 12 } else { 16 };
    for (offset, pair) in address.octets().chunks_exact(2).enumerate() {
        let place = at + 2 * offset;
        let (old, new) = (word(frame, place), u16::from_be_bytes([pair[0], pair[1]]));
        frame[place..place + 2].copy_from_slice(pair);
        mend(frame, l3 + 10, old, new);
        // The pseudo header of TCP and UDP holds the addresses (RFC 9293, RFC 768); that of ICMP over IPv4 does not exist.
        if ip.protocol != Protocol::ICMP
            && let Some(sum) = sum
        {
            mend_transport(frame, ip, sum, old, new);
        }
    }
    if let (Some(sum), Some(place)) = (sum, port_at) {
        let old = word(frame, place);
        frame[place..place + 2].copy_from_slice(&port.to_be_bytes());
        mend_transport(frame, ip, sum, old, port);
    }
}

/// Where the transport checksum stands; `None`: no transport header here.
fn checksum_place(ip: &Ip) -> Option<usize> {
    match ip.transport {
        Transport::Tcp(_) => Some(ip.l4 + 16),
        Transport::Udp { .. } => Some(ip.l4 + 6),
        Transport::Echo { .. } => Some(ip.l4 + 2),
        Transport::Icmp { .. } | Transport::None => None,
    }
}

fn port_place(ip: &Ip, end: End) -> Option<usize> {
    match (ip.transport, end) {
        (Transport::Tcp(_) | Transport::Udp { .. }, End::Source) => Some(ip.l4),
        (Transport::Tcp(_) | Transport::Udp { .. }, End::Destination) => Some(ip.l4 + 2),
        (Transport::Echo { .. }, _) => Some(ip.l4 + 4),
        (Transport::Icmp { .. } | Transport::None, _) => None,
    }
}

fn mend_transport(frame: &mut [u8], ip: &Ip, place: usize, old: u16, new: u16) {
    let udp = ip.protocol == Protocol::UDP;
    // RFC 768: 0 says that the sender made no checksum, and stays.
    if udp && word(frame, place) == 0 {
        return;
    }
    mend(frame, place, old, new);
    if udp && word(frame, place) == 0 {
        frame[place..place + 2].copy_from_slice(&[0xff, 0xff]);
    }
}

/// RFC 1624 equation 3: HC' = ~(~HC + ~m + m').
fn mend(frame: &mut [u8], place: usize, old: u16, new: u16) {
    let mut sum = u32::from(!word(frame, place)) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from(sum & 0xffff).unwrap_or(0);
    frame[place..place + 2].copy_from_slice(&(!folded).to_be_bytes());
}

fn word(frame: &[u8], at: usize) -> u16 {
    frame.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}
