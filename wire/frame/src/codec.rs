//! Control messages to frames and back: postcard, pieces of at most 1,400 bytes, UDP under the shim.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use crate::Frame;
use crate::build::{self, Envelope};
use crate::checksum;
use crate::control::{Control, PORT};
use crate::flow::{Flow, Protocol};
use crate::ids::NodeId;
use crate::mac::Mac;
use crate::shim::{Kind, Shim};
use crate::view::{Transport, View};

/// Bytes of a message that a piece carries at most.
pub const PIECE: usize = 1400;
/// Bytes in front of a piece: message id, part, parts.
const HEADER: usize = 6;
/// Where the low bits of the sender's incarnation start in a message id. Counters start again in each life, and a piece
/// that an earlier life left behind must not become part of a new message: nothing but the id tells them apart. 12 bits
/// tell 16 starts of 256 lives apart, and a million messages pass before a count comes again.
const LIFE: u32 = 20;
/// Messages of one sender that may be in assembly at once; the oldest gives way.
const IN_ASSEMBLY: usize = 4;

/// Why a piece did not become a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Shorter than its header, or its part number is not below its number of parts.
    #[error("control piece is cut off or numbered wrongly")]
    Piece,
    /// The whole message is not one of ours.
    #[error("control message cannot be decoded")]
    Message,
}

/// The UDP payloads of a message: `[message id u32][part u8][parts u8][bytes]`, big endian. `message_id` counts up in the
/// sender's life; the id on the wire has bits of the life too. A message that 255 pieces don't hold (357,000 bytes) gives
/// none: a part of it would help nobody.
#[must_use]
pub fn encode(message: &Control, message_id: u32) -> Vec<Vec<u8>> {
    // Every type of a message serialises; nothing is left to fail but memory.
    let bytes = postcard::to_allocvec(message).unwrap_or_default();
    let chunks: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let Ok(parts) = u8::try_from(chunks.len()) else { return Vec::new() };
    let id = message_id ^ message.incarnation.0 << LIFE;
    (0..parts)
        .zip(chunks)
        .map(|(part, chunk)| {
            let mut piece = Vec::with_capacity(HEADER + chunk.len());
            piece.extend_from_slice(&id.to_be_bytes());
            piece.extend_from_slice(&[part, parts]);
            piece.extend_from_slice(chunk);
            piece
        })
        .collect()
}

/// Puts pieces together again. Bounded: [`IN_ASSEMBLY`] messages a sender.
#[derive(Clone, Debug, Default)]
pub struct Reassembler {
    open: BTreeMap<u8, VecDeque<Assembly>>,
    evicted: u64,
}

#[derive(Clone, Debug)]
struct Assembly {
    id: u32,
    parts: Vec<Option<Vec<u8>>>,
}

impl Reassembler {
    /// Takes a UDP payload of the sender with this node code; gives the message that it completes.
    ///
    /// # Errors
    /// The piece or the message is malformed; it is dropped.
    pub fn push(&mut self, from_code: u8, payload: &[u8]) -> Result<Option<Control>, ControlError> {
        let (header, bytes) = payload.split_at_checked(HEADER).ok_or(ControlError::Piece)?;
        let id = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        let (part, parts) = (usize::from(header[4]), usize::from(header[5]));
        if part >= parts {
            return Err(ControlError::Piece);
        }
        if parts == 1 {
            return decode(bytes).map(Some);
        }
        let open = self.open.entry(from_code).or_default();
        let place = open.iter().position(|assembly| assembly.id == id && assembly.parts.len() == parts);
        let index = place.unwrap_or_else(|| {
            if open.len() == IN_ASSEMBLY {
                open.pop_front();
                self.evicted += 1;
            }
            open.push_back(Assembly { id, parts: vec![None; parts] });
            open.len() - 1
        });
        open[index].parts[part] = Some(bytes.to_vec());
        if open[index].parts.iter().any(Option::is_none) {
            return Ok(None);
        }
        let whole: Vec<u8> =
            open.remove(index).into_iter().flat_map(|assembly| assembly.parts).flatten().flatten().collect();
        decode(&whole).map(Some)
    }

    /// Messages that never became whole and gave way to newer ones.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn decode(bytes: &[u8]) -> Result<Control, ControlError> {
    postcard::from_bytes(bytes).map_err(|_| ControlError::Message)
}

/// The address of a node on the internal network; of everybody for `None`.
#[must_use]
pub fn address(node: Option<NodeId>) -> Ipv4Addr {
    let last = match node {
        None => 255,
        Some(NodeId::Member(member)) if member.site == 2 => 63u8.saturating_add(member.number.min(63)),
        Some(NodeId::Member(member)) => member.number.min(127),
        Some(NodeId::Mho(mho)) => 128u8.saturating_add(mho.0.min(126)),
    };
    Ipv4Addr::new(192, 0, 2, last)
}

/// The frame around one piece: Ethernet, the shim, IPv4 and UDP 8116.
#[must_use]
pub fn frame(src: Mac, dst: Mac, shim: Shim, from: NodeId, to: Option<NodeId>, piece: &[u8]) -> Frame {
    let envelope = Envelope { src, dst, ttl: 1, identification: 0 };
    let flow = Flow {
        protocol: Protocol::UDP,
        src: address(Some(from)).into(),
        dst: address(to).into(),
        src_port: PORT,
        dst_port: PORT,
    };
    let mut frame = build::udp(envelope, flow, piece);
    Shim { kind: Kind::Control, ..shim }.insert(frame.bytes_mut());
    frame
}

