//! `scalebed bench`: what the chain does, as ratios in one run.

use crate::exit::{self, Failure};

/// Prints the bench's tables.
///
/// # Errors
/// The bench cannot run here.
pub fn bench() -> Result<u8, Failure> {
    Err(Failure::new(exit::CAPABILITY, "the bench is not built yet"))
}
