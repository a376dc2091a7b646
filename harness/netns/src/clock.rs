//! CLOCK_MONOTONIC, which all namespaces share, and how packet stamps (CLOCK_REALTIME) become it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Bracketed reads are repeated so often and the narrowest bracket taken: a preempted one is up to milliseconds wide.
const TRIES: usize = 5;
/// How often the offset is read anew.
const REFRESH: Duration = Duration::from_secs(1);

/// CLOCK_MONOTONIC, ns.
#[must_use]
pub fn monotonic() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The kernel gives both clocks to everybody on Linux; 0 would be a broken kernel, not an input.
fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// REALTIME - MONOTONIC, kept fresh by [`Self::refresh`].
#[derive(Debug)]
pub struct Offset {
    /// ns; u64 because REALTIME is far ahead of a boot-relative clock.
    real_minus_monotonic: u64,
    taken: u64,
    /// Largest change between two reads, ns.
    step: u64,
}

impl Offset {
    /// Reads both clocks.
    pub fn now() -> Self {
        let (real_minus_monotonic, taken) = bracketed();
        Self { real_minus_monotonic, taken, step: 0 }
    }

    /// Reads both clocks again if the last read is a second old.
    pub fn refresh(&mut self) {
        if monotonic().saturating_sub(self.taken) >= u64::try_from(REFRESH.as_nanos()).unwrap_or(u64::MAX) {
            let (offset, taken) = bracketed();
            self.step = self.step.max(offset.abs_diff(self.real_minus_monotonic));
            (self.real_minus_monotonic, self.taken) = (offset, taken);
        }
    }

    /// The monotonic time of a CLOCK_REALTIME stamp.
    pub fn to_monotonic(&self, real: u64) -> u64 {
        real.saturating_sub(self.real_minus_monotonic)
    }

    /// Largest change of the offset between two reads, ns: slewing is microseconds, a step makes stamps wrong.
    pub fn step(&self) -> u64 {
        self.step
    }
}

/// The offset by the narrowest of some bracketed reads, and when it was taken.
fn bracketed() -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..TRIES {
        let before = monotonic();
        let real = read(ClockId::CLOCK_REALTIME);
        let after = monotonic();
        let width = after.saturating_sub(before);
        if width < best.0 {
            let middle = before + width / 2;
            best = (width, real.saturating_sub(middle), middle);
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use super::{Offset, monotonic, read};
    use nix::time::ClockId;

    #[test]
    fn a_realtime_stamp_becomes_the_monotonic_time_of_the_same_moment() {
        let offset = Offset::now();
        let before = monotonic();
        let real = read(ClockId::CLOCK_REALTIME);
        let after = monotonic();
        let converted = offset.to_monotonic(real);
        // 1 ms: far above the bracket, far below what a forgotten conversion would give.
        assert!(converted + 1_000_000 > before && converted < after + 1_000_000, "{before} {converted} {after}");
    }
}
