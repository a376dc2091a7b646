//! The rules of a cable, as they are written and combined.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Delay of a cable that nobody said anything about, one way: a few metres and two network cards.
pub const DEFAULT_DELAY: Duration = Duration::from_micros(10);
/// Shares are written as so many frames of a million.
pub const MILLION: u32 = 1_000_000;

/// Which way a frame goes over a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From end a to end b.
    ToB,
    /// From end b to end a.
    ToA,
}

/// Loss in bursts, the simple model of Gilbert (Bell System Technical Journal 39, 1960, with nothing heard in the bad
/// state): before each frame the line may change between good, where nothing is lost, and bad, where all is. A burst is
/// 1,000,000 / `leave` frames long in the mean, and the share lost in the long run is `enter / (enter + leave)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Burst {
    /// From good to bad, of a million frames.
    pub enter: u32,
    /// From bad to good, of a million frames.
    pub leave: u32,
}

/// Frames that are held back, so that those behind overtake them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reorder {
    /// So many of a million.
    pub per_million: u32,
    /// For so long, beyond delay and jitter.
    pub by: Duration,
}

/// A cap on what goes through, with the queue in front of it. What does not fit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rate {
    /// Bits of frames a second, without preamble and checksum. 0 lets nothing pass.
    pub bits_per_second: u64,
    /// Bytes of frames that may wait, the one on the line included.
    pub queue_bytes: u32,
}

/// What one direction of a cable does to frames, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// Nothing passes though the carrier stays up: a black hole. (A pulled cable is a carrier change, not a rule.)
    pub cut: bool,
    /// So many frames of a million are lost, each decided by itself.
    pub loss: u32,
    /// Loss in bursts.
    pub burst: Option<Burst>,
    /// A cap, and its queue.
    pub rate: Option<Rate>,
    /// Time from one end to the other.
    pub delay: Duration,
    /// The delay of a frame is uniform within so much on both sides of `delay`. Jitter alone keeps the order.
    pub jitter: Duration,
    /// Frames that are overtaken.
    pub reorder: Reorder,
    /// So many of a million come out twice.
    pub duplicate: u32,
    /// So many of a million have one bit behind the MAC addresses flipped, where no checksum of the cable hides it.
    pub corrupt: u32,
    /// So many of a million come out cut short, to any length from an Ethernet header on.
    pub truncate: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            cut: false,
            loss: 0,
            burst: None,
            rate: None,
            delay: DEFAULT_DELAY,
            jitter: Duration::ZERO,
            reorder: Reorder::default(),
            duplicate: 0,
            corrupt: 0,
            truncate: 0,
        }
    }
}

impl Rules {
    /// The black hole.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// Independent loss of so many frames of a million.
    #[must_use]
    pub fn loss(per_million: u32) -> Self {
        Self { loss: per_million, ..Self::default() }
    }

    /// Of two that stand at once: of each kind what hurts more.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let share = |burst: &Burst| {
            u64::from(burst.enter) * u64::from(MILLION) / (u64::from(burst.enter) + u64::from(burst.leave)).max(1)
        };
        let bursts = self.burst.into_iter().chain(other.burst);
        let rates = self.rate.into_iter().chain(other.rate);
        Self {
            cut: self.cut || other.cut,
            loss: self.loss.max(other.loss),
            burst: bursts.max_by_key(share),
            rate: rates.min_by_key(|rate| (rate.bits_per_second, rate.queue_bytes)),
            delay: self.delay.max(other.delay),
            jitter: self.jitter.max(other.jitter),
            reorder: Reorder {
                per_million: self.reorder.per_million.max(other.reorder.per_million),
                by: self.reorder.by.max(other.reorder.by),
            },
            duplicate: self.duplicate.max(other.duplicate),
            corrupt: self.corrupt.max(other.corrupt),
            truncate: self.truncate.max(other.truncate),
        }
    }
}

/// A cable's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What happens to frames from a to b.
    pub to_b: Rules,
    /// What happens to frames from b to a.
    pub to_a: Rules,
}

impl Settings {
    /// The same rules both ways.
    #[must_use]
    pub const fn both_ways(rules: Rules) -> Self {
        Self { to_b: rules, to_a: rules }
    }

    /// The rules of a direction.
    #[must_use]
    pub const fn way(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::ToB => &self.to_b,
            Direction::ToA => &self.to_a,
        }
    }

    /// Of two that stand at once: each way, of each kind what hurts more.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self { to_b: self.to_b.worse(other.to_b), to_a: self.to_a.worse(other.to_a) }
    }
}
