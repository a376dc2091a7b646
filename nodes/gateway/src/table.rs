//! The connection table: forward and reverse tuple of one object, found by either.
//!
//! Connections live in a slab; an index maps each tuple to its slot. Deadlines are lazy: a packet only moves
//! `expires`, and the ordered set of deadlines is looked at again when the earliest comes. Ended connections leave a
//! tombstone with their version, so that a late entry cannot bring them back.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::sync::{ConnectionState, Entry, Version};
use scalebed_frame::{Bucket, Flow, Incarnation, MemberId, NetworkId};
use siphasher::sip::SipHasher13;

use crate::counters::Reason;
use crate::tracking::{Track, Way};

/// Connections that a member holds at most, copies among them.
pub(crate) const CAPACITY: usize = 1_000_000;
/// How long a tombstone is kept: longer than any entry can be on its way.
const TOMBSTONE: Duration = Duration::from_secs(30);
/// Tombstones that are kept at most; the oldest gives way.
const TOMBSTONES: usize = 65_536;

/// Lookups only: iteration over a hash map is banned, and the hasher is the same on every machine.
type Index<V> = HashMap<Flow, V, BuildHasherDefault<SipHasher13>>;

/// A place in the table, and which of its tenants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    slot: u32,
    stamp: u32,
}

/// Somebody who was told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member: MemberId,
    pub(crate) life: Incarnation,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The tuple of the first packet as it arrived, and of answers as they arrive.
    pub(crate) forward: Flow,
    pub(crate) reverse: Flow,
    pub(crate) entered: NetworkId,
    pub(crate) left: NetworkId,
    pub(crate) owner: MemberId,
    pub(crate) life: Incarnation,
    /// Buckets of the forward and of the reverse tuple.
    pub(crate) bucket: Bucket,
    pub(crate) back: Bucket,
    pub(crate) version: Version,
    pub(crate) track: Track,
    pub(crate) born: Instant,
    pub(crate) expires: Instant,
    /// When those who were told must hear of it again, lest their copies expire first.
    pub(crate) refresh: Instant,
    /// Who has a copy, as far as the owner knows.
    pub(crate) told: Vec<Told>,
}

impl Connection {
    /// Where packets of a direction come in, and where they leave.
    pub(crate) const fn networks(&self, way: Way) -> (NetworkId, NetworkId) {
        match way {
            Way::Forward => (self.entered, self.left),
            Way::Reverse => (self.left, self.entered),
        }
    }

    pub(crate) fn entry(&self, now: Instant) -> Entry {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        Entry {
            forward: self.forward,
            reverse: self.reverse,
            entered: self.entered,
            left: self.left,
            owner: self.owner,
            life: self.life,
            bucket: self.bucket,
            version: self.version,
            state: self.track.state,
            age_ms: ms(now.since(self.born)),
            expires_ms: ms(self.expires.since(now)),
        }
    }

    /// `back` is computed by the receiver: it has the same policy.
    pub(crate) fn of_entry(entry: &Entry, back: Bucket, now: Instant) -> Self {
        let age = u64::from(entry.age_ms) * 1_000_000;
        let expires = now + Duration::from_millis(entry.expires_ms.into());
        Self {
            forward: entry.forward,
            reverse: entry.reverse,
            entered: entry.entered,
            left: entry.left,
            owner: entry.owner,
            life: entry.life,
            bucket: entry.bucket,
            back,
            version: entry.version,
            track: Track { state: entry.state, closing: None },
            born: Instant(now.0.saturating_sub(age)),
            expires,
            refresh: expires,
            told: Vec::new(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.track.state == ConnectionState::Closed
    }
}

#[derive(Debug)]
struct Slot {
    stamp: u32,
    tenant: Option<Connection>,
    /// The deadline that is in the set for it.
    armed: Instant,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: Index<(u32, Way)>,
    deadlines: BTreeSet<(Instant, Id)>,
    tombstones: Index<Version>,
    buried: VecDeque<(Instant, Flow, Version)>,
    capacity: usize,
}

impl Table {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: Index::default(),
            deadlines: BTreeSet::new(),
            tombstones: Index::default(),
            buried: VecDeque::new(),
            capacity,
        }
    }

