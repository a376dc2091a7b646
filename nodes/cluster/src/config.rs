//! What a node of a cluster is told at its start.

use scalebed_frame::{Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::{self, Architecture};
use serde::{Deserialize, Serialize};

/// Each start of a node takes so many lives: it counts up by itself when it comes back from being fenced.
pub const LIVES_A_START: u32 = 256;

/// Configuration of a member or orchestrator process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Its name in the lab.
    pub name: String,
    /// Who it is.
    pub id: NodeId,
    /// Its first incarnation in this life of the process. The starter counts starts and gives `start * 256`; the node
    /// itself adds one each time it comes back from being fenced.
    pub incarnation: Incarnation,
    /// Which architecture.
    pub architecture: Architecture,
    /// Security Group.
    pub group: lab::Group,
    /// Digest of the configuration that members compare before a join (cloning only compares, for now).
    pub config_digest: u64,
    /// Networks.
    pub networks: Vec<lab::Network>,
    /// Its ports, in order of port index.
    pub ports: Vec<lab::Port>,
    /// Every member that is cabled, in order of id: hide NAT's ports are split over them by index.
    pub members: Vec<MemberId>,
    /// Members that the lab starts at boot: the first author waits for them.
    pub starters: Vec<MemberId>,
    /// Every orchestrator of the lab.
    pub orchestrators: Vec<MhoId>,
    /// Safeguards switched off, for tests that prove their worth.
    pub ablations: Ablations,
}

/// Safeguards that a test may switch off. All false in every real run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ablations {
    /// MHOs and members take frames of members that are not admitted.
    pub no_fence: bool,
    /// New owners process at Prepare, without waiting for Activate.
    pub no_barrier: bool,
    /// A woken node goes on as if nothing had happened.
    pub no_self_fence: bool,
    /// ElasticXL: nobody has a lease; orchestrators do without the members' echo of their heartbeats.
    pub no_lease: bool,
    /// A life that was left out may be admitted again.
    pub no_incarnation: bool,
    /// An author never asks what others hold: not when it takes over, not when it is refused.
    pub no_read: bool,
    /// A joiner owns its buckets at once, without a previous owner to ask.
    pub no_previous_owner: bool,
    /// A change deals every bucket anew instead of moving as few as it must.
    pub no_minimal_move: bool,
    /// Connections are never copied to a backup.
    pub no_backup_sync: bool,
    /// Asymmetric connections wait for the sync delay as all others do.
    pub no_sync_at_once: bool,
    /// Every member takes ports from the whole pool.
    pub no_port_ranges: bool,
    /// A joiner is not told which ports of its range are in use.
    pub no_port_learning: bool,
    /// Whoever applies an entry tells the others of it.
    pub no_echo_guard: bool,
}
