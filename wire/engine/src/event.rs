//! What is asked of engines, and what they declare.

use std::collections::BTreeMap;

use scalebed_frame::control::{Admitted, MemberState};
use scalebed_frame::{Generation, MemberId, NodeId};
use serde::{Deserialize, Serialize};

/// A request over the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Answer with [`NodeEvent::Status`] that carries the same number.
    Status {
        /// Chosen by the asker.
        id: u64,
    },
    /// As [`Command::Status`], with what only a walk over all its tables tells (tests; the control socket does not take it:
    /// a large table would keep a member from its heartbeats).
    Audit {
        /// Chosen by the asker.
        id: u64,
    },
    /// Give the buckets away and leave (members).
    Drain,
    /// New settings, JSON of the engine's own type. Engines without such settings ignore it.
    Configure(String),
    /// F31: one entry of the matrix in memory becomes another (tests; the control socket does not take it).
    Alter,
}

/// Something that a node declares. Evidence of class D only: checkers cross-check it with what taps saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeEvent {
    /// The engine took its configuration and all its ports have been told their carrier.
    Ready,
    /// A member's own state changed.
    State {
        /// From.
        from: MemberState,
        /// To.
        to: MemberState,
        /// Why, in words an operator knows.
        reason: String,
    },
    /// It took or gave up a role.
    Role {
        /// Which.
        role: Role,
        /// Taken?
        taken: bool,
    },
    /// A matrix was accepted: from now on it fences and dispatches by it.
    Accepted {
        /// Its generation.
        generation: Generation,
        /// Its digest.
        digest: u64,
        /// Who is admitted.
        admitted: Vec<Admitted>,
    },
    /// Its barrier is over: new owners process.
    Activated {
        /// Its generation.
        generation: Generation,
    },
    /// The author decided on a change; the times of failover are cut here.
    Prepared {
        /// Its generation.
        generation: Generation,
        /// What made it.
        reason: String,
    },
    /// It declared a node dead.
    Dead {
        /// Which.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// It stopped owning, forwarding, answering and authoring.
    Fenced {
        /// Why.
        reason: String,
    },
    /// Addresses were announced (GARP).
    Announced {
        /// Which round, 0 = at once.
        round: u8,
    },
    /// A planned move is complete at its new owner.
    Moved(MoveReport),
    /// The answer to [`Command::Status`].
    Status(Box<Status>),
}

/// A role that exactly one node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Single management object: authors the matrix, answers ARP.
    Smo,
    /// The member of ElasticXL that receives everything.
    Pivot,
}

/// A planned move, seen by its new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// The generation that made it.
    pub generation: Generation,
    /// From whom.
    pub previous: MemberId,
    /// Entries taken over.
    pub entries: u32,
}

/// A counter of dropped frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The reason, kebab-case.
    pub reason: String,
    /// How many.
    pub frames: u64,
}

/// A node's own account of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The number of the request.
    pub id: u64,
    /// Its name in the lab.
    pub node: String,
    /// State of a member; `active` or `fenced` of an orchestrator.
    pub state: String,
    /// Why, if not Active.
    pub reason: Option<String>,
    /// SMO, pivot.
    pub roles: Vec<Role>,
    /// Accepted generation.
    pub accepted: Option<Generation>,
    /// Activated generation.
    pub activated: Option<Generation>,
    /// Digest of the accepted matrix.
    pub digest: u64,
    /// Buckets owned.
    pub buckets: u32,
    /// Connections that it owns.
    pub connections: u64,
    /// Copies that it keeps for others.
    pub copies: u64,
    /// Everything counted, by name: frames in and out by port, corrections, handovers, sync bytes, ...
    pub counters: BTreeMap<String, u64>,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
}