    pub(crate) fn find(&self, flow: &Flow) -> Option<(Id, Way)> {
        let &(slot, way) = self.index.get(flow)?;
        Some((Id { slot, stamp: self.slots.get(slot as usize)?.stamp }, way))
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Connection> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.tenant.as_ref().filter(|_| slot.stamp == id.stamp)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.tenant.as_mut().filter(|_| slot.stamp == id.stamp)
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// The table is full, or one of its tuples is another connection's.
    pub(crate) fn insert(&mut self, connection: Connection) -> Result<Id, Reason> {
        if self.len() >= self.capacity {
            return Err(Reason::TableFull);
        }
        let (forward, reverse, expires) = (connection.forward, connection.reverse, connection.expires);
        if self.index.contains_key(&forward) || self.index.contains_key(&reverse) || forward == reverse {
            return Err(Reason::TupleInUse);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { stamp: 0, tenant: None, armed: Instant(u64::MAX) });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.slots[slot as usize];
        place.stamp = place.stamp.wrapping_add(1);
        place.tenant = Some(connection);
        place.armed = expires;
        let id = Id { slot, stamp: place.stamp };
        self.index.insert(forward, (slot, Way::Forward));
        self.index.insert(reverse, (slot, Way::Reverse));
        self.deadlines.insert((expires, id));
        Ok(id)
    }

    /// Takes a connection out; `bury` leaves a tombstone.
    pub(crate) fn remove(&mut self, id: Id, bury: Option<Instant>) -> Option<Connection> {
        self.get(id)?;
        let slot = self.slots.get_mut(id.slot as usize)?;
        let connection = slot.tenant.take()?;
        self.deadlines.remove(&(slot.armed, id));
        self.free.push(id.slot);
        self.index.remove(&connection.forward);
        self.index.remove(&connection.reverse);
        if let Some(now) = bury {
            self.bury(connection.forward, connection.version, now);
        }
        Some(connection)
    }

    /// Remembers that the connection of this tuple ended with this version.
    pub(crate) fn bury(&mut self, forward: Flow, version: Version, now: Instant) {
        if self.buried.len() >= TOMBSTONES {
            self.unbury_oldest();
        }
        if self.tombstones.get(&forward).is_none_or(|old| *old < version) {
            self.tombstones.insert(forward, version);
            self.buried.push_back((now + TOMBSTONE, forward, version));
        }
    }

    /// The version with which the last connection of this tuple ended, if that is not long ago.
    pub(crate) fn tombstone(&self, forward: &Flow) -> Option<Version> {
        self.tombstones.get(forward).copied()
    }

    fn unbury_oldest(&mut self) {
        if let Some((_, flow, version)) = self.buried.pop_front()
            && self.tombstones.get(&flow) == Some(&version)
        {
            self.tombstones.remove(&flow);
        }
    }

    /// Moves the deadline of a connection whose `expires` came nearer; one that moved away needs nothing.
    pub(crate) fn rearm(&mut self, id: Id) {
        let Some(expires) = self.get(id).map(|connection| connection.expires) else { return };
        let slot = &mut self.slots[id.slot as usize];
        if expires < slot.armed {
            self.deadlines.remove(&(slot.armed, id));
            slot.armed = expires;
            self.deadlines.insert((expires, id));
        }
    }

    /// A connection whose time is over.
    pub(crate) fn next_expired(&mut self, now: Instant) -> Option<Id> {
        while self.buried.front().is_some_and(|(until, ..)| *until <= now) {
            self.unbury_oldest();
        }
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            let expires = self.get(id).map(|connection| connection.expires);
            match expires {
                Some(expires) if expires > now => {
                    self.deadlines.remove(&(at, id));
                    self.slots[id.slot as usize].armed = expires;
                    self.deadlines.insert((expires, id));
                }
                Some(_) => return Some(id),
                None => {
                    self.deadlines.remove(&(at, id));
                }
            }
        }
        None
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots, for a walk in pieces.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// The tenant of a slot.
    pub(crate) fn at(&self, slot: u32) -> Option<Id> {
        let place = self.slots.get(slot as usize)?;
        place.tenant.as_ref().map(|_| Id { slot, stamp: place.stamp })
    }

    /// Every connection, in order of slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Connection)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, place)| {
            place.tenant.as_ref().map(|connection| (Id { slot, stamp: place.stamp }, connection))
        })
    }
}
