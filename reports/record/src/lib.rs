//! The data of a run: history, operations, observations, verdicts, the record.
