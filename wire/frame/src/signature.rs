//! The probe signature: who a generated packet is, wherever it is seen.
//!
//! ```text
//! byte   0-1   magic 0x5B 0xED
//! byte   2     version (1)
//! byte   3     flags: bit 0 direction (0 = client to server), bits 1-2 probe class, bits 3-7 phase
//! bytes  4-11  run id
//! bytes 12-15  flow id, dense from 0
//! bytes 16-23  sequence number of the flow and direction
//! bytes 24-31  intended send time, ns of CLOCK_MONOTONIC
//! bytes 32-35  actual minus intended, ns, saturating
//! byte   36    attempt, 0 = the first (a TCP segment that is sent again is a probe of its own)
//! bytes 37-39  zero, reserved
//! bytes 40-43  keyed hash (SipHash-2-4 with the run's key) of bytes 0..40 truncated to 32 bits
//! bytes 44-47  zero, reserved
//! ```
//! All big endian. It stands at the start of the L4 payload, 48 bytes. The compact form of 16 bytes, for 64-byte
//! frames in throughput runs ([`Compact`]): magic, version | 0x80, flags, flow id (4), sequence (4), and the keyed hash of
//! these 12 bytes (4).

use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};

use crate::view;

/// Bytes of the full form.
pub const LEN: usize = 48;
/// Bytes of the compact form.
pub const COMPACT_LEN: usize = 16;
/// Version of the layout above.
pub const VERSION: u8 = 1;
/// Set in the version byte of the compact form.
const COMPACT: u8 = 0x80;
/// First two bytes.
pub const MAGIC: [u8; 2] = [0x5b, 0xed];

/// The direction of a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the client.
    Forward,
    /// From the server.
    Reverse,
}

/// What a flow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Few and fast: times convergence.
    Probe,
    /// Many and slow: evenness, symmetry, survival.
    Population,
}

/// A signature, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which way.
    pub direction: Direction,
    /// What for.
    pub class: Class,
    /// Phase of the scenario, 0..32.
    pub phase: u8,
    /// The run.
    pub run: u64,
    /// The flow, a dense index.
    pub flow: u32,
    /// Counts packets of the flow and direction from 0.
    pub sequence: u64,
    /// When the schedule said it is due, ns of CLOCK_MONOTONIC.
    pub intended: u64,
    /// How much later it was handed to the port, ns.
    pub late: u32,
    /// Which attempt at the same sequence number, from 0; saturates.
    pub attempt: u8,
}

/// The run's hash key.
pub type Key = [u8; 16];

impl Signature {
    /// Writes the 48 bytes into `payload[..48]`; false if it is shorter.
    #[must_use]
    pub fn write(&self, key: &Key, payload: &mut [u8]) -> bool {
        let Some(place) = payload.get_mut(..LEN) else { return false };
        place[..2].copy_from_slice(&MAGIC);
        place[2] = VERSION;
        place[3] = flags(self.direction, self.class, self.phase);
        place[4..12].copy_from_slice(&self.run.to_be_bytes());
        place[12..16].copy_from_slice(&self.flow.to_be_bytes());
        place[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        place[24..32].copy_from_slice(&self.intended.to_be_bytes());
        place[32..36].copy_from_slice(&self.late.to_be_bytes());
        place[36] = self.attempt;
        place[37..40].fill(0);
        let hash = hash(key, &place[..40]);
        place[40..44].copy_from_slice(&hash.to_be_bytes());
        place[44..48].fill(0);
        true
    }

    /// Reads and verifies the signature at the start of `payload`. `None`: none there, cut off, or its hash is wrong.
    #[must_use]
    pub fn read(key: &Key, payload: &[u8]) -> Option<Self> {
        let signature = Self::peek(payload)?;
        (view::be32(payload, 40)? == hash(key, payload.get(..40)?)).then_some(signature)
    }

    /// As [`Self::read`] without a key: for taps and transcripts, which don't judge integrity.
    #[must_use]
    pub fn peek(payload: &[u8]) -> Option<Self> {
        let bytes = payload.get(..LEN)?;
        if bytes[..2] != MAGIC || bytes[2] != VERSION {
            return None;
        }
        let long = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_be_bytes);
        let (direction, class, phase) = from_flags(bytes[3]);
        Some(Self {
            direction,
            class,
            phase,
            run: long(4),
            flow: view::be32(bytes, 12)?,
            sequence: long(16),
            intended: long(24),
            late: view::be32(bytes, 32)?,
            attempt: bytes[36],
        })
    }
}

/// The compact form: who a packet is, without when it was due or of which run. The key tells runs apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// Which way.
    pub direction: Direction,
    /// What for.
    pub class: Class,
    /// Phase of the scenario, 0..32.
    pub phase: u8,
    /// The flow, a dense index.
    pub flow: u32,
    /// Counts packets of the flow and direction from 0.
    pub sequence: u32,
}

impl Compact {
    /// Writes the 16 bytes into `payload[..16]`; false if it is shorter.
    #[must_use]
    pub fn write(&self, key: &Key, payload: &mut [u8]) -> bool {
        let Some(place) = payload.get_mut(..COMPACT_LEN) else { return false };
        place[..2].copy_from_slice(&MAGIC);
        place[2] = VERSION | COMPACT;
        place[3] = flags(self.direction, self.class, self.phase);
        place[4..8].copy_from_slice(&self.flow.to_be_bytes());
        place[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        let hash = hash(key, &place[..12]);
        place[12..16].copy_from_slice(&hash.to_be_bytes());
        true
    }

    /// Reads and verifies the compact form at the start of `payload`. `None`: none there, cut off, or its hash is wrong.
    #[must_use]
    pub fn read(key: &Key, payload: &[u8]) -> Option<Self> {
        let compact = Self::peek(payload)?;
        (view::be32(payload, 12)? == hash(key, payload.get(..12)?)).then_some(compact)
    }

    /// As [`Self::read`] without a key.
    #[must_use]
    pub fn peek(payload: &[u8]) -> Option<Self> {
        let bytes = payload.get(..COMPACT_LEN)?;
        if bytes[..2] != MAGIC || bytes[2] != VERSION | COMPACT {
            return None;
        }
        let (direction, class, phase) = from_flags(bytes[3]);
        Some(Self { direction, class, phase, flow: view::be32(bytes, 4)?, sequence: view::be32(bytes, 8)? })
    }
}

fn flags(direction: Direction, class: Class, phase: u8) -> u8 {
    u8::from(direction == Direction::Reverse) | u8::from(class == Class::Population) << 1 | (phase & 0x1f) << 3
}

fn from_flags(flags: u8) -> (Direction, Class, u8) {
    let direction = if flags & 1 == 0 { Direction::Forward } else { Direction::Reverse };
    let class = if flags >> 1 & 3 == 0 { Class::Probe } else { Class::Population };
    (direction, class, flags >> 3)
}

fn hash(key: &Key, bytes: &[u8]) -> u32 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_key(key);
    hasher.write(bytes);
    u32::try_from(hasher.finish() & 0xffff_ffff).unwrap_or(0)
}
