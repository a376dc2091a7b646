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
//! bytes 36-39  keyed hash (SipHash-2-4 with the run's key) of bytes 0..36 truncated to 32 bits
//! bytes 40-47  zero, reserved
//! ```
//! All big endian. It stands at the start of the L4 payload, 48 bytes. The compact form of 16 bytes, for 64-byte
//! frames in throughput runs: magic, version | 0x80, flags, flow id (4), sequence (4), hash (4).

use serde::{Deserialize, Serialize};

/// Bytes of the full form.
pub const LEN: usize = 48;
/// Bytes of the compact form.
pub const COMPACT_LEN: usize = 16;
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
}

/// The run's hash key.
pub type Key = [u8; 16];

impl Signature {
    /// Writes the 48 bytes into `payload[..48]`; false if it is shorter.
    #[must_use]
    pub fn write(&self, key: &Key, payload: &mut [u8]) -> bool {
        let _ = (key, payload);
        false
    }

    /// Reads and verifies the signature at the start of `payload`. `None`: none there, cut off, or its hash is wrong.
    #[must_use]
    pub fn read(key: &Key, payload: &[u8]) -> Option<Self> {
        let _ = (key, payload);
        None
    }

    /// As [`Self::read`] without a key: for taps and transcripts, which don't judge integrity.
    #[must_use]
    pub fn peek(payload: &[u8]) -> Option<Self> {
        let _ = payload;
        None
    }
}
