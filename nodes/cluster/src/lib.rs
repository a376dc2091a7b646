//! Who is alive and who leads: member states, heartbeats, election, and the agreement on the matrix with its fence and
//! barrier. Knows nothing of flows.
//!
//! [`ClusterMember`] is composed into a gateway engine, [`ClusterOrchestrator`] into an orchestrator engine. Both are
//! pure: messages and time in, [`Step`]s out.

mod author;
mod barrier;
mod config;
mod follow;
mod held;
mod join;
mod judge;
mod lease;
mod member;
mod orchestrator;
mod paths;
mod peers;
mod ports;
mod read;
mod step;
pub mod wrap;

/// The part of the agreement that needs no time: the model in `tests/model` runs it in every state that faults can lead to.
pub mod pieces {
    pub use crate::held::{Answer, Held};
}

pub use config::{Ablations, LIVES_A_START, NodeConfig};
pub use member::ClusterMember;
pub use orchestrator::ClusterOrchestrator;
pub use step::{Port, Step};
