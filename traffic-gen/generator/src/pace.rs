//! When to look again: block while there is nothing to do, poll on a timer while there is.

use std::time::Duration;

use scalebed_engine::Instant;

/// Time between two looks under load. A wake-up for each packet costs more than the packet (a wake-up across CPUs takes
/// 100 us), and a thread under SCHED_FIFO that never sleeps is throttled.
pub const TICK: Duration = Duration::from_micros(200);
/// So long after the last frame, sent or received, it still counts as loaded.
const LOADED: Duration = Duration::from_millis(1);
/// A loop that ran later than this says so.
pub const STALL: Duration = Duration::from_millis(25);

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Wake up when a frame comes? Under load the next look is soon enough.
    pub on_frames: bool,
    /// Wake up after this in any case.
    pub timeout: Duration,
}

/// Decides how long to wait, and sees when a wait took too long.
#[derive(Debug)]
pub struct Pace {
    last_frame: Instant,
    planned: Instant,
}

impl Pace {
    /// Idle since `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { last_frame: Instant(0), planned: now }
    }

    /// Frames were sent or received.
    pub fn on_frames(&mut self, now: Instant) {
        self.last_frame = now;
    }

    /// How to wait for the engine's `deadline`, and at most until `end`.
    pub fn wait(&mut self, deadline: Option<Instant>, end: Instant, now: Instant) -> Wait {
        let deadline = deadline.map_or(end, |deadline| deadline.min(end));
        let left = deadline.since(now);
        let is_loaded = self.last_frame.0 > 0 && now.since(self.last_frame) < LOADED;
        // Under load all that falls due within a tick goes out together at its end. What is overdue does not wait: there
        // was more than one batch of it.
        let timeout = if is_loaded && !left.is_zero() { TICK } else { left };
        self.planned = now + timeout;
        Wait { on_frames: !is_loaded, timeout }
    }

    /// The wait is over. `Some`: it, and all the work since it was planned, took so much longer than it should have.
    #[must_use]
    pub fn late(&self, now: Instant) -> Option<Duration> {
        Some(now.since(self.planned)).filter(|&late| late > STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Instant = Instant(10_000_000_000);

    #[test]
    fn idle_it_blocks_until_the_deadline_or_the_end_or_a_frame() {
        let mut pace = Pace::new(Instant(0));
        let wait = |pace: &mut Pace, deadline| pace.wait(deadline, END, Instant(9_000_000_000));
        let at = |timeout| Wait { on_frames: true, timeout };
        assert_eq!(wait(&mut pace, Some(Instant(9_000_500_000))), at(Duration::from_micros(500)));
        assert_eq!(wait(&mut pace, Some(Instant(8_000_000_000))), at(Duration::ZERO));
        assert_eq!(wait(&mut pace, Some(Instant(11_000_000_000))), at(Duration::from_secs(1)));
        assert_eq!(wait(&mut pace, None), at(Duration::from_secs(1)));
    }

    #[test]
    fn loaded_it_looks_each_tick_whatever_comes() {
        let mut pace = Pace::new(Instant(0));
        pace.on_frames(Instant(1_000_000));
        let loaded = Wait { on_frames: false, timeout: TICK };
        assert_eq!(pace.wait(Some(Instant(1_500_000)), END, Instant(1_400_000)), loaded);
        assert_eq!(pace.wait(Some(Instant(1_400_001)), END, Instant(1_400_000)), loaded);
        assert_eq!(pace.wait(Some(Instant(1_400_000)), END, Instant(1_400_000)).timeout, Duration::ZERO);
        assert!(pace.wait(None, END, Instant(2_000_000)).on_frames, "a millisecond later it is idle again");
    }

    #[test]
    fn a_wait_that_took_too_long_is_told() {
        let mut pace = Pace::new(Instant(0));
        pace.wait(Some(Instant(1_000)), END, Instant(0));
        assert_eq!(pace.late(Instant(25_001_000)), None);
        assert_eq!(pace.late(Instant(25_001_001)), Some(Duration::from_nanos(25_000_001)));
        assert_eq!(pace.late(Instant(500)), None, "a frame came earlier");
    }
}
