//! The Security Gateway Module: connections, TCP tracking, rulebase, NAT, ownership, correction, HyperSync.
//!
//! One engine serves both architectures: behind orchestrators it lives on its downlinks, in ElasticXL on data ports and
//! the sync network. `nodes/pivot` adds the pivot's decision.

mod audit;
mod counters;
mod emit;
mod engine;
mod errors;
mod footprint;
mod fragments;
mod intake;
mod limits;
mod membership;
mod moves;
mod nat;
mod neighbours;
mod packet;
mod path;
mod rulebase;
mod sharing;
mod stream;
mod table;
mod tracking;
mod waiting;

#[cfg(test)]
mod tests;

pub use counters::{Count, Fate, Reason};
pub use engine::Gateway;
pub use footprint::Footprint;
pub use path::{Decide, Entering, Known};
