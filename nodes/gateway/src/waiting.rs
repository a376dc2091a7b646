//! Frames that wait for something, bounded in number and time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::{Bucket, Flow, NetworkId};

use crate::counters::Reason;
use crate::fragments::Pieces;
use crate::packet::Packet;

/// What a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum For {
    /// The matrix with this counter, which may admit this member.
    Admission(u32),
    /// The generation with this counter.
    Generation(u32),
    /// The Activate after which this member may process the bucket.
    Activate(Bucket),
    /// What others know of its tuple.
    Answer(Flow),
    /// The first piece of the packet that it is a piece of.
    FirstPiece(Pieces),
    /// The next hop's MAC; the packet is done but for its MACs.
    Neighbour(NetworkId, IpAddr),
}

impl For {
    /// How long it waits at most: as long as a slow barrier; 20 ms for an answer (reliability rule 4); pieces left one host
    /// together, and are at most as far out of order as the slowest preset of a cable; three tries of ARP.
    const fn limit(self) -> Duration {
        Duration::from_millis(match self {
            Self::Admission(_) | Self::Generation(_) | Self::Activate(_) => 1000,
            Self::Answer(_) => 20,
            Self::FirstPiece(_) => 200,
            Self::Neighbour(..) => 3000,
        })
    }

    /// Why it is dropped when that time is over.
    pub(crate) const fn late(self) -> Reason {
        match self {
            Self::Admission(_) => Reason::Fenced,
            Self::Generation(_) => Reason::GenerationLate,
            Self::Activate(_) => Reason::ActivateLate,
            Self::Answer(_) => Reason::OutOfState,
            Self::FirstPiece(_) => Reason::Fragment,
            Self::Neighbour(..) => Reason::Neighbour,
        }
    }
}

/// The waiting room.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Frames that wait at most, whatever for.
    capacity: usize,
    frames: BTreeMap<(For, u64), (Packet, Instant)>,
    deadlines: BTreeSet<(Instant, For, u64)>,
    next: u64,
}

impl Waiting {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, frames: BTreeMap::new(), deadlines: BTreeSet::new(), next: 0 }
    }

    /// Lets a packet wait. False: the room is full, and the packet is gone.
    #[must_use]
    pub(crate) fn push(&mut self, what: For, packet: Packet, now: Instant) -> bool {
        if self.frames.len() >= self.capacity {
            return false;
        }
        // A packet that waits a second time does not get its time again; for an answer it waits only once anyway.
        let since = packet.since.unwrap_or(now);
        let asked = matches!(what, For::Answer(_));
        let until = if asked { now } else { since } + what.limit();
        let packet = Packet { since: Some(since), asked: packet.asked || asked, ..packet };
        self.next += 1;
        self.frames.insert((what, self.next), (packet, until));
        self.deadlines.insert((until, what, self.next));
        true
    }

    /// Does anything wait for it?
    pub(crate) fn is_awaited(&self, what: For) -> bool {
        self.frames.range((what, 0)..=(what, u64::MAX)).next().is_some()
    }

    /// Takes all that wait for it, in order of arrival.
    pub(crate) fn take(&mut self, what: For) -> Vec<Packet> {
        self.take_where((what, 0), (what, u64::MAX), |_| true)
    }

    /// Takes all that wait for an admission by a matrix up to this one.
    pub(crate) fn take_admissions(&mut self, counter: u32) -> Vec<Packet> {
        self.take_where((For::Admission(0), 0), (For::Admission(counter), u64::MAX), |_| true)
    }

    /// Takes all that wait for a generation up to this one.
    pub(crate) fn take_generations(&mut self, counter: u32) -> Vec<Packet> {
        self.take_where((For::Generation(0), 0), (For::Generation(counter), u64::MAX), |_| true)
    }

    /// Takes all that wait for the Activate of a bucket for which `ready` holds.
    pub(crate) fn take_activated(&mut self, ready: impl Fn(Bucket) -> bool) -> Vec<Packet> {
        let (from, to) = (For::Activate(Bucket(0)), For::Activate(Bucket(u16::MAX)));
        self.take_where((from, 0), (to, u64::MAX), |what| matches!(what, For::Activate(bucket) if ready(*bucket)))
    }

    /// Takes everything: another life begins.
    pub(crate) fn take_all(&mut self) -> usize {
        self.deadlines.clear();
        std::mem::take(&mut self.frames).len()
    }

    /// One whose time is over.
    pub(crate) fn next_late(&mut self, now: Instant) -> Option<(For, Packet)> {
        let &(until, what, number) = self.deadlines.first().filter(|(until, ..)| *until <= now)?;
        self.deadlines.remove(&(until, what, number));
        self.frames.remove(&(what, number)).map(|(packet, _)| (what, packet))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Frames that came before `then`.
    pub(crate) fn older_than(&self, then: Instant) -> usize {
        self.frames.values().filter(|(packet, _)| packet.since.is_some_and(|since| since < then)).count()
    }

    fn take_where(&mut self, from: (For, u64), to: (For, u64), fits: impl Fn(&For) -> bool) -> Vec<Packet> {
        let keys: Vec<_> = self.frames.range(from..=to).map(|(key, _)| *key).filter(|(what, _)| fits(what)).collect();
        let mut packets = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((packet, until)) = self.frames.remove(&key) {
                self.deadlines.remove(&(until, key.0, key.1));
                packets.push((key.1, packet));
            }
        }
        packets.sort_by_key(|(number, _)| *number);
        packets.into_iter().map(|(_, packet)| packet).collect()
    }
}
