//! Two architectures side by side: the table of the field, row by row, each cell with the evidence behind it.

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// The same workload and faults on both labs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Seed of every run.
    pub seed: u64,
    /// The command that repeats the comparison.
    pub command: String,
    /// The table, in order.
    pub rows: Vec<Row>,
    /// Every run's record, ElasticXL first.
    pub records: Vec<Record>,
    /// Every run's own report, relative to the comparison's directory; the index is that of `records`.
    pub reports: Vec<String>,
}

/// One aspect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is compared.
    pub aspect: String,
    /// ElasticXL's side.
    pub elasticxl: Cell,
    /// Maestro's side.
    pub maestro: Cell,
}

/// One side of a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The measured value, for people, with its unit; or `not built yet`.
    pub value: String,
    /// The report that shows it, relative to the comparison's directory; empty where no run stands behind it.
    pub evidence: String,
}
