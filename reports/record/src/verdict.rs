//! Verdicts: pass, fail with evidence, or invalid with the reason why nothing can be said.

use serde::{Deserialize, Serialize};

/// Three values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Holds.
    Pass,
    /// Does not hold; the evidence, most telling first.
    Fail(Vec<String>),
    /// The tester was not fit to judge, or the run never exercised what it is about (vacuous).
    Invalid(String),
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The check, kebab-case: `symmetry-l2`, `ledger`, `convergence`, ...
    pub check: String,
    /// What it says.
    pub outcome: Outcome,
    /// The measured value, for people: `100 % of 1,968 flows`.
    pub value: String,
    /// Its accuracy: `+-5 ms`; empty where it is exact.
    pub accuracy: String,
    /// The bar: `100 %`.
    pub limit: String,
}
