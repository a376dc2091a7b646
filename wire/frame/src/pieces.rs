//! A packet in pieces: fragments of IPv4 (RFC 791 section 3.2) and of IPv6, which hosts alone make (RFC 8200 section 4.5).

use std::net::IpAddr;

use crate::Frame;
use crate::checksum;
use crate::rewrite::{put, word};
use crate::view::{Fragment, View};

/// More pieces follow, in the word of an IPv4 header's offset.
const MORE: u16 = 0x2000;
/// Don't fragment.
const DONT: u16 = 0x4000;
/// IPv6's fragment header: its number as a next header, and its bytes.
const FRAGMENT_HEADER: u8 = 44;
const FRAGMENT_LENGTH: usize = 8;
const IPV6: usize = 40;

/// May a router break the packet (RFC 791: not if its sender forbids; RFC 8200: never)?
#[must_use]
pub fn may_break(frame: &[u8], view: &View) -> bool {
    view.ip().is_some_and(|ip| ip.src.is_ipv4()) && word(frame, view.l3 + 6) & DONT == 0
}

/// Breaks an IP packet without a shim into pieces of at most `mtu` bytes from their IP headers on. One that fits comes back
/// as it is; what is no packet, or finds no room for 8 bytes behind its headers, gives none. `identification` is that of
/// IPv6's pieces; those of IPv4 have their packet's. A packet of IPv6 must be whole and without extension headers.
#[must_use]
pub fn pieces(frame: &Frame, mtu: usize, identification: u32) -> Vec<Frame> {
    let bytes = frame.bytes();
    let Some(view) = View::parse(bytes).filter(|view| view.shim.is_none()) else { return Vec::new() };
    let Some(ip) = view.ip().filter(|ip| ip.end <= bytes.len()) else { return Vec::new() };
    if ip.end - view.l3 <= mtu {
        return vec![frame.clone()];
    }
    let plain = ip.fragment == Fragment::Whole && ip.l4 == view.l3 + IPV6;
    let head = match ip.src {
        IpAddr::V4(_) => ip.l4 - view.l3,
        IpAddr::V6(_) if plain => IPV6 + FRAGMENT_LENGTH,
        IpAddr::V6(_) => return Vec::new(),
    };
    // Offsets count units of 8 bytes.
    let room = mtu.saturating_sub(head) / 8 * 8;
    if room == 0 {
        return Vec::new();
    }
    let body = &bytes[ip.l4..ip.end];
    let count = body.len().div_ceil(room);
    let cut = (0..count).map(|number| {
        let part = &body[number * room..body.len().min((number + 1) * room)];
        let mut piece = bytes[..ip.l4].to_vec();
        let (offset, more) = (number * room, number + 1 < count);
        match ip.src {
            IpAddr::V4(_) => cut_v4(&mut piece, view.l3, offset, more, part.len()),
            IpAddr::V6(_) => cut_v6(&mut piece, view.l3, offset, more, part.len(), identification),
        }
        piece.extend_from_slice(part);
        Frame(piece)
    });
    cut.collect()
}

/// Options stay with every piece: a router that may not copy some of them would have to know them (RFC 791, copied flag).
fn cut_v4(piece: &mut [u8], l3: usize, offset: usize, more: bool, length: usize) {
    let header = piece.len() - l3;
    let old = word(piece, l3 + 6);
    // A piece of a piece: it goes on where that began, and only the last of the last ends the packet.
    let offset = (old & 0x1fff) + narrow(offset / 8);
    let more = if more || old & MORE != 0 { MORE } else { 0 };
    put(piece, l3 + 2, narrow(header + length));
    put(piece, l3 + 6, old & DONT | more | offset);
    put(piece, l3 + 10, 0);
    let sum = checksum::of(&piece[l3..]);
    put(piece, l3 + 10, sum);
}

