//! Seeded randomness by label: taking one consumer away does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// A stream of random numbers that is the same on every machine and version.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of `label` under `seed`.
    #[must_use]
    pub fn new(seed: u64, label: &str) -> Self {
        use std::hash::Hasher as _;
        let mut key = [0; 32];
        for (word, place) in key.chunks_exact_mut(8).enumerate() {
            let mut hasher = siphasher::sip::SipHasher24::new_with_keys(seed, word as u64);
            hasher.write(label.as_bytes());
            place.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound` (0 for a bound of 0). The bias of at most bound / 2^64 is of no matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn streams_differ_by_label_and_seed_and_repeat() {
        let first = |seed, label| Rng::new(seed, label).next_u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
        let mut rng = Rng::new(7, "below");
        assert!((0..1000).all(|_| rng.below(10) < 10));
    }
}
