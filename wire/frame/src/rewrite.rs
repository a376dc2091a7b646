//! Rewriting in place, with incremental checksum updates (RFC 1624).

use std::net::{IpAddr, Ipv4Addr};

use crate::flow::{Flow, Protocol};
use crate::mac::Mac;
use crate::quote::Quote;
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
    for (offset, new) in words(address).into_iter().enumerate() {
        let old = put(frame, at + 2 * offset, new);
        mend(frame, l3 + 10, old, new);
        // The pseudo header of TCP and UDP holds the addresses (RFC 9293, RFC 768); that of ICMP over IPv4 does not exist.
        if ip.protocol != Protocol::ICMP
            && let Some(sum) = sum
        {
            mend_transport(frame, ip.protocol, sum, old, new);
        }
    }
    if let (Some(sum), Some(place)) = (sum, port_at) {
        let old = put(frame, place, port);
        mend_transport(frame, ip.protocol, sum, old, port);
    }
}

/// Sets the tuple that an ICMPv4 error quotes (RFC 5508 REQ-4 and REQ-5) and mends every checksum: of the quoted header,
/// of the quoted transport where all of it is within the quote, of the error itself. `ip` is the error, `quote` what was read of
/// it. A flow of IPv6 addresses, or a frame that does not hold what `quote` says, leaves the frame alone.
pub fn set_quote(frame: &mut [u8], ip: &Ip, quote: &Quote, flow: Flow) {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else { return };
    let held = [ip.l4 + 4, quote.l3 + 20, quote.l4 + 8, quote.end].into_iter().all(|end| end <= frame.len());
    if !held || flow == quote.flow {
        return;
    }
    let (l3, l4, protocol) = (quote.l3, quote.l4, quote.flow.protocol);
    let (outer, sum) = (ip.l4 + 2, quote.checksum_place());
    let ([a, b], [c, d]) = (words(src), words(dst));
    for (place, new) in [(l3 + 12, a), (l3 + 14, b), (l3 + 16, c), (l3 + 18, d)] {
        let old = put(frame, place, new);
        mend(frame, outer, old, new);
        mend_quoted(frame, outer, None, l3 + 10, (old, new));
        if protocol != Protocol::ICMP
            && let Some(sum) = sum
        {
            mend_quoted(frame, outer, Some(protocol), sum, (old, new));
        }
    }
    // An echo has one identifier for both.
    let echo = [(l4 + 4, flow.src_port)];
    let ports = [(l4, flow.src_port), (l4 + 2, flow.dst_port)];
    for &(place, new) in if protocol == Protocol::ICMP { &echo[..] } else { &ports[..] } {
        let old = put(frame, place, new);
        mend(frame, outer, old, new);
        if let Some(sum) = sum {
            mend_quoted(frame, outer, Some(protocol), sum, (old, new));
        }
    }
}

/// Mends a checksum inside a quote, which the error's own checksum covers. `transport`: whose it is, else the header's.
fn mend_quoted(frame: &mut [u8], outer: usize, transport: Option<Protocol>, place: usize, (old, new): (u16, u16)) {
    let before = word(frame, place);
    match transport {
        Some(protocol) => mend_transport(frame, protocol, place, old, new),
        None => mend(frame, place, old, new),
    }
    mend(frame, outer, before, word(frame, place));
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

fn mend_transport(frame: &mut [u8], protocol: Protocol, place: usize, old: u16, new: u16) {
    let udp = protocol == Protocol::UDP;
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

/// An address as checksums see it.
const fn words(address: Ipv4Addr) -> [u16; 2] {
    let [a, b, c, d] = address.octets();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// Sets a word and gives what was there; the caller has looked that it is inside the frame.
pub(crate) fn put(frame: &mut [u8], at: usize, new: u16) -> u16 {
    let old = word(frame, at);
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    old
}

pub(crate) fn word(frame: &[u8], at: usize) -> u16 {
    frame.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}
