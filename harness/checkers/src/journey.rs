//! What became of one packet: who let it in, who passed it on, who processed it, and whether it arrived.

use scalebed_frame::shim::MAX_HOP;
use scalebed_frame::{Kind, MhoId};
use scalebed_record::Observation;

use crate::places::{Place, Places, Role};

/// Nobody, where a member's place is meant.
pub const NOBODY: u8 = u8::MAX;

/// A rule of forwarding that a packet broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A member emitted a packet that never entered it.
    FromNowhere(u8),
    /// TTL or hop limit not lower by one after processing.
    Ttl(u8),
    /// A correction or handover changed the packet.
    Altered(u8),
    /// Two members processed it, or one twice.
    Twice(u8, u8),
    /// The same tap saw it twice under the same shim, or its hop count is too high.
    Loop,
}

/// A packet, over all its attempts (a lost TCP segment is sent again with the same sequence).
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When it was first offered, ns; 0 = never.
    pub offered: u64,
    /// When the attempt that arrived was offered; of a lost packet, when the first was.
    pub sent: u64,
    /// When its first copy arrived at the right side, ns; 0 = never.
    pub delivered: u64,
    /// When the first and the last attempt that never arrived were offered, ns; 0 = all arrived. Each attempt is a probe
    /// of its own: a segment that is sent again does not undo the loss.
    pub missed: [u64; 2],
    /// Index of the observation that delivered it.
    pub arrival: u32,
    /// Copies that arrived beyond one an attempt.
    pub duplicates: u8,
    /// It came out at the wrong side.
    pub misdelivered: bool,
    /// Attempts seen.
    pub attempts: u8,
    /// The member at which it entered.
    pub ingress: u8,
    /// The member that processed it.
    pub owner: u8,
    /// The orchestrator at which it entered, 0 = none.
    pub mho: u8,
    /// Corrections.
    pub hops: u8,
    /// The pivot passed it on.
    pub handed_over: bool,
    /// What it broke, first.
    pub breach: Option<Breach>,
}

impl Journey {
    const NONE: Self = Self {
        offered: 0,
        sent: 0,
        delivered: 0,
        missed: [0; 2],
        arrival: 0,
        duplicates: 0,
        misdelivered: false,
        attempts: 0,
        ingress: NOBODY,
        owner: NOBODY,
        mho: 0,
        hops: 0,
        handed_over: false,
        breach: None,
    };

    /// An attempt was offered and never arrived.
    pub const fn lost(&self) -> bool {
        self.missed[0] != 0
    }

    /// Follows a packet of direction `side` through its observations, in order of time.
    pub fn follow(places: &Places, observations: &[Observation], path: &[u32], side: usize) -> Self {
        let mut whole = Self::NONE;
        let attempt = |index: &u32| observations[*index as usize].probe.map_or(0, |probe| probe.attempt);
        // Almost every packet has one attempt.
        let mut done: Vec<u8> = Vec::new();
        for first in path.iter().map(attempt) {
            if done.contains(&first) {
                continue;
            }
            done.push(first);
            let of_it = path.iter().filter(|index| attempt(index) == first);
            let of_it = of_it.map(|index| (*index, &observations[*index as usize]));
            whole.join(Walk::new(places, side).over(of_it));
        }
        whole
    }

    /// Adds an attempt. The one that arrived first says who processed the packet.
    fn join(&mut self, next: Self) {
        let first = self.attempts == 0;
        let better = self.delivered == 0 && next.delivered != 0;
        let breach = self.breach.or(next.breach);
        let (attempts, offered) = (self.attempts.saturating_add(1), self.offered);
        let misdelivered = self.misdelivered || next.misdelivered;
        let duplicates = self.duplicates.saturating_add(next.duplicates);
        let mut missed = self.missed;
        if next.offered != 0 && next.delivered == 0 {
            missed = [if missed[0] == 0 { next.offered } else { missed[0] }, next.offered];
        }
        if first || better {
            *self = next;
        }
        self.offered = if first || offered == 0 { self.offered } else { offered };
        self.attempts = attempts;
        self.missed = missed;
        self.breach = breach;
        self.misdelivered = misdelivered;
        self.duplicates = duplicates;
    }
}

/// One attempt being followed.
struct Walk<'a> {
    places: &'a Places,
    side: u8,
    journey: Journey,
    entered: Vec<(u8, &'a Observation)>,
    seen: Vec<(u16, u8, u8)>,
}

impl<'a> Walk<'a> {
    fn new(places: &'a Places, side: usize) -> Self {
        let side = u8::from(side == 1);
        Self { places, side, journey: Journey::NONE, entered: Vec::new(), seen: Vec::new() }
    }

    fn over(mut self, path: impl Iterator<Item = (u32, &'a Observation)>) -> Journey {
        for (index, seen) in path {
            let place = self.places.at(seen.tap);
            self.loops(seen);
            self.ends(index, seen, place);
            if let Role::Member(member) = place.from {
                self.out_of(member, seen);
            }
            if let Role::Member(member) = place.to {
                self.entered.push((member, seen));
            }
            if let (Role::Mho(MhoId(mho)), 0) = (place.to, self.journey.mho) {
                self.journey.mho = mho;
            }
        }
        if self.journey.ingress == NOBODY {
            self.journey.ingress = self.entered.first().map_or(NOBODY, |(member, _)| *member);
        }
        self.journey
    }

    /// The generator's own cables.
    fn ends(&mut self, index: u32, seen: &Observation, place: Place) {
        if place.from == Role::Generator(self.side) && self.journey.offered == 0 {
            self.journey.offered = seen.at;
            self.journey.sent = seen.at;
        }
        let Role::Generator(side) = place.to else { return };
        if side == self.side {
            self.journey.misdelivered = true;
        } else if self.journey.delivered == 0 {
            self.journey.delivered = seen.at;
            self.journey.arrival = index;
        } else {
            self.journey.duplicates = self.journey.duplicates.saturating_add(1);
        }
    }

    fn out_of(&mut self, member: u8, seen: &Observation) {
        let Some((_, before)) = self.entered.iter().rev().find(|(known, _)| *known == member).copied() else {
            self.breach(Breach::FromNowhere(member));
            return;
        };
        if self.journey.ingress == NOBODY {
            // Only now: a switch that floods shows the packet to members that let it be.
            self.journey.ingress = member;
        }
        let kind = seen.shim.map_or(Kind::Data, |shim| shim.kind);
        if matches!(kind, Kind::Correction | Kind::Handover) {
            self.journey.hops += u8::from(kind == Kind::Correction);
            self.journey.handed_over |= kind == Kind::Handover;
            if (before.ttl, before.flow) != (seen.ttl, seen.flow) {
                self.breach(Breach::Altered(member));
            }
            return;
        }
        if before.ttl.checked_sub(1) != Some(seen.ttl) {
            self.breach(Breach::Ttl(member));
        }
        if self.journey.owner != NOBODY {
            self.breach(Breach::Twice(self.journey.owner, member));
        }
        self.journey.owner = member;
    }

    fn loops(&mut self, seen: &Observation) {
        let (kind, hop) = seen.shim.map_or((0, 0), |shim| (shim.kind as u8, shim.hop));
        let key = (seen.tap.0, kind, hop);
        if self.seen.contains(&key) || hop > MAX_HOP {
            self.breach(Breach::Loop);
        }
        self.seen.push(key);
    }

    fn breach(&mut self, breach: Breach) {
        self.journey.breach.get_or_insert(breach);
    }
}
