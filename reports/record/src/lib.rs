//! The data of a run: the history (what was done and declared, when), observations (what taps saw), verdicts, and the
//! record that reports are made of.

pub mod comparison;
pub mod history;
pub mod observation;
pub mod record;
pub mod traffic;
pub mod verdict;

pub use comparison::Comparison;
pub use history::{Entry, Fact, History};
pub use observation::{Observation, Probe, TapId};
pub use record::Record;
pub use traffic::{FlowKind, FlowSpec, Schedule, Shape};
pub use verdict::{Outcome, Verdict};
