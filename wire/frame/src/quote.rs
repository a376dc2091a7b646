//! What an ICMPv4 error quotes (RFC 792): the IPv4 header and the first 8 bytes behind it of a packet that went the other
//! way. They name the connection that the error is about.

use std::net::{IpAddr, Ipv4Addr};

use crate::checksum;
use crate::flow::{Flow, Protocol};
use crate::view::{self, Fragment, Ip, Transport};

/// Destination unreachable, fragmentation needed among it (RFC 792, RFC 1191).
pub const UNREACHABLE: u8 = 3;
/// Time exceeded (RFC 792).
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem (RFC 792).
pub const PARAMETER_PROBLEM: u8 = 12;

/// Type, code, checksum and four bytes whose meaning the type tells stand before the quote (RFC 792).
const HEAD: usize = 8;
/// What every error quotes of the packet behind its header at least (RFC 792), bytes.
const QUOTED: usize = 8;
/// RFC 4884 section 5: where other things follow, the quote has at least this length, in 32-bit words. What is lower in
/// the length's place is not a length, but an old sender's rest.
const EXTENDED: u8 = 32;

/// What an error quotes. Offsets count from the first byte of the frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The tuple of the quoted packet, as it was where it died. An echo's identifier stands in both ports.
    pub flow: Flow,
    /// Where the quoted IPv4 header starts.
    pub l3: usize,
    /// Where the quoted transport header starts.
    pub l4: usize,
    /// Where the quote ends: what is behind is padding, or an extension (RFC 4884).
    pub end: usize,
}

/// Is `kind` the type of an ICMPv4 error (RFC 1122 section 3.2.2)? Source quench and redirect are errors too, but of one
/// hop or of a bygone time (RFC 6633): nothing can be read from them.
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | 4 | 5 | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// By which tuple the connection of a packet is found, and whether its ports may take part in the distribution key: the
/// packet's own, or of an error that of the packets that go its way, which is the quoted one reversed.
#[must_use]
pub fn tuple(frame: &[u8], ip: &Ip) -> (Flow, bool) {
    Quote::parse(frame, ip).map_or_else(|| (ip.flow(), ip.has_ports()), |quote| (quote.flow.reversed(), true))
}

impl Quote {
    /// Reads the quote of an ICMPv4 error; `ip` is the packet as it was parsed from `frame`.
    ///
    /// `None`: it is no error, or a piece of one, or one that fits no connection by its form:
    /// - the quote is cut short, of another IP version, of a later fragment (RFC 1122 section 3.2.2 forbids that), or its
    ///   header's checksum is wrong (RFC 5508 REQ-3);
    /// - it is of another protocol than TCP, UDP and ICMP echo; an error about an error is among that (RFC 1122 again);
    /// - the error does not go to whom the quoted packet came from (RFC 792);
    /// - an address is not that of a single host.
    #[must_use]
    pub fn parse(frame: &[u8], ip: &Ip) -> Option<Self> {
        let Transport::Icmp { kind: UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM, .. } = ip.transport else {
            return None;
        };
        if ip.protocol != Protocol::ICMP || ip.fragment != Fragment::Whole {
            return None;
        }
        let l3 = ip.l4 + HEAD;
        let held = frame.get(..limit(frame, ip))?;
        let quoted = view::ipv4(held, l3)?;
        let (header, first) = (held.get(l3..quoted.l4)?, held.get(quoted.l4..quoted.l4 + QUOTED)?);
        let whole = quoted.fragment != Fragment::Later && quoted.end >= quoted.l4 + QUOTED;
        let hosts = [ip.src, quoted.src, quoted.dst].into_iter().all(is_one_host);
        if !whole || !hosts || ip.dst != quoted.src || !checksum::header_is_valid(header) {
            return None;
        }
        let word = |at: usize| view::be16(first, at);
        let (src_port, dst_port) = match (quoted.protocol, first[0]) {
            (Protocol::TCP | Protocol::UDP, _) => (word(0)?, word(2)?),
            (Protocol::ICMP, 0 | 8) => (word(4)?, word(4)?),
            _ => return None,
        };
        let flow = Flow { protocol: quoted.protocol, src: quoted.src, dst: quoted.dst, src_port, dst_port };
        Some(Self { flow, l3, l4: quoted.l4, end: quoted.end.min(held.len()) })
    }

    /// Where the quoted transport checksum stands; `None`: behind the quote's end.
    pub(crate) fn checksum_place(&self) -> Option<usize> {
        let place = match self.flow.protocol {
            Protocol::TCP => self.l4 + 16,
            Protocol::UDP => self.l4 + 6,
            _ => self.l4 + 2,
        };
        (place + 2 <= self.end).then_some(place)
    }
}

/// Where the quoted packet ends at the latest. An extension behind it says so (RFC 4884 section 4: the sixth byte counts
/// the quote's 32-bit words).
fn limit(frame: &[u8], ip: &Ip) -> usize {
    let end = ip.end.min(frame.len());
    match frame.get(ip.l4 + 5) {
        Some(&words) if words >= EXTENDED => end.min(ip.l4 + HEAD + 4 * usize::from(words)),
        _ => end,
    }
}

/// RFC 1122 section 3.2.2: errors are about packets between single hosts.
fn is_one_host(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let class_e = address >= Ipv4Addr::new(240, 0, 0, 0);
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || class_e)
}

#[cfg(test)]
mod tests;
