//! What the rules of impaired cables were to do, recomputed from the frames that were put in, and held frame by frame
//! against what taps saw come out. Both worlds call this. Whoever carries the rules out is asked for nothing but what it
//! was given, and when: what it did with it is what taps saw.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;

use scalebed_cable::{Direction, Fate, Line, Rules, flip, shortened};
use scalebed_record::TapId;
use scalebed_record::history::{Decided, Reordered};
use siphasher::sip::SipHasher13;

use crate::evidence::MS;

/// Taps keep so much of a frame: what lies behind cannot be compared.
const KEPT: usize = 256;
/// Where a frame is missing or strange, the next that is as expected is looked for among so many.
const LOOK: usize = 64;
/// A carrier that came or went was noticed within so much.
const NOTICED: u64 = 25 * MS;
/// So many deviations of a cable are told in words.
const TOLD: usize = 5;

/// A frame at a tap behind an impaired cable: when, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// By the kernel's stamp (virtual time on the fabric), ns.
    pub at: u64,
    /// [`print`] of it.
    pub print: u64,
}

/// By this a frame is known again: its length, and what taps keep of it.
#[must_use]
pub fn print(length: u32, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u32(length);
    hasher.write(&bytes[..bytes.len().min(KEPT)]);
    hasher.finish()
}

fn print_of(frame: &[u8]) -> u64 {
    print(u32::try_from(frame.len()).unwrap_or(u32::MAX), frame)
}

/// A frame that is to come out.
#[derive(Clone, Copy, Debug)]
struct Out {
    /// Its number among those that were put in, from 0.
    index: u64,
    print: u64,
    /// When the rules let it go.
    at: u64,
    /// When whoever carries them out could let it go: what it was given late goes late.
    gone: u64,
    /// The carrier went while it waited.
    lost_carrier: bool,
}

/// One way over one cable.
#[derive(Debug)]
struct Way {
    line: Line,
    /// By release time, then by arrival.
    waiting: BTreeMap<(u64, u64), Out>,
    out: Vec<Out>,
    said: Decided,
    /// The share that the last frame was under.
    reorders: u32,
}

/// What impaired cables were to do.
#[derive(Debug, Default)]
pub struct Decisions {
    /// By the tap where frames come out.
    ways: BTreeMap<TapId, Way>,
    arrivals: u64,
    /// By cable: the ends without carrier.
    down: BTreeMap<u16, BTreeSet<bool>>,
    /// By cable, ends aside: since when it has no carrier, and until when.
    silent: BTreeMap<u16, Vec<(u64, u64)>>,
}

impl Decisions {
    /// Cables over which nothing went yet.
    #[must_use]
    pub fn of(seed: u64, cables: impl IntoIterator<Item = u16>) -> Self {
        let both = cables.into_iter().flat_map(|cable| [true, false].map(|to_b| (cable, to_b)));
        let way = |(cable, to_b): (u16, bool)| {
            let direction = if to_b { Direction::ToB } else { Direction::ToA };
            let said = Decided { cable, to_b, ..Decided::default() };
            let line = Line::new(seed, u64::from(cable), direction);
            (TapId::new(cable, to_b), Way { line, waiting: BTreeMap::new(), out: Vec::new(), said, reorders: 0 })
        };
        Self { ways: both.map(way).collect(), ..Self::default() }
    }

    /// A frame was put in, to come out at `out`: received then, and looked at then, ns.
    pub fn put_in(&mut self, out: TapId, rules: &Rules, (received, now): (u64, u64), frame: &[u8]) {
        let Some(way) = self.ways.get_mut(&out) else { return };
        way.pass(now);
        let index = way.line.offered();
        way.said.put_in += 1;
        let fate = way.line.offer(rules, received, frame.len());
        let Fate::Passes { after, twice, corrupt, truncate, held_back } = fate else {
            way.said.lost += 1;
            return;
        };
        let mut seen = print_of(frame);
        if corrupt.is_some() || truncate.is_some() {
            let mut altered = frame.to_vec();
            corrupt.into_iter().for_each(|drawn| flip(&mut altered, drawn));
            way.said.altered += u64::from(corrupt.is_some());
            if let Some(drawn) = truncate {
                let length = shortened(altered.len(), drawn);
                way.said.truncated += u64::from(length < altered.len());
                altered.truncate(length);
            }
            way.said.hidden += u64::from(print_of(&altered) == seen);
            seen = print_of(&altered);
        }
        way.said.doubled += u64::from(twice);
        way.reordered(rules.reorder.per_million, received, held_back);
        let at = received.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        for _ in 0..=u8::from(twice) {
            let one = Out { index, print: seen, at, gone: now, lost_carrier: false };
            way.waiting.insert((at, self.arrivals), one);
            self.arrivals += 1;
        }
        // What is due goes at once: all that was due before has gone.
        way.pass(now);
    }

    /// Whoever carries the rules out looked at its clock: what was due then has gone.
    pub fn pass(&mut self, now: u64) {
        self.ways.values_mut().for_each(|way| way.pass(now));
    }

