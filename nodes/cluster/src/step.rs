//! What the cluster machine wants done.

use scalebed_engine::NodeEvent;
use scalebed_frame::control::Body;
use scalebed_frame::{Bucket, Generation, MemberId, NodeId};

/// On which of the node's ports a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This one (an index of the node's port list).
    One(u16),
    /// Every port that control messages use: both downlinks; sync and data ports of ElasticXL; all downlinks and the
    /// pair cable of an orchestrator.
    All,
    /// The best path to the addressee: own downlink that is up, else the other.
    Best,
}

/// One thing to do. The owner of the machine does it; nothing else happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send a message (the owner wraps it with its id and incarnation).
    Send {
        /// Where.
        port: Port,
        /// To whom; `None`: everybody.
        to: Option<NodeId>,
        /// What.
        body: Body,
    },
    /// Tell the outside.
    Event(NodeEvent),
    /// A new matrix was accepted (`matrix()` shows it).
    Accepted(Generation),
    /// Its barrier is over: frames that waited for it may be processed.
    Activated(Generation),
    /// Stop owning, forwarding, answering; drop the backlog; keep entries as copies.
    Fenced,
    /// Admitted again: owning may begin.
    Unfenced,
    /// The SMO (pivot) role was taken (true) or given up: install state, claim addresses, announce (in this order).
    Smo(bool),
    /// A joiner: ask `from` for neighbours and every admitted member for NAT ports in use; call `synced()` when done.
    StartSync {
        /// The SMO.
        from: MemberId,
    },
    /// A previous owner: send the connections of these buckets to `to`, then `MoveDone`.
    SendMove {
        /// The new owner.
        to: MemberId,
        /// The generation of the move.
        generation: Generation,
        /// Which buckets.
        buckets: Vec<Bucket>,
    },
    /// Ask some neighbours on data cables whether they are there, and call `probed()` for each answer.
    Probe,
    /// An orchestrator: take the uplinks down (false) or up (true).
    Uplinks(bool),
}
