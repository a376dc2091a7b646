//! Rules of a cable: what it does to a frame is a hash of seed, cable, direction and frame index.
//!
//! The decision needs no state and no order, so the simulated world, a wire process and whoever recomputes the ledger
//! afterwards come to the same one. What is here so far: a fixed delay, loss, and a cut that leaves the carrier up.
//! Bursts, jitter, reordering, duplicates, corruption and rates become further rules.

use std::hash::Hasher as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// Delay of a cable that nobody said anything about, one way: a few metres and two network cards.
pub const DEFAULT_DELAY: Duration = Duration::from_micros(10);

/// Which way a frame goes over a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From end a to end b.
    ToB,
    /// From end b to end a.
    ToA,
}

/// What one direction of a cable does to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Everything passes.
    #[default]
    Plain,
    /// Nothing passes though the carrier stays up: a black hole. (A pulled cable is a carrier change, not a rule.)
    Cut,
    /// So many frames of a million are lost, each decided by itself.
    Loss {
        /// 0..=1,000,000.
        per_million: u32,
    },
}

/// A cable's settings. Both directions have the same delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Time from one end to the other.
    pub delay: Duration,
    /// What happens to frames from a to b.
    pub to_b: Rule,
    /// What happens to frames from b to a.
    pub to_a: Rule,
}

impl Default for Settings {
    fn default() -> Self {
        Self { delay: DEFAULT_DELAY, to_b: Rule::Plain, to_a: Rule::Plain }
    }
}

impl Settings {
    /// The same rule both ways.
    #[must_use]
    pub fn both_ways(rule: Rule) -> Self {
        Self { to_b: rule, to_a: rule, ..Self::default() }
    }
}

/// What becomes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// It comes out so much later; `None`: never.
    pub deliver_after: Option<Duration>,
}

/// Decides on frame `index` (counted from 0 in each direction) of cable `cable` under `seed`.
#[must_use]
pub fn decide(seed: u64, cable: u64, settings: &Settings, direction: Direction, index: u64) -> Decision {
    let rule = match direction {
        Direction::ToB => settings.to_b,
        Direction::ToA => settings.to_a,
    };
    let passes = match rule {
        Rule::Plain => true,
        Rule::Cut => false,
        Rule::Loss { per_million } => draw(seed, cable, direction, index) >= u64::from(per_million),
    };
    Decision { deliver_after: passes.then_some(settings.delay) }
}

/// A number below a million, the same for the same frame everywhere.
fn draw(seed: u64, cable: u64, direction: Direction, index: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(seed, cable);
    hasher.write_u8(direction as u8);
    hasher.write_u64(index);
    // Scaling by multiplication is free of modulo's bias and of its division.
    let scaled = (u128::from(hasher.finish()) * 1_000_000) >> 64;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lost(seed: u64, cable: u64, direction: Direction, per_million: u32) -> Vec<u64> {
        let settings = Settings::both_ways(Rule::Loss { per_million });
        (0..100_000).filter(|&i| decide(seed, cable, &settings, direction, i).deliver_after.is_none()).collect()
    }

    #[test]
    fn plain_passes_and_cut_does_not() {
        let plain = decide(1, 2, &Settings::default(), Direction::ToB, 3);
        assert_eq!(plain, Decision { deliver_after: Some(DEFAULT_DELAY) });
        let one_way = Settings { to_b: Rule::Cut, ..Settings::default() };
        assert_eq!(decide(1, 2, &one_way, Direction::ToB, 3), Decision { deliver_after: None });
        assert_eq!(decide(1, 2, &one_way, Direction::ToA, 3), Decision { deliver_after: Some(DEFAULT_DELAY) });
    }

    #[test]
    fn loss_is_as_much_as_was_asked_for() {
        // 100,000 draws at 5 %: the standard deviation is 69.
        let count = lost(7, 0, Direction::ToB, 50_000).len();
        assert!((4_700..=5_300).contains(&count), "{count}");
        assert_eq!(lost(7, 0, Direction::ToB, 0).len(), 0);
        assert_eq!(lost(7, 0, Direction::ToB, 1_000_000).len(), 100_000);
    }

    #[test]
    fn what_is_lost_depends_on_seed_cable_and_direction() {
        let base = lost(7, 0, Direction::ToB, 50_000);
        assert_eq!(base, lost(7, 0, Direction::ToB, 50_000));
        for other in
            [lost(8, 0, Direction::ToB, 50_000), lost(7, 1, Direction::ToB, 50_000), lost(7, 0, Direction::ToA, 50_000)]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_drawn_numbers_never_change() {
        // Recorded runs are recomputed from them: a change here makes every old ledger wrong.
        let first: Vec<u64> = (0..4).map(|i| draw(1, 2, Direction::ToB, i)).collect();
        assert_eq!(first, [538_083, 611_097, 944_272, 177_486]);
    }

    proptest! {
        #[test]
        fn a_higher_loss_loses_all_that_a_lower_one_does(seed: u64, low in 0u32..1_000_000, more in 0u32..1_000_000) {
            let high = (low + more).min(1_000_000);
            for index in 0..64 {
                let passes = |per_million| {
                    let settings = Settings::both_ways(Rule::Loss { per_million });
                    decide(seed, 0, &settings, Direction::ToA, index).deliver_after.is_some()
                };
                prop_assert!(passes(low) || !passes(high));
            }
        }
    }
}
