//! Engines on cables in virtual time. Knows only `dyn Engine`.
//!
//! The bench of every engine test and the heart of the simulated world. Handling costs no time; a frame takes its
//! cable's delay. What happens at the same instant happens in the order in which it was planned, so a run is a function
//! of its engines, cables, faults and seed.
//!
//! Cables behave as veth pairs do: carrier is there while both ends are up and nobody pulled the cable. A frame that
//! was put in comes out of the other end (unless the cable's rule loses it), is seen there by taps and counted, and
//! only then vanishes if nobody is there to read it. A frame sent without carrier was never put in.

mod fabric;
mod faults;
mod inspect;
mod node;
mod queue;
mod record;

pub use fabric::{CableIndex, Deliver, Fabric, Ledger, NodeIndex, Offer};
pub use node::{Losses, Process};
pub use record::Keep;
pub use scalebed_cable::{DEFAULT_DELAY, Rules, Settings};

#[cfg(test)]
mod tests;
