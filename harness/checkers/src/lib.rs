//! Every verdict and metric, packet classes and the ledger. Imports no node code.
//!
//! `(Lab, Scenario, History, Observations) -> (Verdicts, Record)`, pure: the same evidence gives the same judgement. What
//! each number means is defined by the project's measurement rules; a [`Checker`] is one rule or a few that share their
//! arithmetic. Evidence is what taps saw (class T) before what nodes declared (class D).

use scalebed_record::{History, Observation, Outcome, Record, Verdict};
use scalebed_topologies::Lab;
use scalebed_topologies::scenario::Scenario;

mod bindings;
mod checks;
pub mod decisions;
mod epochs;
mod events;
mod evidence;
mod full;
mod inside;
pub mod invariants;
mod journey;
pub mod last_man;
mod lives;
mod losses;
mod numbers;
pub mod observe;
pub mod oracle;
mod packets;
mod places;
mod recording;
mod states;

#[cfg(test)]
mod tests;

pub use checks::stalled;
pub use evidence::Evidence;
pub use recording::topology;

/// Everything that a run leaves.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The lab, the scenario's changes to its group applied.
    pub lab: &'a Lab,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// What was done and declared, in order of time.
    pub history: &'a History,
    /// What taps saw, in any order.
    pub observations: &'a [Observation],
    /// `netns` or `sim`.
    pub world: &'a str,
    /// The run's seed.
    pub seed: u64,
}

/// What the judge says.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Every verdict, in the order of the checks.
    pub verdicts: Vec<Verdict>,
    /// The measured parts of the record; it carries the verdicts too.
    pub record: Record,
}

/// One rule, or a few that share their arithmetic.
pub trait Checker {
    /// Its name, kebab-case; its verdicts may have names of their own.
    fn name(&self) -> &'static str;

    /// Holds the evidence against the rule. Nothing to say of this scenario: no verdict.
    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict>;
}

/// Judges a run. A run without a schedule is invalid: nothing was offered.
#[must_use]
pub fn judge(input: &Input<'_>) -> Judgement {
    let Some(evidence) = Evidence::of(input) else {
        let verdict = Verdict {
            check: "evidence".to_owned(),
            outcome: Outcome::Invalid("the history has no schedule: no traffic was offered".to_owned()),
            value: String::new(),
            accuracy: String::new(),
            limit: "a schedule".to_owned(),
        };
        let record = Record { verdicts: vec![verdict.clone()], ..recording::empty(input) };
        return Judgement { verdicts: vec![verdict], record };
    };
    let mut verdicts: Vec<Verdict> = checks::all().iter().flat_map(|checker| checker.check(&evidence)).collect();
    checks::excuse(&evidence, &mut verdicts);
    let record = Record { verdicts: verdicts.clone(), ..recording::record(&evidence) };
    Judgement { verdicts, record }
}
