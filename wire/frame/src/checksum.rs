//! Are the checksums of a received packet valid? A router drops it if that of the header is not (RFC 1812, 5.2.2), a host
//! if that of the transport is not: so do nodes, hosts and the generator.

use std::net::IpAddr;

use crate::flow::Protocol;
use crate::view::{Fragment, Ip};

/// IPv4 (RFC 791): is the header as it was sent?
#[must_use]
pub fn header_is_valid(header: &[u8]) -> bool {
    fold(sum(header)) == 0xffff
}

/// Header checksum of IPv4 (RFC 791), and the checksum of TCP (RFC 9293) or UDP (RFC 768, where zero means none in
/// IPv4, and is not permitted in IPv6: RFC 8200 section 8.1). What is cut off is not valid; other protocols and fragments
/// are not judged.
#[must_use]
pub fn is_valid(frame: &[u8], l3: usize, ip: &Ip) -> bool {
    let (Some(header), Some(segment)) = (frame.get(l3..ip.l4), frame.get(ip.l4..ip.end)) else { return false };
    if ip.src.is_ipv4() && !header_is_valid(header) {
        return false;
    }
    if ip.fragment != Fragment::Whole || !matches!(ip.protocol, Protocol::TCP | Protocol::UDP) {
        return true;
    }
    let none = ip.protocol == Protocol::UDP && segment.get(6..8) == Some(&[0, 0]) && ip.src.is_ipv4();
    none || fold(sum(segment) + pseudo(ip, segment.len())) == 0xffff
}

/// The checksum of an ICMP message (RFC 792) or an ICMPv6 message, which covers the addresses too (RFC 4443 section 2.3).
/// False also where the packet is cut off, or a piece of one.
#[must_use]
pub fn icmp_is_valid(frame: &[u8], ip: &Ip) -> bool {
    let Some(message) = frame.get(ip.l4..ip.end).filter(|_| ip.fragment == Fragment::Whole) else { return false };
    let addresses = if ip.src.is_ipv4() { 0 } else { pseudo(ip, message.len()) };
    fold(sum(message) + addresses) == 0xffff
}

/// The checksum of bytes in which it is zero itself (RFC 1071).
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !u16::try_from(fold(sum(bytes))).unwrap_or(0)
}

fn pseudo(ip: &Ip, length: usize) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(ip.src) + address(ip.dst) + u64::from(ip.protocol.0) + length as u64
}

/// Four bytes at a time: two words of the sum at once, which folding adds up (2^16 is 1 modulo 2^16 - 1).
fn sum(bytes: &[u8]) -> u64 {
    let (quads, rest) = bytes.as_chunks::<4>();
    let sum: u64 = quads.iter().map(|quad| u64::from(u32::from_be_bytes(*quad))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u64 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::build::{self, Envelope};
    use crate::view::Network;
    use crate::{Flow, Mac, View};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_the_builders_make_is_valid_and_any_changed_bit_is_not(
            payload in proptest::collection::vec(any::<u8>(), 0..80), tcp: bool, at in 14usize..80, bit in 0u8..8, v6: bool,
        ) {
            let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
            let (src, dst): (IpAddr, IpAddr) = if v6 {
                ([0x2001, 2, 0, 0, 0, 0, 0, 1].into(), [0x2001, 2, 0, 1, 0, 0, 0, 9].into())
            } else {
                ([198, 18, 0, 1].into(), [198, 19, 0, 1].into())
            };
            let flow = Flow { protocol, src, dst, src_port: 7, dst_port: 9 };
            let envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 3 };
            let mut frame = if tcp {
                build::tcp(envelope, flow, build::TcpFields::default(), &payload)
            } else {
                build::udp(envelope, flow, &payload)
            };
            let view = View::parse(frame.bytes()).unwrap();
            let ip = *view.ip().unwrap();
            prop_assert!(is_valid(frame.bytes(), view.l3, &ip));
            prop_assert!(!is_valid(&frame.bytes()[..ip.end - 1], view.l3, &ip));
            // A UDP checksum that becomes zero says that there is none.
            prop_assume!(at < ip.end && !(ip.l4 + 6..ip.l4 + 8).contains(&at));
            frame.bytes_mut()[at] ^= 1 << bit;
            if v6 {
                // No checksum covers the rest of its header (RFC 8200): the addresses and what is behind alone are judged.
                let read = View::parse(frame.bytes()).unwrap().ip().copied();
                let covered = at >= view.l3 + 8;
                prop_assert!(!covered || !is_valid(frame.bytes(), view.l3, &read.unwrap()));
            } else {
                prop_assert!(!is_valid(frame.bytes(), view.l3, &ip));
                let network = View::parse(frame.bytes()).unwrap().network;
                let read = matches!(network, Network::Ip(_));
                prop_assert_eq!(read, at >= ip.l4, "the header is judged on reading: {:?}", network);
            }
        }
    }
}
