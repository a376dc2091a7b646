//! What only a walk over the whole table tells: gauges for testers, not for every packet and not for every status.
//!
//! It states anew what must hold of each connection, and shares no code with what makes it so.

use std::collections::BTreeMap;
use std::time::Duration;

use scalebed_engine::{Instant, Status};
use scalebed_frame::MemberId;

use crate::Gateway;
use crate::table::Connection;
use crate::tracking::Way;

/// A connection that is just as old as the sync delay may be told of in this very moment.
const MARGIN: Duration = Duration::from_millis(100);

/// As long as a frame may wait for an Activate, ns.
const LONG: u64 = 1_000_000_000;

impl Gateway {
    /// A status with these gauges among its counters:
    ///
    /// - `frames_stuck`: frames that wait for longer than anything may that is not a neighbour;
    /// - `items_stuck`: items for peers that do not acknowledge any (L8);
    /// - `half_bindings`: connections of which a tuple does not lead to them, or did not when they came or went (S11);
    /// - `without_backup`: owned ones, older than the sync delay, of which who gets their packets next was not told (L3);
    /// - `must_be_at M`, for each other member: owned ones of that age of which M must have a copy;
    /// - `copies_of M`: copies of M's connections of buckets that this member owns or is the backup of.
    pub(crate) fn audit(&self, id: u64) -> Status {
        let mut status = self.status(id);
        let (mut half, mut alone) = (self.table.torn(), 0);
        let (mut must, mut copies) = (BTreeMap::<MemberId, u64>::new(), BTreeMap::<MemberId, u64>::new());
        for (id, connection) in self.table.iter() {
            let tuples = [(&connection.forward, Way::Forward), (&connection.reverse, Way::Reverse)];
            half += u64::from(tuples.iter().any(|(flow, way)| self.table.find(flow) != Some((id, *way))));
            if connection.is_closed() {
                continue;
            }
            if self.owns(connection) {
                let Some(next) = self.must_have(connection) else { continue };
                let told = connection.told.iter().any(|one| one.member == next && self.view.admits(next, one.life));
                alone += u64::from(!told);
                *must.entry(next).or_default() += 1;
            } else if self.view.admits(connection.owner, connection.life) && self.is_next(connection) {
                *copies.entry(connection.owner).or_default() += 1;
            }
        }
        let frames = self.waiting.older_than(Instant(self.now.0.saturating_sub(LONG)));
        let gauges = [
            ("frames_stuck", frames as u64),
            ("items_stuck", self.streams.stuck() as u64),
            ("half_bindings", half),
            ("without_backup", alone),
        ];
        status.counters.extend(gauges.map(|(name, value)| (name.to_owned(), value)));
        for (kind, all) in [("must_be_at", must), ("copies_of", copies)] {
            status.counters.extend(all.into_iter().map(|(member, count)| (format!("{kind} {member}"), count)));
        }
        status
    }

    /// Who gets the packets of an owned connection if this member dies now: the bucket's owner, if it moved away while the
    /// connection stayed, else its backup. `None`: it is too young, or there is nobody else.
    fn must_have(&self, connection: &Connection) -> Option<MemberId> {
        let delay = Duration::from_millis(self.config.group.sync_delay_ms.into());
        if self.view.fenced || self.now.since(connection.born) < delay + MARGIN {
            return None;
        }
        let assignment = self.view.place(connection.bucket)?.assignment;
        if assignment.owner == self.view.id { assignment.backup } else { Some(assignment.owner) }
    }

    fn is_next(&self, connection: &Connection) -> bool {
        let place = self.view.place(connection.bucket);
        place.is_some_and(|place| [Some(place.assignment.owner), place.assignment.backup].contains(&Some(self.view.id)))
    }
}
