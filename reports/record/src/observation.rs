//! What a tap saw of one frame, in a fixed size.

use scalebed_frame::signature::{Class, Direction};
use scalebed_frame::{Flow, Mac, Shim};
use serde::{Deserialize, Serialize};

/// A tap: one receiving end. `cable * 2` hears what end `b` sent (it sits at `a`), `cable * 2 + 1` sits at `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TapId(pub u16);

impl TapId {
    /// The tap at end `a` (`at_b` false) or `b` of a cable.
    #[must_use]
    pub const fn new(cable: u16, at_b: bool) -> Self {
        Self(cable * 2 + at_b as u16)
    }

    /// The cable's index in the lab.
    #[must_use]
    pub const fn cable(self) -> u16 {
        self.0 / 2
    }

    /// Does it sit at end `b`?
    #[must_use]
    pub const fn at_b(self) -> bool {
        self.0 % 2 == 1
    }
}

/// One frame at one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Kernel receive stamp, ns of CLOCK_MONOTONIC (virtual time on the fabric).
    pub at: u64,
    /// Where.
    pub tap: TapId,
    /// Length on the wire, bytes.
    pub length: u16,
    /// TTL or hop limit; 0 for what is not IP.
    pub ttl: u8,
    /// TCP flags; 0 for what is not TCP.
    pub tcp_flags: u8,
    /// Ethernet source.
    pub src: Mac,
    /// The shim, on internal cables.
    pub shim: Option<Shim>,
    /// The tuple, of IP packets.
    pub flow: Option<Flow>,
    /// The probe signature, of generated packets.
    pub probe: Option<Probe>,
}

/// The part of a signature that checkers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The flow.
    pub flow: u32,
    /// Which way.
    pub direction: Direction,
    /// What for.
    pub class: Class,
    /// Number of the packet in its flow and direction.
    pub sequence: u32,
    /// How late it was handed to the generator's port, ns.
    pub late: u32,
    /// Which attempt at this number, from 0.
    pub attempt: u8,
}