    /// An end of a cable got or lost its carrier. What was on its way then is lost, and for as long as there is none.
    pub fn carrier(&mut self, cable: u16, at_b: bool, up: bool, now: u64) {
        let down = self.down.entry(cable).or_default();
        let was = down.is_empty();
        if up {
            down.remove(&at_b)
        } else {
            down.insert(at_b)
        };
        let is = down.is_empty();
        let silent = self.silent.entry(cable).or_default();
        match (was, is, silent.last_mut()) {
            (true, false, _) => silent.push((now, u64::MAX)),
            (false, true, Some((_, until))) => *until = now,
            _ => {}
        }
        if !up {
            let ways = self.ways.iter_mut().filter(|(tap, _)| tap.cable() == cable);
            ways.flat_map(|(_, way)| way.waiting.values_mut()).for_each(|out| out.lost_carrier = true);
        }
    }

    /// Holds what was to come out against what came. `early`: frames may come so much before their time, by the accuracy
    /// of stamps, ns.
    #[must_use]
    pub fn held_against(mut self, came: &BTreeMap<TapId, Vec<Came>>, early: u64) -> Vec<Decided> {
        self.pass(u64::MAX);
        let Self { ways, silent, .. } = self;
        let of_way = |(tap, way): (TapId, Way)| {
            let silent = silent.get(&tap.cable()).map_or(&[][..], Vec::as_slice);
            let came = came.get(&tap).map_or(&[][..], Vec::as_slice);
            way.held_against(came, silent, early)
        };
        ways.into_iter().map(of_way).collect()
    }
}

impl Way {
    /// Counts a frame that passed under such a share; another share begins another time.
    fn reordered(&mut self, per_million: u32, at: u64, held_back: bool) {
        let again = self.reorders == per_million;
        self.reorders = per_million;
        if per_million == 0 {
            return;
        }
        let times = &mut self.said.reordered;
        if !again {
            times.push(Reordered { per_million, times: (at, at), ..Reordered::default() });
        }
        if let Some(last) = times.last_mut() {
            (last.times.1, last.passed) = (at, last.passed + 1);
            last.held_back += u64::from(held_back);
        }
    }

    fn pass(&mut self, now: u64) {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let out = first.remove();
            // At the end of everything there is no clock to go by.
            let gone = if now == u64::MAX { out.at } else { now };
            self.out.push(Out { gone, ..out });
        }
    }

    fn held_against(mut self, came: &[Came], silent: &[(u64, u64)], early: u64) -> Decided {
        let out = std::mem::take(&mut self.out);
        let excused = |one: &Out| one.lost_carrier || without_carrier(silent, one.gone);
        let (mut next, mut lateness) = (0, Vec::with_capacity(came.len()));
        for (place, one) in out.iter().enumerate() {
            let may_miss = excused(one);
            // What nobody put in, or is not as it was to be.
            while let Some(strange) = came.get(next).filter(|came| !may_miss && came.print != one.print) {
                if is_ahead(&out[place..], strange.print, &excused) {
                    break;
                }
                self.deviates(|| format!("at {} ns came a frame that was not to come", strange.at));
                next += 1;
            }
            match came.get(next).filter(|came| came.print == one.print) {
                Some(came) => {
                    next += 1;
                    lateness.push(came.at.saturating_sub(one.at));
                    if came.at + early < one.at {
                        self.deviates(|| format!("frame {} came {} ns before its time", one.index, one.at - came.at));
                    }
                }
                None if may_miss => self.said.no_carrier += 1,
                None => {
                    self.deviates(|| format!("frame {}, due at {} ns, did not come as it was to", one.index, one.at))
                }
            }
        }
        for strange in &came[next.min(came.len())..] {
            self.deviates(|| format!("at {} ns came a frame that was not to come", strange.at));
        }
        lateness.sort_unstable();
        let nearest = |share: usize| lateness.get((lateness.len() * share).div_ceil(100).saturating_sub(1));
        self.said.late = [99, 100].map(|share| nearest(share).copied().unwrap_or(0));
        self.said
    }

    fn deviates(&mut self, words: impl FnOnce() -> String) {
        self.said.deviates += 1;
        if self.said.first.len() < TOLD {
            self.said.first.push(words());
        }
    }
}

/// Is it to come soon? What may be missing does not count as far.
fn is_ahead(out: &[Out], print: u64, excused: &dyn Fn(&Out) -> bool) -> bool {
    let mut far = 0;
    for later in out {
        if later.print == print {
            return true;
        }
        far += usize::from(!excused(later));
        if far == LOOK {
            return false;
        }
    }
    false
}

/// Was there no carrier then, or did it come or go about then?
fn without_carrier(silent: &[(u64, u64)], at: u64) -> bool {
    silent.iter().any(|(from, until)| (from.saturating_sub(NOTICED)..=until.saturating_add(NOTICED)).contains(&at))
}

#[cfg(test)]
mod tests;
