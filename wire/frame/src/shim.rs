//! The shim: 16 bytes after the MAC addresses on every internal cable (`emulated:` the vendor's tags are unpublished).
//!
//! ```text
//! byte   0-1   EtherType 0x88B5 (IEEE 802 local experimental 1)
//! byte   2     version (high nibble, 2) | kind (low nibble)
//! byte   3     network id: which uplink network, 0 = the internal sync network
//! byte   4     Security Group
//! byte   5     flags: bit 0 to-uplink, bit 1 detoured over the pair cable, bit 2 broadcast copy
//!              check in bits 3-7: the 16 bytes with these bits zero, as one number, modulo 31
//! bytes  6-9   generation counter, big endian (the bucket's: the generation in which it last moved)
//! byte   10    generation author, node code
//! byte   11    origin, node code: who put the frame on the internal network
//! bytes 12-13  low 16 bits of the origin's incarnation, big endian
//! byte   14    ingress orchestrator (high nibble, 0 = none) | hop (low nibble)
//! byte   15    target node code, 0 = by destination MAC
//! bytes 16-17  inner EtherType (the frame goes on as it would without the shim)
//! ```
//! The EtherType of the shim stands where a tag's would, so the frame grows by 16 bytes. Any flipped bit of it makes the
//! check wrong, no power of two being a multiple of 31: a frame that would go astray by it is dropped unread.

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, NetworkId};

/// IEEE 802 local experimental EtherType 1.
pub const ETHERTYPE: u16 = 0x88b5;
/// Bytes that the shim adds to a frame.
pub const LEN: usize = 16;
/// A third hop is a counted drop.
pub const MAX_HOP: u8 = 2;
/// Version of the layout above.
pub const VERSION: u8 = 2;
/// Version and kind of a control frame in byte 2: what a filter in the kernel tells it by.
pub const CONTROL: u8 = VERSION << 4 | Kind::Control as u8;
/// The bits of byte 5 that hold flags.
const FLAGS: u8 = TO_UPLINK | DETOURED | COPY;

/// What a shimmed frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A packet between an uplink network and the member that was chosen for it, either way.
    Data = 1,
    /// A packet passed from the member it landed on to the member that owns it.
    Correction = 2,
    /// A packet passed from the pivot to a member.
    Handover = 3,
    /// A control or sync message.
    Control = 4,
}

/// Set on frames that a member sends towards an uplink.
pub const TO_UPLINK: u8 = 1;
/// Set on frames that crossed the MHO pair cable because a leg or downlink was down. Never crosses it again.
pub const DETOURED: u8 = 2;
/// Set on the copies of a broadcast or multicast frame.
pub const COPY: u8 = 4;

/// The shim, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shim {
    /// What the frame is for.
    pub kind: Kind,
    /// The uplink network that the frame came from or goes to; [`NetworkId::SYNC`] for control.
    pub network: NetworkId,
    /// Security Group.
    pub group: GroupId,
    /// [`TO_UPLINK`], [`DETOURED`], [`COPY`].
    pub flags: u8,
    /// Counter of the generation in which the packet's bucket last moved.
    pub generation: u32,
    /// Node code of that generation's author.
    pub author: u8,
    /// Node code of whoever put the frame on the internal network.
    pub origin: u8,
    /// Low 16 bits of the origin's incarnation: the fence compares them.
    pub incarnation: u16,
    /// The orchestrator at whose uplink the packet entered, 0 = none.
    pub ingress: u8,
    /// Corrections so far; at most [`MAX_HOP`].
    pub hop: u8,
    /// Node code of the member it is meant for, 0 = by destination MAC.
    pub target: u8,
}

impl Shim {
    /// A shim of `kind` on `network` of `group`, everything else zero.
    #[must_use]
    pub const fn new(kind: Kind, network: NetworkId, group: GroupId) -> Self {
        Self {
            kind,
            network,
            group,
            flags: 0,
            generation: 0,
            author: 0,
            origin: 0,
            incarnation: 0,
            ingress: 0,
            hop: 0,
            target: 0,
        }
    }

    /// Reads the shim that starts at `bytes[0]` (its EtherType). `None`: not a shim of this version, too short, or not as it
    /// was sent.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let b: &[u8; LEN] = bytes.get(..LEN)?.try_into().ok()?;
        let known = u16::from_be_bytes([b[0], b[1]]) == ETHERTYPE && b[2] >> 4 == VERSION && b[5] >> 3 == check(*b);
        let kind = match b[2] & 0x0f {
            1 => Kind::Data,
            2 => Kind::Correction,
            3 => Kind::Handover,
            4 => Kind::Control,
            _ => return None,
        };
        known.then_some(Self {
            kind,
            network: NetworkId(b[3]),
            group: GroupId(b[4]),
            flags: b[5] & FLAGS,
            generation: u32::from_be_bytes([b[6], b[7], b[8], b[9]]),
            author: b[10],
            origin: b[11],
            incarnation: u16::from_be_bytes([b[12], b[13]]),
            ingress: b[14] >> 4,
            hop: b[14] & 0x0f,
            target: b[15],
        })
    }

    /// The 16 bytes of the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let e = ETHERTYPE.to_be_bytes();
        let g = self.generation.to_be_bytes();
        let i = self.incarnation.to_be_bytes();
        let mut bytes = [
            e[0],
            e[1],
            VERSION << 4 | self.kind as u8,
            self.network.0,
            self.group.0,
            self.flags & FLAGS,
            g[0],
            g[1],
            g[2],
            g[3],
            self.author,
            self.origin,
            i[0],
            i[1],
            self.ingress << 4 | (self.hop & 0x0f),
            self.target,
        ];
        bytes[5] |= check(bytes) << 3;
        bytes
    }

    /// Puts the shim into a plain frame, after its MAC addresses. A frame shorter than 14 bytes is left alone.
    pub fn insert(&self, frame: &mut Vec<u8>) {
        if frame.len() >= 14 {
            frame.splice(12..12, self.to_bytes());
        }
    }

    /// Overwrites the shim of a shimmed frame.
    pub fn replace(&self, frame: &mut [u8]) {
        if let Some(place) = frame.get_mut(12..12 + LEN) {
            place.copy_from_slice(&self.to_bytes());
        }
    }

    /// Takes the shim out of a frame, if it has one, and gives it back.
    pub fn remove(frame: &mut Vec<u8>) -> Option<Self> {
        let shim = Self::read(frame.get(12..)?)?;
        frame.drain(12..12 + LEN);
        Some(shim)
    }

    /// Is `flag` set?
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The check of 16 bytes: as one number, without the bits of the check, modulo 31.
fn check(mut bytes: [u8; LEN]) -> u8 {
    bytes[5] &= FLAGS;
    let number = u128::from_be_bytes(bytes);
    // Half by half, which the compiler makes multiplications of: 2^64 is 16 modulo 31.
    let (high, low) = ((number >> 64) as u64 % 31, (number & u128::from(u64::MAX)) as u64 % 31);
    ((high * 16 + low) % 31) as u8
}
