//! One pass over a frame: what every node, tap and checker needs to know of it, with offsets for rewriting.
//!
//! Lengths are checked, and the checksum of an IPv4 header: whatever is in a header that is not as it was sent, it says
//! nothing. Checksums of transports are not: routers don't, and a tap may have kept the head of a frame alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;
use crate::flow::{Flow, Protocol};
use crate::mac::Mac;
use crate::shim::{self, Shim};

/// RFC 894.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// RFC 826.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// RFC 2464.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// What is inside a frame. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Destination MAC.
    pub dst: Mac,
    /// Source MAC.
    pub src: Mac,
    /// The shim, on internal cables.
    pub shim: Option<Shim>,
    /// The EtherType behind the shim, if there is one.
    pub ethertype: u16,
    /// Where the network layer starts.
    pub l3: usize,
    /// What the network layer holds.
    pub network: Network,
}

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 or IPv6.
    Ip(Ip),
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// Any other EtherType.
    Other,
    /// Lengths don't fit.
    Malformed,
    /// An IPv4 header whose checksum is wrong.
    Corrupt,
}

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol (of IPv6: of the last header that was walked).
    pub protocol: Protocol,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Of what the pieces of one packet have in common: IPv4's identification, that of IPv6's fragment header (0 without
    /// one).
    pub identification: u32,
    /// Whole, or a piece.
    pub fragment: Fragment,
    /// Where the transport header starts.
    pub l4: usize,
    /// Where the packet ends (padding of short frames follows).
    pub end: usize,
    /// The transport layer.
    pub transport: Transport,
}

/// Whether an IP packet is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment: it has none.
    Later,
}

/// The transport layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp(Tcp),
    /// UDP: ports and where the payload starts.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Where the payload starts.
        payload: usize,
    },
    /// ICMP or ICMPv6 echo.
    Echo {
        /// Request or reply.
        reply: bool,
        /// Identifier.
        identifier: u16,
        /// Sequence number.
        sequence: u16,
        /// Where the payload starts.
        payload: usize,
    },
    /// Any other ICMP message, with its type and code.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// No transport header: a later fragment, another protocol, or too short.
    None,
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// Receive window as written.
    pub window: u16,
    /// Where the payload starts.
    pub payload: usize,
}

/// TCP flag.
pub const FIN: u8 = 1;
/// TCP flag.
pub const SYN: u8 = 2;
/// TCP flag.
pub const RST: u8 = 4;
/// TCP flag.
pub const PSH: u8 = 8;
/// TCP flag.
pub const ACK: u8 = 16;

impl Tcp {
    /// Is any of `flags` set?
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// An ARP packet (RFC 826; a gratuitous one has `sender_ip == target_ip`, RFC 5227).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's MAC.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender_ip: Ipv4Addr,
    /// Target's MAC.
    pub target_mac: Mac,
    /// Target's address.
    pub target_ip: Ipv4Addr,
}

impl View {
    /// Reads a frame. `None` only when it is too short to hold an Ethernet header, or its shim is cut off or unknown.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let dst = Mac(frame.get(0..6)?.try_into().ok()?);
        let src = Mac(frame.get(6..12)?.try_into().ok()?);
        let outer = be16(frame, 12)?;
        let (shim, ethertype, l3) = if outer == shim::ETHERTYPE {
            let shim = Shim::read(&frame[12..])?;
            (Some(shim), be16(frame, 12 + shim::LEN)?, 14 + shim::LEN)
        } else {
            (None, outer, 14)
        };
        let network = match ethertype {
            ETHERTYPE_IPV4 => match ipv4(frame, l3) {
                Some(ip) if checksum::header_is_valid(&frame[l3..ip.l4]) => Network::Ip(ip),
                Some(_) => Network::Corrupt,
                None => Network::Malformed,
            },
            ETHERTYPE_IPV6 => ipv6(frame, l3).map_or(Network::Malformed, Network::Ip),
            ETHERTYPE_ARP => arp(frame, l3).map_or(Network::Malformed, Network::Arp),
            _ => Network::Other,
        };
        Some(Self { dst, src, shim, ethertype, l3, network })
    }

    /// As [`Self::parse`], of a frame that is all there: an IP packet that ends behind it is malformed (RFC 1812, 5.2.2).
    #[must_use]
    pub fn parse_whole(frame: &[u8]) -> Option<Self> {
        let view = Self::parse(frame)?;
        let is_cut = view.ip().is_some_and(|ip| ip.end > frame.len());
        Some(if is_cut { Self { network: Network::Malformed, ..view } } else { view })
    }

    /// The IP packet, if there is one.
    #[must_use]
    pub const fn ip(&self) -> Option<&Ip> {
        match &self.network {
            Network::Ip(ip) => Some(ip),
            Network::Arp(_) | Network::Other | Network::Malformed | Network::Corrupt => None,
        }
    }

    /// The flow, if there is an IP packet.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        self.ip().map(Ip::flow)
    }
}

impl Ip {
    /// The 5-tuple; ports are 0 where there are none, and an echo's identifier stands in both.
    #[must_use]
    pub fn flow(&self) -> Flow {
        let (src_port, dst_port) = match self.transport {
            Transport::Tcp(tcp) => (tcp.src_port, tcp.dst_port),
            Transport::Udp { src_port, dst_port, .. } => (src_port, dst_port),
            Transport::Echo { identifier, .. } => (identifier, identifier),
            Transport::Icmp { .. } | Transport::None => (0, 0),
        };
        Flow { protocol: self.protocol, src: self.src, dst: self.dst, src_port, dst_port }
    }