/// The UDP payload of a control frame; `None`: it is not one, it is cut off, or it is not as it was sent.
#[must_use]
pub fn payload<'a>(frame: &'a [u8], view: &View) -> Option<&'a [u8]> {
    let control = view.shim.is_some_and(|shim| shim.kind == Kind::Control);
    let ip = view.ip()?;
    match ip.transport {
        Transport::Udp { dst_port: PORT, payload, .. } if control && checksum::is_valid(frame, view.l3, ip) => {
            frame.get(payload..ip.end)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reassembler, encode, frame, payload};
    use crate::control::{Body, Control};
    use crate::ids::{Generation, GroupId, Incarnation, MemberId, NetworkId};
    use crate::mac::Mac;
    use crate::shim::{Kind, Shim};
    use crate::sync::{Item, SyncMessage};
    use crate::view::View;

    fn ports(ports: &[u16]) -> SyncMessage {
        let items = vec![Item::PortsInUse(ports.to_vec())];
        SyncMessage { receiver: Incarnation(1), sequence: 7, acknowledged: 3, bitmap: 5, items }
    }

    fn long(count: u16) -> Control {
        Control {
            from: MemberId::new(1, 2).into(),
            incarnation: Incarnation(9),
            to: Some(MemberId::new(1, 3).into()),
            body: Body::Sync(ports(&(0..count).collect::<Vec<_>>())),
        }
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_and_doubled_make_the_message(ports in 0u16..6000, seed in any::<u64>()) {
            let message = long(ports);
            let mut pieces = encode(&message, 1);
            let last = pieces.pop().expect("a message has a piece");
            let turn = usize::try_from(seed).unwrap_or(0) % pieces.len().max(1);
            let turn = turn.min(pieces.len());
            pieces.rotate_left(turn);
            pieces.extend(pieces.clone().into_iter().take(1));
            pieces.push(last);
            let mut reassembler = Reassembler::default();
            let got: Vec<Control> =
                pieces.iter().filter_map(|piece| reassembler.push(2, piece).expect("valid")).collect();
            prop_assert_eq!(got, vec![message]);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _refused_or_not = Reassembler::default().push(1, &bytes);
        }
    }

    #[test]
    fn unfinished_messages_give_way() {
        let mut reassembler = Reassembler::default();
        for id in 0..6 {
            let first = &encode(&long(3000), id)[0];
            assert_eq!(reassembler.push(2, first), Ok(None));
        }
        assert_eq!(reassembler.evicted(), 2);
    }

    /// A doubled piece of a finished message opens an assembly that nothing completes; the sender's next life counts its
    /// messages from the start again.
    #[test]
    fn a_piece_of_an_earlier_life_never_completes_a_message() {
        let old = long(1500);
        let new = Control { incarnation: Incarnation(10), body: Body::Sync(ports(&[1; 3000])), ..old.clone() };
        let old_pieces = encode(&old, 5);
        let new_pieces = encode(&new, 5);
        assert_eq!(old_pieces.len(), new_pieces.len());
        let mut reassembler = Reassembler::default();
        assert_eq!(reassembler.push(2, old_pieces.last().expect("a piece")), Ok(None));
        let got: Vec<_> = new_pieces.iter().map(|piece| reassembler.push(2, piece)).collect();
        assert_eq!(got.last(), Some(&Ok(Some(new))), "{got:?}");
    }

    #[test]
    fn a_message_of_more_pieces_than_can_be_numbered_is_not_sent_in_part() {
        let message = |ports: &[u16]| Control { body: Body::Sync(self::ports(ports)), ..long(0) };
        assert_eq!(encode(&message(&[u16::MAX; 118_900]), 1).len(), 255);
        assert_eq!(encode(&message(&[u16::MAX; 119_100]), 1).len(), 0);
        assert_eq!(encode(&message(&[u16::MAX; 200_000]), 1).len(), 0);
    }

    #[test]
    fn a_frame_carries_its_piece() {
        let message = Control { body: Body::Read { announced: Generation::NONE }, ..long(0) };
        let shim = Shim::new(Kind::Control, NetworkId::SYNC, GroupId(1));
        let piece = &encode(&message, 4)[0];
        let built = frame(Mac::host(1), Mac::BROADCAST, shim, message.from, None, piece);
        let view = View::parse(built.bytes()).expect("a frame");
        let got = payload(built.bytes(), &view).expect("a control payload");
        assert_eq!(Reassembler::default().push(2, got), Ok(Some(message)));

        let refused = |at: usize, to: u8| {
            let mut frame = built.bytes().to_vec();
            frame[at] = to;
            View::parse(&frame).is_none_or(|view| payload(&frame, &view).is_none())
        };
        let udp = view.l3 + 20;
        assert!(refused(udp + 2, 0x20), "another port");
        assert!(refused(14, 0x21), "a data frame");
        assert!(refused(built.0.len() - 1, !built.0[built.0.len() - 1]), "not as it was sent");
        assert_eq!(payload(&built.bytes()[..built.0.len() - 1], &view), None, "cut off");
    }
}