fn cut_v6(piece: &mut Vec<u8>, l3: usize, offset: usize, more: bool, length: usize, identification: u32) {
    put(piece, l3 + 4, narrow(FRAGMENT_LENGTH + length));
    let next = std::mem::replace(&mut piece[l3 + 6], FRAGMENT_HEADER);
    piece.extend_from_slice(&[next, 0]);
    piece.extend_from_slice(&(narrow(offset) | u16::from(more)).to_be_bytes());
    piece.extend_from_slice(&identification.to_be_bytes());
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::build::{self, Envelope};
    use crate::{Flow, Mac, Protocol};

    const ENVELOPE: Envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 77 };

    fn udp(v6: bool, length: usize) -> Frame {
        let (src, dst): (IpAddr, IpAddr) = if v6 {
            ([0x2001, 2, 0, 0, 0, 0, 0, 1].into(), [0x2001, 2, 0, 1, 0, 0, 0, 9].into())
        } else {
            ([198, 18, 0, 1].into(), [198, 18, 1, 9].into())
        };
        let flow = Flow { protocol: Protocol::UDP, src, dst, src_port: 7, dst_port: 9 };
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        build::udp(ENVELOPE, flow, &payload)
    }

    /// What stands behind the headers of all pieces, put where each says, and whether the last ends the packet.
    fn joined(pieces: &[Frame]) -> (Vec<u8>, bool) {
        let (mut whole, mut ended) = (Vec::new(), false);
        for piece in pieces {
            let view = View::parse(piece.bytes()).expect("a frame");
            let ip = view.ip().expect("a packet, its header's sum as it should be");
            assert_eq!(ip.identification, if ip.src.is_ipv4() { 77 } else { 99 });
            let field = if ip.src.is_ipv4() { word(piece.bytes(), 20) } else { word(piece.bytes(), 56) };
            let (offset, more) =
                if ip.src.is_ipv4() { ((field & 0x1fff) * 8, field & MORE != 0) } else { (field & !7, field & 1 != 0) };
            assert_eq!(usize::from(offset), whole.len(), "in order, without gaps");
            assert_eq!(ip.fragment == Fragment::First, offset == 0);
            whole.extend_from_slice(&piece.bytes()[ip.l4..ip.end]);
            assert_eq!(ip.end, piece.bytes().len());
            ended = !more;
        }
        (whole, ended)
    }

    proptest! {
        #[test]
        fn pieces_make_the_packet_again(v6: bool, length in 0usize..4_000, mtu in 60usize..1_600) {
            let frame = udp(v6, length);
            let l4 = if v6 { 54 } else { 34 };
            let cut = pieces(&frame, mtu, 99);
            if frame.bytes().len() - 14 <= mtu {
                prop_assert_eq!(cut, vec![frame]);
            } else {
                prop_assert!(cut.len() > 1 && cut.iter().all(|piece| piece.bytes().len() - 14 <= mtu));
                let (whole, ended) = joined(&cut);
                prop_assert!(ended && whole == frame.bytes()[l4..]);
            }
        }

        #[test]
        fn a_piece_breaks_again(length in 200usize..3_000, first in 300usize..1_500, then in 60usize..220) {
            let twice: Vec<Frame> =
                pieces(&udp(false, length), first, 0).iter().flat_map(|piece| pieces(piece, then, 0)).collect();
            let (whole, ended) = joined(&twice);
            prop_assert!(ended && whole == udp(false, length).bytes()[34..]);
        }
    }

    #[test]
    fn what_may_not_or_cannot_be_broken_is_said() {
        let may = |frame: &Frame| may_break(frame.bytes(), &View::parse(frame.bytes()).expect("a frame"));
        let mut forbidden = udp(false, 100);
        forbidden.bytes_mut()[20] = 0x40;
        let header = checksum::of(&[&forbidden.bytes()[14..24], &[0, 0], &forbidden.bytes()[26..34]].concat());
        put(forbidden.bytes_mut(), 24, header);
        assert_eq!((may(&udp(false, 100)), may(&forbidden), may(&udp(true, 100))), (true, false, false));
        assert!(pieces(&udp(false, 100), 27, 0).is_empty() && pieces(&Frame(vec![1, 2, 3]), 60, 0).is_empty());
    }
}
