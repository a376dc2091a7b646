//! ElasticXL has no orchestrators that fence: leases do. A member may serve for 2.5 units from the send time of a heartbeat
//! of its own that another member says it heard; who hears nobody goes on, but takes nothing over before a neighbour on a
//! data cable answered.

use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::{Admitted, Heartbeat, MemberState};
use scalebed_frame::{Incarnation, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::{ClusterMember, NodeConfig, Step};

/// A member that heard a heartbeat within this, in quarter units, is not alone.
const COMPANY_QUARTERS: u32 = 5;
/// Without members and neighbours for so many half units it is cut off: sooner than it can be declared dead.
const ALONE_HALVES: u32 = 5;
/// A neighbour's answer counts for so many units.
const ANSWER_UNITS: u32 = 2;

/// What a member knows of being heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    /// It may serve until then.
    until: Option<Instant>,
    /// Just woken: until then only what nobody can have done yet is certain.
    unread_until: Option<Instant>,
    /// When it last heard the heartbeat of an Active, admitted member.
    heard: Option<Instant>,
    /// When it last asked its neighbours.
    asked: Option<Instant>,
    /// The first and the last of the answers that came one after the other.
    answered: Option<(Instant, Instant)>,
}

impl Lease {
    /// Company is counted in the node's own running time: while it stood still nobody could be heard, and nobody left. What
    /// others echoed meanwhile is in the backlog, and what this node says now they echo within a unit.
    pub(crate) fn forgive(&mut self, late: Duration, now: Instant, unit: Duration) {
        self.heard = self.heard.map(|heard| heard + late);
        self.unread_until = Some(now + unit * COMPANY_QUARTERS / 4);
    }

    /// Since when neighbours have been answering, if they still do.
    fn answered_since(&self, now: Instant, unit: Duration) -> Option<Instant> {
        let (first, last) = self.answered?;
        (now.since(last) <= unit * ANSWER_UNITS).then_some(first)
    }
}

/// After how long without a heartbeat a node counts as silent. In ElasticXL a unit later than its lease could last: nobody
/// is there to fence it.
pub(crate) fn dead_after(config: &NodeConfig) -> Duration {
    let unit = Duration::from_millis(config.group.unit_ms.into());
    let late = config.architecture == Architecture::ElasticXl && !config.ablations.no_lease;
    unit * (config.group.dead_units + u32::from(late))
}

/// The send time of `me`'s newest heartbeat that the sender of `beat` has heard.
pub(crate) fn echoed(beat: &Heartbeat, me: NodeId, life: Incarnation) -> Option<Instant> {
    let mine = beat.heard.iter().find(|heard| heard.node == me && heard.incarnation == life);
    mine.map(|heard| Instant(heard.sent))
}

impl ClusterMember {
    const fn has_lease(&self) -> bool {
        matches!(self.config.architecture, Architecture::ElasticXl) && !self.config.ablations.no_lease
    }

    /// Admitted: the first lease runs from here.
    pub(crate) fn start_lease(&mut self, now: Instant) {
        self.lease = Lease { until: Some(now + self.unit * 5 / 2), ..self.lease };
    }

    /// An Active member's heartbeat renews the lease if it says that it heard this member: those are who is asked before
    /// this one is declared dead. Only they are company, too: who is admitted and not Active yet could renew nothing, and one
    /// that served alone would fence itself as soon as somebody joins.
    pub(crate) fn renew_lease(&mut self, from: Admitted, beat: &Heartbeat, received: Instant, now: Instant) {
        if self.held.admitted().contains(&from) && beat.state == MemberState::Active {
            self.lease.heard = self.lease.heard.max(Some(received));
            let sent = echoed(beat, self.config.id, self.incarnation);
            self.lease.until = self.lease.until.max(sent.map(|sent| sent + self.unit * 5 / 2));
        }
        self.check_lease(now);
    }

    /// Heard no more by others that it hears: they are about to declare it dead.
    pub(crate) fn check_lease(&mut self, now: Instant) {
        // One that was just woken may have been echoed since; before the dead timer nobody has left it out.
        let unread = self.lease.unread_until.is_some_and(|until| now < until);
        let spare = if unread { dead_after(&self.config) - self.unit * 5 / 2 } else { Duration::ZERO };
        let out = self.lease.until.is_some_and(|until| until + spare < now);
        if self.has_lease() && !self.fenced && self.has_company(now) && out {
            self.fence("its lease is out: the others hear it no more", now);
        }
    }

    /// When the lease runs out, if that is still to come.
    pub(crate) fn lease_deadline(&self) -> Option<Instant> {
        // A nanosecond later: at its very end it still holds.
        let end = self.lease.until.map(|until| until + Duration::from_nanos(1));
        let end = end.map(|end| self.lease.unread_until.map_or(end, |unread| end.max(unread)));
        end.filter(|end| self.has_lease() && !self.fenced && *end > self.clock)
    }

    fn has_company(&self, now: Instant) -> bool {
        self.lease.heard.is_some_and(|heard| now.since(heard) <= self.unit * COMPANY_QUARTERS / 4)
    }

    /// Once a unit while it hears nobody: are the neighbours there? If they are not either, it is this member that is cut
    /// off: it stops before the others take its place, and not when it hears of that.
    pub(crate) fn probe_if_alone(&mut self, now: Instant) {
        if !self.has_lease() || self.fenced || self.has_company(now) {
            return;
        }
        let answered = self.lease.answered_since(now, self.unit).is_some();
        let alone = self.lease.heard.is_some_and(|heard| now.since(heard) >= self.unit * ALONE_HALVES / 2);
        if alone && !answered && self.lease.asked.is_some() {
            self.fence("hears neither members nor neighbours", now);
            return;
        }
        self.lease.asked = Some(now);
        self.steps.push_back(Step::Probe);
    }

    /// May this member leave others out now? Alone it must have had answers of its neighbours for longer than a heartbeat
    /// takes: if they do not answer either it is this member that is cut off, and one that just came back hears the others
    /// within a unit.
    pub(crate) fn may_leave_others_out(&self, now: Instant) -> bool {
        let since = self.lease.answered_since(now, self.unit);
        let answered = since.is_some_and(|first| now.since(first) >= self.unit * COMPANY_QUARTERS / 4);
        !self.has_lease() || self.peers.members().next().is_some() || answered
    }

    /// A neighbour on a data cable answered.
    pub fn probed(&mut self, now: Instant) {
        self.clock = now;
        if self.has_company(now) || self.lease.asked.is_none() {
            self.lease.answered = None;
            return;
        }
        self.lease.answered = Some((self.lease.answered_since(now, self.unit).unwrap_or(now), now));
        self.run(now);
        self.due = self.next_due();
    }
}
