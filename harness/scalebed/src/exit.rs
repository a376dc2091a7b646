//! Exit codes: documented constants (README.md has the same table).

/// Everything passed.
pub const PASS: u8 = 0;
/// A bug of ours, a panic too.
pub const BUG: u8 = 1;
/// Wrong usage of the command line.
pub const USAGE: u8 = 2;
/// A verdict failed.
pub const FAIL: u8 = 20;
/// A verdict is invalid or vacuous: nothing can be said.
pub const INVALID: u8 = 21;
/// A lab or scenario file is invalid. Nothing was created.
pub const BAD_FILE: u8 = 22;
/// The plan could not be applied. What was created is gone again.
pub const APPLY: u8 = 23;
/// A required capability of the machine is missing.
pub const CAPABILITY: u8 = 24;
/// Teardown left something behind.
pub const TEARDOWN: u8 = 25;
/// No such lab is up.
pub const NOT_UP: u8 = 26;
/// Interrupted, after cleaning up.
pub const INTERRUPTED: u8 = 130;

/// An error that knows its exit code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// One of the codes above.
    pub code: u8,
    /// What is wrong, for people.
    pub text: String,
}

impl Failure {
    /// A failure with this code.
    #[must_use]
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}
