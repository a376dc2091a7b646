//! One direction of a cable, frame after frame.

use std::ops::Range;
use std::time::Duration;

use crate::draw::{Draws, What};
use crate::rules::{Direction, Rules};

const SECOND: u128 = 1_000_000_000;
/// Both MAC addresses, bytes; the EtherType is behind them.
const ADDRESSES: usize = 12;
const IPV6: [u8; 2] = [0x86, 0xdd];
/// EtherType of the internal cables' header, and its bytes.
const SHIM: [u8; 2] = [0x88, 0xb5];
const SHIM_LENGTH: usize = 16;
/// Of Ethernet.
const HEADER: usize = 14;

/// Why a frame never comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// The cable is cut.
    Cut,
    /// Lost by itself.
    Random,
    /// Lost in a burst.
    Burst,
    /// No room in the queue before the rate.
    QueueFull,
}

impl Loss {
    /// Every reason, in order.
    pub const ALL: [Self; 4] = [Self::Cut, Self::Random, Self::Burst, Self::QueueFull];

    /// Its name in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Random => "loss",
            Self::Burst => "burst",
            Self::QueueFull => "queue-full",
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never comes out.
    Lost(Loss),
    /// It comes out.
    Passes {
        /// So much after it was put in.
        after: Duration,
        /// Twice, one right behind the other.
        twice: bool,
        /// With a flipped bit: give this to [`flip`].
        corrupt: Option<u64>,
        /// Cut short: [`shortened`] says to what length. Its bit was flipped before that.
        truncate: Option<u64>,
        /// It was held back for others to overtake it.
        held_back: bool,
    },
}

/// One direction of a cable: what it must remember between frames. Instants are ns of any clock that does not step back.
#[derive(Clone, Debug)]
pub struct Line {
    draws: Draws,
    /// Frames that were put in, from 0.
    index: u64,
    /// In a burst.
    bad: bool,
    /// When the rate has sent all that waits.
    free_at: u64,
    /// When the last frame that keeps its order comes out.
    last_out: u64,
}

impl Line {
    /// A line over which nothing went yet.
    #[must_use]
    pub const fn new(seed: u64, cable: u64, direction: Direction) -> Self {
        Self { draws: Draws { seed, cable, direction }, index: 0, bad: false, free_at: 0, last_out: 0 }
    }

    /// Which way it leads.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.draws.direction
    }

    /// Frames that were put in.
    #[must_use]
    pub const fn offered(&self) -> u64 {
        self.index
    }

    /// Decides on the next frame, of `length` bytes, put in at `now`.
    pub fn offer(&mut self, rules: &Rules, now: u64, length: usize) -> Fate {
        let (draws, index) = (self.draws, self.index);
        self.index += 1;
        // The state of a burst goes on whatever else befalls the frame: it depends on the index alone.
        self.bad = rules.burst.is_some_and(|burst| {
            let turn = if self.bad { burst.leave } else { burst.enter };
            self.bad != draws.happens(index, What::Burst, turn)
        });
        if rules.cut {
            return Fate::Lost(Loss::Cut);
        }
        if draws.happens(index, What::Loss, rules.loss) {
            return Fate::Lost(Loss::Random);
        }
        if self.bad {
            return Fate::Lost(Loss::Burst);
        }
        let Some(sent) = self.sent(rules, now, length) else { return Fate::Lost(Loss::QueueFull) };
        let held_back = draws.happens(index, What::Reorder, rules.reorder.per_million);
        let mut out = sent.saturating_add(nanos(self.delay(rules, index)));
        if held_back {
            out = out.saturating_add(nanos(rules.reorder.by));
        } else {
            out = out.max(self.last_out);
            self.last_out = out;
        }
        Fate::Passes {
            after: Duration::from_nanos(out.saturating_sub(now)),
            twice: draws.happens(index, What::Duplicate, rules.duplicate),
            corrupt: draws.happens(index, What::Corrupt, rules.corrupt).then(|| draws.bits(index, What::Bit)),
            truncate: draws.happens(index, What::Truncate, rules.truncate).then(|| draws.bits(index, What::Length)),
            held_back,
        }
    }

    /// When the last bit of a frame has left the queue; `None`: it does not fit in.
    fn sent(&mut self, rules: &Rules, now: u64, length: usize) -> Option<u64> {
        let Some(rate) = rules.rate else { return Some(now) };
        let per_second = u128::from(rate.bits_per_second);
        let waiting = u128::from(self.free_at.saturating_sub(now)) * per_second / (8 * SECOND);
        if per_second == 0 || waiting + length as u128 > u128::from(rate.queue_bytes) {
            return None;
        }
        let takes = (length as u128 * 8 * SECOND).div_ceil(per_second);
        self.free_at = self.free_at.max(now).saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.free_at)
    }

    fn delay(&self, rules: &Rules, index: u64) -> Duration {
        if rules.jitter.is_zero() {
            return rules.delay;
        }
        let span = nanos(rules.jitter).saturating_mul(2).saturating_add(1);
        let drawn = Duration::from_nanos(self.draws.below(index, What::Jitter, span));
        rules.delay.saturating_add(drawn).saturating_sub(rules.jitter)
    }
}

/// Sets one bit that was clear: the one that was drawn or the next such one, anywhere behind the MAC addresses but in the
/// first 8 bytes of an IPv6 header. No checksum covers those (RFC 8200), so that with another hop limit it would be a sound
/// frame, not a damaged one. A frame that has nothing there, or nothing clear, stays.
///
/// Bits are only set, never cleared, for the same reason: a packet may pass such a cable twice on its way, and a bit set and
/// another cleared in the same column of 16 leave the Internet checksum (RFC 1071) as it was. Bits that are set add up to
/// something that is no multiple of 2^16 - 1 as long as they are fewer than 16, whatever a router did to the packet in
/// between.
pub fn flip(frame: &mut [u8], drawn: u64) {
    let spared = uncovered(frame).filter(|spared| spared.end < frame.len());
    let bytes = frame.len().saturating_sub(ADDRESSES + spared.as_ref().map_or(0, Range::len));
    let bits = bytes * 8;
    let first = usize::try_from((u128::from(drawn) * bits as u128) >> 64).unwrap_or(0);
    let place = |bit: usize| {
        let at = ADDRESSES + bit / 8;
        let at = at + spared.as_ref().filter(|spared| at >= spared.start).map_or(0, Range::len);
        (at, 1u8 << (bit % 8))
    };
    let clear = (first..bits).chain(0..first).map(place).find(|(at, bit)| frame[*at] & bit == 0);
    if let Some((at, bit)) = clear {
        frame[at] |= bit;
    }
}

/// Of a frame of IPv6: version, traffic class, flow label, payload length, next header and hop limit.
fn uncovered(frame: &[u8]) -> Option<Range<usize>> {
    let is = |at: usize, ethertype: [u8; 2]| frame.get(at..at + 2) == Some(&ethertype[..]);
    // Behind our own shim the packet's EtherType comes again.
    let at = if is(ADDRESSES, SHIM) { ADDRESSES + SHIM_LENGTH } else { ADDRESSES };
    is(at, IPV6).then_some(at + 2..at + 10)
}

/// What is left of a frame of this length that is cut short as was drawn: at least its Ethernet header, and never all. One
/// that has no more than that stays.
#[must_use]
pub fn shortened(length: usize, drawn: u64) -> usize {
    let body = length.saturating_sub(HEADER);
    length.min(HEADER) + usize::try_from((u128::from(drawn) * body as u128) >> 64).unwrap_or(0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
