//! What an ICMP error quotes: the IP header and at least 8 bytes behind it of a packet that went the other way (RFC 792), of
//! IPv6 as much of it as 1,280 bytes hold (RFC 4443). They name the connection that the error is about.

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

/// ICMPv6 destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443 section 3).
pub mod v6 {
    /// Section 3.1.
    pub const UNREACHABLE: u8 = 1;
    /// Section 3.2.
    pub const TOO_BIG: u8 = 2;
    /// Section 3.3.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Section 3.4.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// So much of a packet is quoted at most, bytes: with the error's own headers it is within the least MTU of IPv6, 1,280
    /// (section 2.4).
    pub const LONGEST: usize = 1_280 - 40 - 8;
}

/// Type, code, checksum and four bytes whose meaning the type tells stand before the quote (RFC 792).
const HEAD: usize = 8;
/// What every error quotes of the packet behind its header at least (RFC 792), bytes.
const QUOTED: usize = 8;
/// RFC 4884 section 5: where other things follow, the quote has at least this length, bytes. What is lower in the length's
/// place is not a length, but an old sender's rest.
const EXTENDED: usize = 32 * 4;

/// What an error quotes. Offsets count from the first byte of the frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The tuple of the quoted packet, as it was where it died. An echo's identifier stands in both ports.
    pub flow: Flow,
    /// Where the quoted IP header starts.
    pub l3: usize,
    /// Where the quoted transport header starts.
    pub l4: usize,
    /// Where the quote ends: what is behind is padding, or an extension (RFC 4884).
    pub end: usize,
}

/// Is it an error by its type (RFC 1122 section 3.2.2, RFC 4443 section 2.1)? Source quench and redirect of ICMPv4 are errors
/// too, but of one hop or of a bygone time (RFC 6633): nothing can be read from them.
#[must_use]
pub const fn is_error(ip: &Ip) -> bool {
    match (ip.protocol, ip.transport) {
        (Protocol::ICMP, Transport::Icmp { kind, .. }) => {
            matches!(kind, UNREACHABLE | 4 | 5 | TIME_EXCEEDED | PARAMETER_PROBLEM)
        }
        (Protocol::ICMPV6, Transport::Icmp { kind, .. }) => kind < 128,
        _ => false,
    }
}

/// By which tuple the connection of a packet is found, and whether its ports may take part in the distribution key: the
/// packet's own, or of an error that of the packets that go its way, which is the quoted one reversed.
#[must_use]
pub fn tuple(frame: &[u8], ip: &Ip) -> (Flow, bool) {
    Quote::parse(frame, ip).map_or_else(|| (ip.flow(), ip.has_ports()), |quote| (quote.flow.reversed(), true))
}

impl Quote {
    /// Reads the quote of an ICMP error; `ip` is the packet as it was parsed from `frame`.
    ///
    /// `None`: it is no error, or a piece of one, or one that fits no connection by its form:
    /// - the quote is cut short, of another IP version, of a later fragment (RFC 1122 section 3.2.2 forbids that), or its
    ///   header's checksum is wrong (RFC 5508 REQ-3);
    /// - it is of another protocol than TCP, UDP and ICMP echo; an error about an error is among that (RFC 1122 again);
    /// - the error does not go to whom the quoted packet came from (RFC 792);
    /// - an address is not that of a single host.
    #[must_use]
    pub fn parse(frame: &[u8], ip: &Ip) -> Option<Self> {
        let Transport::Icmp { kind, .. } = ip.transport else { return None };
        let readable = match ip.protocol {
            Protocol::ICMP => matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM),
            Protocol::ICMPV6 => matches!(kind, v6::UNREACHABLE..=v6::PARAMETER_PROBLEM),
            _ => false,
        };
        if !readable || ip.fragment != Fragment::Whole {
            return None;
        }
        let l3 = ip.l4 + HEAD;
        let held = frame.get(..limit(frame, ip, kind))?;
        let quoted = if ip.src.is_ipv4() { view::ipv4(held, l3)? } else { view::ipv6(held, l3)? };
        let (header, first) = (held.get(l3..quoted.l4)?, held.get(quoted.l4..quoted.l4 + QUOTED)?);
        let whole = quoted.fragment != Fragment::Later && quoted.end >= quoted.l4 + QUOTED;
        let hosts = [ip.src, quoted.src, quoted.dst].into_iter().all(is_one_host);
        let altered = ip.src.is_ipv4() && !checksum::header_is_valid(header);
        if !whole || !hosts || ip.dst != quoted.src || altered {
            return None;
        }
        let word = |at: usize| view::be16(first, at);
        let (src_port, dst_port) = match (quoted.protocol, first[0]) {
            (Protocol::TCP | Protocol::UDP, _) => (word(0)?, word(2)?),
            (Protocol::ICMP, 0 | 8) if ip.src.is_ipv4() => (word(4)?, word(4)?),
            (Protocol::ICMPV6, 128 | 129) if ip.src.is_ipv6() => (word(4)?, word(4)?),
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

/// Where the quoted packet ends at the latest. An extension behind it says so (RFC 4884 section 4: a byte counts the quote's
/// 32-bit words, of IPv6 its 64-bit words, where the type has room for it).
fn limit(frame: &[u8], ip: &Ip, kind: u8) -> usize {
    let end = ip.end.min(frame.len());
    let (place, unit) = match (ip.src, kind) {
        (IpAddr::V4(_), _) => (5, 4),
        (IpAddr::V6(_), v6::UNREACHABLE | v6::TIME_EXCEEDED) => (4, 8),
        (IpAddr::V6(_), _) => return end,
    };
    let length = frame.get(ip.l4 + place).map_or(0, |&words| usize::from(words) * unit);
    if length >= EXTENDED { end.min(ip.l4 + HEAD + length) } else { end }
}

/// RFC 1122 section 3.2.2: errors are about packets between single hosts. What is of one link only (RFC 4291 section 2.5.6)
/// no router passes on.
fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let class_e = address >= Ipv4Addr::new(240, 0, 0, 0);
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || class_e)
        }
        IpAddr::V6(address) => {
            let link_local = address.is_unicast_link_local();
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local)
        }
    }
}

#[cfg(test)]
mod tests;
