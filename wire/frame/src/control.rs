//! Our control messages: heartbeats and the agreement on the matrix, UDP 8116 under the shim (kind control).
//!
//! A message is a [`Control`], postcard-encoded and cut into pieces of at most 1,400 bytes, each a UDP datagram
//! `[message id u32][part u8][parts u8][bytes]` from and to port 8116 (the id: the sender's count of its messages, xor its
//! incarnation in the upper 12 bits). Members have 192.0.2.n on the internal network,
//! orchestrators 192.0.2.(128+n); a message to everybody goes to 192.0.2.255 and the broadcast MAC.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Incarnation, MemberId, MhoId, NodeId};
use crate::sync::SyncMessage;

pub use crate::codec::{ControlError, Reassembler, address, encode, frame, payload};

/// CCP's port, as the vendor's guides name it.
pub const PORT: u16 = 8116;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Who says it.
    pub from: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// To whom; `None`: everybody.
    pub to: Option<NodeId>,
    /// What.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// I live, and this is what I know.
    Heartbeat(Heartbeat),
    /// An author that takes over, or was refused, asks what you hold.
    Read {
        /// What it is about to author, at least: who answers refuses every lower one from then on.
        announced: Generation,
    },
    /// The answer to `Read`.
    ReadAnswer {
        /// Highest accepted generation.
        accepted: Generation,
        /// Highest activated generation.
        activated: Generation,
        /// The highest one announced to it: it refuses every lower one.
        promised: Generation,
        /// The accepted matrix, if there is one.
        matrix: Option<Matrix>,
    },
    /// The whole next matrix.
    Prepare(Matrix),
    /// Accepted.
    Ack {
        /// Which.
        generation: Generation,
        /// Its digest.
        digest: u64,
    },
    /// Not accepted, and what I hold instead.
    Refuse {
        /// What was refused.
        generation: Generation,
        /// What I hold, or have promised to wait for.
        holds: Generation,
        /// Digest of what I hold.
        digest: u64,
    },
    /// All MHOs not declared dead have acked: new owners may process.
    Activate {
        /// Which; it includes the lower ones.
        generation: Generation,
    },
    /// A joiner asks to be admitted, with what it has.
    Join {
        /// Its configuration's digest.
        config: u64,
    },
    /// The new owner of moved buckets has all entries.
    MoveComplete {
        /// The generation that made the move.
        generation: Generation,
        /// The previous owner.
        previous: MemberId,
    },
    /// Connection state: HyperSync, moves, queries, neighbour tables.
    Sync(SyncMessage),
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When it was sent, ns of the sender's clock.
    pub sent: u64,
    /// Whom the sender hears.
    pub heard: Vec<Heard>,
    /// The sender's state.
    pub state: MemberState,
    /// Why it is not Active, or what is wrong though it is (a pnote's name).
    pub reason: Option<String>,
    /// Digest of its configuration.
    pub config: u64,
    /// Highest accepted generation.
    pub accepted: Generation,
    /// Digest of the accepted matrix.
    pub digest: u64,
    /// Highest activated generation.
    pub activated: Generation,
    /// The admitted list: SMO and MHOs add it.
    pub admitted: Vec<Admitted>,
    /// Does the sender hold the SMO (pivot) role?
    pub smo: bool,
    /// An orchestrator's: members whose downlink to it has no carrier.
    pub downlinks_down: Vec<MemberId>,
    /// A member's of ElasticXL: how many of its ports on inside and outside networks have no carrier.
    pub ports_down: u8,
}

/// A peer as heard by the sender of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The peer.
    pub node: NodeId,
    /// In the life in which it was heard last.
    pub incarnation: Incarnation,
    /// Send time of its last heartbeat, by its own clock, echoed.
    pub sent: u64,
}

/// A member that takes part, in which life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Admitted {
    /// Who.
    pub member: MemberId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

/// States of a member (reliability rule 5). Operators know `Pending`, `Cloning` and `Syncing` as INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// Not here.
    Absent,
    /// Started; hears, and asks to be admitted.
    Pending,
    /// Compares configuration and software level with the SMO's.
    Cloning,
    /// Takes neighbour table, matrix and NAT ports over.
    Syncing,
    /// Aligned; waits for the generation that admits it.
    Ready,
    /// Owns buckets.
    Active,
    /// Gives its buckets away before it leaves.
    Draining,
    /// A critical device reports a problem, or it is fenced.
    Down,
    /// Declared dead by others.
    Lost,
}

/// The distribution matrix as it travels. Its rules are in `nodes/distribution`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// Its version.
    pub generation: Generation,
    /// The members admitted, in order of id.
    pub admitted: Vec<Admitted>,
    /// The orchestrators that the author counts (not declared dead), in order of id.
    pub orchestrators: Vec<(MhoId, Incarnation)>,
    /// One entry a bucket.
    pub buckets: Vec<Assignment>,
}

/// Who has a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Processes the bucket's packets.
    pub owner: MemberId,
    /// Takes it over when the owner is gone; `None` in a group of one.
    pub backup: Option<MemberId>,
    /// The generation in which the owner last changed.
    pub moved: Generation,
    /// The previous owner, during a planned move.
    pub previous: Option<MemberId>,
}
