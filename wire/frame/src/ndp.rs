//! Neighbour discovery (RFC 4861): who has an IPv6 address, and where.

use std::net::{IpAddr, Ipv6Addr};

use crate::checksum;
use crate::flow::Protocol;
use crate::mac::Mac;
use crate::view::{Fragment, Ip, Transport, View};

/// ICMPv6 type.
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6 type.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type.
pub const ADVERTISEMENT: u8 = 136;
/// ICMPv6 type.
pub const REDIRECT: u8 = 137;
/// Of every message: a packet that a router forwarded has another (section 3.1).
pub const HOP_LIMIT: u8 = 255;
/// ff02::1.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Option: the link-layer address of who asks (section 4.6.1).
pub(crate) const SOURCE_LINK: u8 = 1;
/// Option: that of the target.
pub(crate) const TARGET_LINK: u8 = 2;
/// Where options start behind the ICMPv6 header's first byte.
const OPTIONS: usize = 24;

/// A message about a neighbour, as valid as section 7.1 wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Who has `target`?
    Solicitation {
        /// Who asks, and at which MAC. None: an address that is not anybody's yet is looked for (RFC 4862, duplicates).
        from: Option<(Ipv6Addr, Mac)>,
        /// For whom.
        target: Ipv6Addr,
    },
    /// `target` is at `link`.
    Advertisement {
        /// Whose address.
        target: Ipv6Addr,
        /// Where it is.
        link: Mac,
        /// Was it asked for?
        solicited: bool,
    },
}

/// Does the packet say something about neighbours or routers of a link, by its type?
#[must_use]
pub fn is_discovery(ip: &Ip) -> bool {
    matches!(ip.transport, Transport::Icmp { kind: ROUTER_SOLICITATION..=REDIRECT, .. })
        && ip.protocol == Protocol::ICMPV6
}

/// Is it about which groups somebody listens to (RFC 2710, RFC 3810)? A router that forwards no multicast has no use for it.
#[must_use]
pub fn is_listening(ip: &Ip) -> bool {
    matches!(ip.transport, Transport::Icmp { kind: 130..=132 | 143, .. }) && ip.protocol == Protocol::ICMPV6
}

/// The group that a node listens to for questions about its address: ff02::1:ff and its last three bytes (RFC 4291
/// section 2.7.1).
#[must_use]
pub const fn group_of(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// The MAC of a multicast group: 33:33 and its last four bytes (RFC 2464 section 7).
#[must_use]
pub const fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

impl Ndp {
    /// Reads a solicitation or an advertisement. `None`: it is none, or one that section 7.1 says to discard.
    #[must_use]
    pub fn read(frame: &[u8], view: &View) -> Option<Self> {
        let ip = view.ip().filter(|ip| is_discovery(ip) && ip.ttl == HOP_LIMIT && ip.fragment == Fragment::Whole)?;
        let Transport::Icmp { kind, code: 0 } = ip.transport else { return None };
        let message = frame.get(ip.l4..ip.end).filter(|_| checksum::icmp_is_valid(frame, ip))?;
        let target = Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..OPTIONS)?).ok()?);
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else { return None };
        let options = message.get(OPTIONS..)?;
        if target.is_multicast() || !is_well_formed(options) {
            return None;
        }
        match kind {
            SOLICITATION => {
                let link = option(options, SOURCE_LINK);
                let from = if src.is_unspecified() {
                    // To its group and without a MAC of its own, or it is not as a host would send it.
                    (dst == group_of(target) && link.is_none()).then_some(None)?
                } else {
                    Some((src, link.unwrap_or(view.src)))
                };
                Some(Self::Solicitation { from, target })
            }
            ADVERTISEMENT => {
                let solicited = message[4] & 0x40 != 0;
                let link = option(options, TARGET_LINK).unwrap_or(view.src);
                (!(solicited && dst.is_multicast())).then_some(Self::Advertisement { target, link, solicited })
            }
            _ => None,
        }
    }
}

