//! The checkers, in the order of a report.

use scalebed_record::{Outcome, Verdict};

use crate::Checker;

mod agreement;
mod cables;
mod convergence;
mod decisions;
mod distribution;
mod fence;
mod forwarding;
mod hosts;
mod ledger;
mod loss;
mod machine;
pub(crate) mod matrices;
pub(crate) mod nat;
mod policy;
pub(crate) mod survival;
pub(crate) mod symmetry;
mod tester;
mod transfers;

pub(crate) use convergence::measure;
pub(crate) use distribution::{corrections, spread};
pub(crate) use fence::is_control;
pub(crate) use hosts::family;
pub(crate) use machine::excuse;
pub use tester::stalled;

/// A verdict shows at most so many pieces of evidence.
pub const SHOWN: usize = 20;

/// Every checker.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(tester::Tester),
        Box::new(ledger::Ledger),
        Box::new(decisions::Decisions),
        Box::new(loss::ZeroLoss),
        Box::new(loss::Classes),
        Box::new(forwarding::Forwarding),
        Box::new(symmetry::Symmetry),
        Box::new(distribution::Dealing),
        Box::new(distribution::Evenness),
        Box::new(distribution::Correction),
        Box::new(cables::Cables),
        Box::new(convergence::Convergence),
        Box::new(convergence::Bar),
        Box::new(survival::Survival),
        Box::new(transfers::Transfers),
        Box::new(hosts::Hosts),
        Box::new(nat::Nat),
        Box::new(matrices::Disruption),
        Box::new(agreement::Generations),
        Box::new(agreement::Promises),
        Box::new(fence::SelfFence),
        Box::new(fence::SyncNetwork),
        Box::new(policy::Denied),
    ]
}

/// Those that hold under any faults, symmetry aside.
pub fn standing() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(forwarding::Forwarding),
        Box::new(matrices::Disruption),
        Box::new(agreement::Promises),
        Box::new(fence::SelfFence),
        Box::new(fence::SyncNetwork),
        Box::new(nat::Leak),
    ]
}

/// The verdict on what the policy denies, if there is such traffic.
pub fn denied(evidence: &crate::Evidence<'_>) -> Vec<Verdict> {
    policy::Denied.check(evidence)
}

/// The ledger's verdict.
pub fn ledger(evidence: &crate::Evidence<'_>) -> Verdict {
    ledger::verdict(evidence)
}

/// A verdict being written.
pub struct Said {
    verdict: Verdict,
}

impl Said {
    /// A verdict of this check with its bar; passes unless told otherwise.
    pub fn of(check: &str, limit: impl Into<String>) -> Self {
        let verdict = Verdict {
            check: check.to_owned(),
            outcome: Outcome::Pass,
            value: String::new(),
            accuracy: String::new(),
            limit: limit.into(),
        };
        Self { verdict }
    }

    /// The measured value.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.verdict.value = value.into();
        self
    }

    /// Its accuracy.
    pub fn accuracy(mut self, accuracy: impl Into<String>) -> Self {
        self.verdict.accuracy = accuracy.into();
        self
    }

    /// Nothing can be said, for this reason. A fail found before or after stays a fail.
    pub fn invalid_if(mut self, reason: Option<String>) -> Self {
        if let (Some(reason), Outcome::Pass) = (reason, &self.verdict.outcome) {
            self.verdict.outcome = Outcome::Invalid(reason);
        }
        self
    }

    /// Fails if there is evidence; at most [`SHOWN`] pieces are kept, the rest is counted.
    pub fn fail_if(mut self, mut evidence: Vec<String>) -> Self {
        let more = evidence.len().saturating_sub(SHOWN);
        if !evidence.is_empty() {
            evidence.truncate(SHOWN);
            if more > 0 {
                evidence.push(format!("and {more} more"));
            }
            self.verdict.outcome = Outcome::Fail(evidence);
        }
        self
    }

    /// The verdict.
    pub fn done(self) -> Verdict {
        self.verdict
    }
}
