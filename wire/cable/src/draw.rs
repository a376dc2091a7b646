//! Drawn numbers: the same for the same frame everywhere.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::rules::{Direction, MILLION};

/// What is drawn: one draw does not shift another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Loss,
    Burst,
    Jitter,
    Reorder,
    Duplicate,
    Corrupt,
    /// Which bit.
    Bit,
    Truncate,
    /// How much of it is left.
    Length,
}

/// Who draws.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    pub seed: u64,
    pub cable: u64,
    pub direction: Direction,
}

impl Draws {
    /// Any 64 bits for frame `index`.
    pub fn bits(self, index: u64, what: What) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.seed, self.cable);
        hasher.write_u8(self.direction as u8);
        hasher.write_u64(index);
        // Loss was there first, without a label: what was recorded of it stays true.
        if what != What::Loss {
            hasher.write_u8(what as u8);
        }
        hasher.finish()
    }

    /// A number below `limit`, without modulo's bias and its division.
    pub fn below(self, index: u64, what: What, limit: u64) -> u64 {
        let scaled = (u128::from(self.bits(index, what)) * u128::from(limit)) >> 64;
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// Does what happens to so many frames of a million happen to this one?
    pub fn happens(self, index: u64, what: What, per_million: u32) -> bool {
        per_million > 0 && self.below(index, what, MILLION.into()) < u64::from(per_million)
    }
}
