//! How late packets left, in buckets of a microsecond.

/// Buckets: a packet that is later than [`crate::STALL`] is skipped, not sent, so this is enough.
const BUCKETS: usize = 2_001;

/// A histogram of lateness.
#[derive(Debug)]
pub(crate) struct Lateness {
    counts: Vec<u32>,
    total: u64,
    worst: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, worst: 0 }
    }
}

impl Lateness {
    /// A packet left `late` ns after it was due.
    pub(crate) fn take(&mut self, late: u64) {
        let bucket = usize::try_from(late / 1_000).unwrap_or(usize::MAX).min(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
        self.worst = self.worst.max(late);
    }

    /// The worst, ns.
    pub(crate) const fn worst(&self) -> u64 {
        self.worst
    }

    /// The 99th percentile, ns: the upper edge of its bucket, or the worst if that is less.
    pub(crate) fn p99(&self) -> u64 {
        let rank = (self.total * 99).div_ceil(100);
        let mut seen = 0;
        for (edge, &count) in (1_000u64..).step_by(1_000).zip(&self.counts) {
            seen += u64::from(count);
            if seen >= rank {
                return edge.min(self.worst);
            }
        }
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::Lateness;

    #[test]
    fn percentile_and_worst() {
        let mut lateness = Lateness::default();
        assert_eq!((lateness.p99(), lateness.worst()), (0, 0));
        (0..990).for_each(|_| lateness.take(4_500));
        (0..10).for_each(|_| lateness.take(1_900_000));
        assert_eq!((lateness.p99(), lateness.worst()), (5_000, 1_900_000));
        lateness.take(1_900_000);
        assert_eq!(lateness.p99(), 1_900_000);
    }
}
