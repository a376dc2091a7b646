//! The connection table: forward and reverse tuple of one object, found by either.
//!
//! Connections live in a slab; an index maps each tuple to its slot and holds no tuple itself. Deadlines are lazy: a
//! packet only moves `expires`, and the heap of deadlines is looked at again when the earliest comes. Ended connections
//! leave a tombstone with their version, so that a late entry cannot bring them back.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::time::Duration;

use hashbrown::HashTable;
use scalebed_engine::Instant;
use scalebed_frame::Flow;
use scalebed_frame::sync::Version;
use siphasher::sip::SipHasher13;

use crate::counters::Reason;
use crate::tracking::Way;

mod connection;
mod deadlines;
mod slots;

pub(crate) use connection::{Connection, Tellings, Told};

use deadlines::Deadlines;
use slots::Slots;

/// Connections that a member holds at most, copies among them.
pub(crate) const CAPACITY: usize = 1_000_000;
/// How long a tombstone is kept: longer than any entry can be on its way.
const TOMBSTONE: Duration = Duration::from_secs(30);
/// Tombstones that are kept at most; the oldest gives way.
const TOMBSTONES: usize = 65_536;

/// The same on every machine.
type Hasher = BuildHasherDefault<SipHasher13>;
/// Lookups only: iteration over a hash map is banned.
type Graves = HashMap<Flow, Version, Hasher>;

/// A place in the table, and which of its tenants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    slot: u32,
    stamp: u32,
}

/// What the index holds: a slot, and whether its forward or its reverse tuple is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple(u32);

impl Tuple {
    fn new(slot: u32, way: Way) -> Self {
        Self(slot << 1 | u32::from(way == Way::Reverse))
    }

    const fn slot(self) -> u32 {
        self.0 >> 1
    }

    const fn way(self) -> Way {
        if self.0 & 1 == 0 { Way::Forward } else { Way::Reverse }
    }

    /// The tuple itself.
    fn flow(self, slots: &Slots) -> Option<&Flow> {
        let connection = slots.get(self.slot())?.tenant.as_ref()?;
        Some(match self.way() {
            Way::Forward => &connection.forward,
            Way::Reverse => &connection.reverse,
        })
    }
}

fn hash(flow: &Flow) -> u64 {
    Hasher::default().hash_one(flow)
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slots,
    free: Vec<u32>,
    index: HashTable<Tuple>,
    deadlines: Deadlines,
    tombstones: Graves,
    buried: VecDeque<(Instant, Flow, Version)>,
    capacity: usize,
    /// Connections of which one tuple alone came or went: what must never happen (S11).
    torn: u64,
}

impl Table {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Slots::default(),
            free: Vec::new(),
            index: HashTable::new(),
            deadlines: Deadlines::default(),
            tombstones: Graves::default(),
            buried: VecDeque::new(),
            capacity,
            torn: 0,
        }
    }

    /// Both tuples come and go together; how often they did not.
    pub(crate) const fn torn(&self) -> u64 {
        self.torn
    }

    pub(crate) fn find(&self, flow: &Flow) -> Option<(Id, Way)> {
        let tuple = self.index.find(hash(flow), |tuple| tuple.flow(&self.slots) == Some(flow))?;
        Some((Id { slot: tuple.slot(), stamp: self.slots.get(tuple.slot())?.stamp }, tuple.way()))
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Connection> {
        let slot = self.slots.get(id.slot)?;
        slot.tenant.as_ref().filter(|_| slot.stamp == id.stamp)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot)?;
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
        if self.find(&forward).is_some() || self.find(&reverse).is_some() || forward == reverse {
            return Err(Reason::TupleInUse);
        }
        let slot = self.free.pop().unwrap_or_else(|| self.slots.grow());
        let place = &mut self.slots[slot];
        place.stamp = place.stamp.wrapping_add(1);
        place.tenant = Some(connection);
        place.armed = expires;
        let id = Id { slot, stamp: place.stamp };
        let slots = &self.slots;
        // When the index grows it reads every tuple again.
        let again = |tuple: &Tuple| tuple.flow(slots).map_or(0, hash);
        for (flow, way) in [(forward, Way::Forward), (reverse, Way::Reverse)] {
            self.index.insert_unique(hash(&flow), Tuple::new(slot, way), again);
        }
        self.deadlines.insert(&mut self.slots, slot);
        let leads = |flow, way| self.find(flow) == Some((id, way));
        self.torn += u64::from(!leads(&forward, Way::Forward) || !leads(&reverse, Way::Reverse));
        Ok(id)
    }

    /// Takes a connection out; `bury` leaves a tombstone.
    pub(crate) fn remove(&mut self, id: Id, bury: Option<Instant>) -> Option<Connection> {
        self.get(id)?;
        let connection = self.slots.get_mut(id.slot)?.tenant.take()?;
        let mut gone = 0;
        for (flow, way) in [(&connection.forward, Way::Forward), (&connection.reverse, Way::Reverse)] {
            let tuple = Tuple::new(id.slot, way);
            if let Ok(found) = self.index.find_entry(hash(flow), |one| *one == tuple) {
                found.remove();
                gone += 1;
            }
        }
        self.torn += u64::from(gone != 2);
        self.deadlines.remove(&mut self.slots, id.slot);
        self.free.push(id.slot);
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
        if expires < self.slots[id.slot].armed {
            self.arm(id.slot, expires);
        }
    }

    fn arm(&mut self, slot: u32, at: Instant) {
        self.slots[slot].armed = at;
        self.deadlines.moved(&mut self.slots, slot);
    }

    /// A connection whose time is over.
    pub(crate) fn next_expired(&mut self, now: Instant) -> Option<Id> {
        while self.buried.front().is_some_and(|(until, ..)| *until <= now) {
            self.unbury_oldest();
        }
        while let Some((_, slot)) = self.deadlines.first(&self.slots).filter(|(at, _)| *at <= now) {
            let id = self.at(slot)?;
            let expires = self.get(id)?.expires;
            if expires <= now {
                return Some(id);
            }
            self.arm(slot, expires);
        }
        None
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first(&self.slots).map(|(at, _)| at)
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
        let place = self.slots.get(slot)?;
        place.tenant.as_ref().map(|_| Id { slot, stamp: place.stamp })
    }

    /// Every connection, in order of slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Connection)> {
        (0u32..).zip(self.slots.iter()).filter_map(|(slot, place)| {
            place.tenant.as_ref().map(|connection| (Id { slot, stamp: place.stamp }, connection))
        })
    }

    /// Bytes that connections, their index and their deadlines hold, room for growth among them; tombstones are apart.
    pub(crate) fn bytes(&self) -> usize {
        let lists = self.iter().map(|(_, connection)| &connection.told).filter(|told| told.spilled());
        let told: usize = lists.map(|told| told.capacity() * size_of::<Told>()).sum();
        let free = self.free.capacity() * size_of::<u32>();
        self.slots.bytes() + free + self.index.allocation_size() + self.deadlines.bytes() + told
    }
}

#[cfg(test)]
mod tests;