    /// May ports take part in the distribution key? Not for fragments (the first one and the rest must agree) and not for
    /// protocols without them.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        let transport = matches!(self.transport, Transport::Tcp(_) | Transport::Udp { .. } | Transport::Echo { .. });
        self.fragment == Fragment::Whole && transport
    }

    /// Where the transport payload starts; `None` where there is no transport header that we know.
    #[must_use]
    pub const fn payload(&self) -> Option<usize> {
        match self.transport {
            Transport::Tcp(Tcp { payload, .. }) | Transport::Udp { payload, .. } | Transport::Echo { payload, .. } => {
                Some(payload)
            }
            Transport::Icmp { .. } | Transport::None => None,
        }
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn ipv4(frame: &[u8], l3: usize) -> Option<Ip> {
    let first = *frame.get(l3)?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(be16(frame, l3 + 2)?);
    // A tap keeps only the first bytes of a frame: `end` may lie behind what was captured, headers may not.
    if first >> 4 != 4 || header < 20 || total < header || frame.len() < l3 + header {
        return None;
    }
    let pieces = be16(frame, l3 + 6)?;
    let fragment = match (pieces & 0x1fff, pieces & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    };
    let protocol = Protocol(frame[l3 + 9]);
    let (l4, end) = (l3 + header, l3 + total);
    Some(Ip {
        src: address(l3 + 12)?,
        dst: address(l3 + 16)?,
        protocol,
        ttl: frame[l3 + 8],
        identification: be16(frame, l3 + 4)?.into(),
        fragment,
        l4,
        end,
        transport: transport(frame, protocol, fragment, l4, end),
    })
}

pub(crate) fn ipv6(frame: &[u8], l3: usize) -> Option<Ip> {
    let header = frame.get(l3..l3 + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let end = l3 + 40 + usize::from(be16(header, 4)?);
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    let mut protocol = header[6];
    let mut l4 = l3 + 40;
    let (mut fragment, mut identification) = (Fragment::Whole, 0);
    // At most 8 extension headers: hop-by-hop 0, routing 43, fragment 44, destination options 60 (RFC 8200).
    for _ in 0..8 {
        let length = match protocol {
            0 | 43 | 60 => 8 + 8 * usize::from(*frame.get(l4 + 1)?),
            44 => {
                let offset = be16(frame, l4 + 2)?;
                identification = be32(frame, l4 + 4)?;
                fragment = match (offset >> 3, offset & 1) {
                    // An atomic fragment is whole (RFC 6946).
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            _ => break,
        };
        protocol = *frame.get(l4)?;
        l4 += length;
        if fragment == Fragment::Later {
            // What is behind is from the packet's middle: no header.
            break;
        }
    }
    let protocol = Protocol(protocol);
    let transport = transport(frame, protocol, fragment, l4, end);
    let (src, dst) = (address(8)?, address(24)?);
    Some(Ip { src, dst, protocol, ttl: header[7], identification, fragment, l4, end, transport })
}

fn transport(frame: &[u8], protocol: Protocol, fragment: Fragment, l4: usize, end: usize) -> Transport {
    if fragment == Fragment::Later {
        return Transport::None;
    }
    let read = || match protocol {
        Protocol::TCP => tcp(frame, l4, end),
        Protocol::UDP if end >= l4 + 8 => Some(Transport::Udp {
            src_port: be16(frame, l4)?,
            dst_port: be16(frame, l4 + 2)?,
            payload: frame.get(l4..l4 + 8).map(|_| l4 + 8)?,
        }),
        Protocol::ICMP | Protocol::ICMPV6 if end >= l4 + 8 => icmp(frame, protocol, l4),
        _ => None,
    };
    read().unwrap_or(Transport::None)
}

fn tcp(frame: &[u8], l4: usize, end: usize) -> Option<Transport> {
    let offset = usize::from(*frame.get(l4 + 12)? >> 4) * 4;
    if offset < 20 || end < l4 + offset {
        return None;
    }
    Some(Transport::Tcp(Tcp {
        src_port: be16(frame, l4)?,
        dst_port: be16(frame, l4 + 2)?,
        sequence: be32(frame, l4 + 4)?,
        acknowledgement: be32(frame, l4 + 8)?,
        flags: *frame.get(l4 + 13)?,
        window: be16(frame, l4 + 14)?,
        payload: l4 + offset,
    }))
}

fn icmp(frame: &[u8], protocol: Protocol, l4: usize) -> Option<Transport> {
    let (kind, code) = (*frame.get(l4)?, *frame.get(l4 + 1)?);
    let (request, reply) = if protocol == Protocol::ICMP { (8, 0) } else { (128, 129) };
    if kind == request || kind == reply {
        let (identifier, sequence) = (be16(frame, l4 + 4)?, be16(frame, l4 + 6)?);
        Some(Transport::Echo { reply: kind == reply, identifier, sequence, payload: l4 + 8 })
    } else {
        Some(Transport::Icmp { kind, code })
    }
}

fn arp(frame: &[u8], l3: usize) -> Option<Arp> {
    let body = frame.get(l3..l3 + 28)?;
    // Ethernet (1), IPv4, 6-byte and 4-byte addresses.
    if body[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let ip = |at: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    Some(Arp {
        operation: be16(body, 6)?,
        sender_mac: Mac(body.get(8..14)?.try_into().ok()?),
        sender_ip: ip(14)?,
        target_mac: Mac(body.get(18..24)?.try_into().ok()?),
        target_ip: ip(24)?,
    })
}