/// Every option has a length, and the last one ends with the message.
fn is_well_formed(mut options: &[u8]) -> bool {
    while let Some(&length) = options.get(1) {
        let length = usize::from(length) * 8;
        if length == 0 || length > options.len() {
            return false;
        }
        options = &options[length..];
    }
    options.is_empty()
}

/// The MAC in the first option of a kind; the options are well formed.
fn option(mut options: &[u8], wanted: u8) -> Option<Mac> {
    while let [kind, length, rest @ ..] = options {
        if *kind == wanted {
            return rest.first_chunk().map(|mac| Mac(*mac));
        }
        options = options.get(usize::from(*length) * 8..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0x12, 0x3456);
    const ASKS: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 9);

    fn read(frame: &[u8]) -> Option<Ndp> {
        Ndp::read(frame, &View::parse(frame)?)
    }

    /// Makes the ICMPv6 checksum of a frame anew, word by word.
    fn mended(mut frame: Vec<u8>) -> Vec<u8> {
        let length = frame.len() - 54;
        frame[56..58].fill(0);
        let words = |bytes: &[u8]| -> u32 {
            bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0))).sum()
        };
        let mut sum = words(&frame[22..54]) + words(&frame[54..]) + 58 + u32::try_from(length).expect("short");
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[56..58].copy_from_slice(&(!u16::try_from(sum).expect("folded")).to_be_bytes());
        frame
    }

    #[test]
    fn groups_are_the_published_ones() {
        // RFC 4291 section 2.7.1 and RFC 2464 section 7 give these.
        let address = Ipv6Addr::new(0x4037, 0, 0, 0, 1, 0x0800, 0x200e, 0x8c6c);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff0e, 0x8c6c);
        assert_eq!(group_of(address), group);
        assert_eq!(group_mac(group), Mac([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn what_is_built_is_read() {
        let asked = build::solicitation(Mac::host(1), ASKS, HOST);
        assert_eq!(asked.bytes(), mended(asked.0.clone()), "the checksum is the RFC's");
        let from = Some((ASKS, Mac::host(1)));
        assert_eq!(read(asked.bytes()), Some(Ndp::Solicitation { from, target: HOST }));
        assert_eq!(View::parse(asked.bytes()).expect("a frame").dst, Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
        let probe = build::solicitation(Mac::host(1), Ipv6Addr::UNSPECIFIED, HOST);
        assert_eq!(read(probe.bytes()), Some(Ndp::Solicitation { from: None, target: HOST }));
        for to in [None, Some((Mac::host(1), ASKS))] {
            let told = build::advertisement(Mac::host(2), HOST, true, to);
            let wanted = Ndp::Advertisement { target: HOST, link: Mac::host(2), solicited: to.is_some() };
            assert_eq!(read(told.bytes()), Some(wanted));
        }
    }

    #[test]
    fn what_a_node_must_discard_is_none() {
        let asked = build::solicitation(Mac::host(1), ASKS, HOST).0;
        let changed = |at: usize, byte: u8| {
            let mut frame = asked.clone();
            frame[at] = byte;
            mended(frame)
        };
        assert_eq!(mended(asked.clone()), asked);
        for (what, at, byte) in [
            ("a router forwarded it", 21, 254),
            ("a code", 55, 1),
            ("a multicast target", 62, 0xff),
            ("an option without length", 79, 0),
            ("an option behind the end", 79, 2),
            ("another type", 54, ROUTER_ADVERTISEMENT),
        ] {
            assert_eq!(read(&changed(at, byte)), None, "{what}");
        }
        let mut corrupt = asked.clone();
        corrupt[70] ^= 1;
        assert_eq!(read(&corrupt), None, "its checksum is wrong");
        assert_eq!(read(&asked[..asked.len() - 1]), None, "it is cut");
        let mut claimed = build::advertisement(Mac::host(2), HOST, true, None).0;
        claimed[58] |= 0x40;
        assert_eq!(read(&mended(claimed)), None, "solicited, and to everybody");
        // From nobody, with a MAC.
        let mut strange = asked;
        strange[22..38].fill(0);
        assert_eq!(read(&mended(strange)), None);
    }
}
