//! The one clock of all processes of a lab, and how socket stamps get to it.

use nix::time::{ClockId, clock_gettime};
use scalebed_engine::Instant;

/// Socket stamps are CLOCK_REALTIME; the distance to CLOCK_MONOTONIC is read again after so long, ns.
const REFRESH: u64 = 1_000_000_000;

/// CLOCK_MONOTONIC, which all namespaces of a machine share.
#[must_use]
pub fn monotonic() -> Instant {
    Instant(read(ClockId::CLOCK_MONOTONIC))
}

/// Linux gives both clocks to everybody; 0 would be a broken kernel, not an input.
fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| {
        let (seconds, nanos) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
        seconds * 1_000_000_000 + nanos
    })
}

/// The distance between the clocks, by a read of one between two reads of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset {
    realtime_ahead: u64,
    taken: u64,
}

impl Offset {
    pub(crate) fn now() -> Self {
        // The tightest of three brackets: a preemption in between would shift every stamp.
        let bracket = |_| {
            let before = read(ClockId::CLOCK_MONOTONIC);
            let real = read(ClockId::CLOCK_REALTIME);
            let after = read(ClockId::CLOCK_MONOTONIC);
            (after.saturating_sub(before), real.saturating_sub(before.midpoint(after)), after)
        };
        let (_, realtime_ahead, taken) = (0..3).map(bracket).min().unwrap_or_default();
        Self { realtime_ahead, taken }
    }

    pub(crate) fn refresh(&mut self, now: Instant) {
        if now.0.saturating_sub(self.taken) >= REFRESH {
            *self = Self::now();
        }
    }

    pub(crate) const fn to_monotonic(self, real: u64) -> Instant {
        Instant(real.saturating_sub(self.realtime_ahead))
    }
}

#[cfg(test)]
mod tests {
    use nix::time::ClockId;
    use scalebed_engine::Instant;

    use super::{Offset, REFRESH, monotonic, read};

    /// Far above what the bracket is wide, far below what a wrong conversion would give, ns.
    const SLACK: u64 = 1_000_000;

    #[test]
    fn a_realtime_stamp_becomes_the_monotonic_instant_of_the_same_moment() {
        let offset = Offset::now();
        let before = monotonic().0;
        let stamp = offset.to_monotonic(read(ClockId::CLOCK_REALTIME)).0;
        let after = monotonic().0;
        assert!(before <= stamp + SLACK && stamp <= after + SLACK, "{before} {stamp} {after}");
    }

    #[test]
    fn a_wrong_distance_is_read_again_after_a_second_and_not_before() {
        let mut offset = Offset { realtime_ahead: 7, taken: 1000 };
        offset.refresh(Instant(1000 + REFRESH - 1));
        assert_eq!(offset.realtime_ahead, 7);
        offset.refresh(Instant(1000 + REFRESH));
        let fresh = Offset::now();
        assert!(offset.realtime_ahead.abs_diff(fresh.realtime_ahead) < SLACK, "{offset:?} {fresh:?}");
    }
}
