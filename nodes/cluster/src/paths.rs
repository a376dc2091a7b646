//! The member's own cables: carrier, what came in on each, and what follows when some bring nothing any more.

use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::MemberState;
use scalebed_frame::{MemberId, NodeId};
use scalebed_topologies::lab::{Architecture, PortRole};

use crate::{ClusterMember, lease, wrap};

/// Heartbeats of several peers come in on every port each unit; a port that brought nothing for two is not a path.
const PATH_UNITS: u32 = 2;
/// Losses of carrier that were missed and are found within a quarter unit were one absence.
const ONE_ABSENCE: u32 = 4;
/// Who goes down for a silent Sync waits so many half units for each member of a higher id: they go first, one by one.
const TURN_HALVES: u32 = 3;

/// Ports, in order of index.
#[derive(Debug)]
pub(crate) struct Paths {
    up: Vec<bool>,
    /// How often the carrier had changed when it was last told.
    changes: Vec<Option<u32>>,
    /// When it was found that carrier had been lost and came back unseen.
    missed: Vec<Option<Instant>>,
    /// When a message last came in: what tells a dead path that kept its carrier.
    heard: Vec<Option<Instant>>,
}

impl Paths {
    pub(crate) fn new(ports: usize) -> Self {
        Self { up: vec![false; ports], changes: vec![None; ports], missed: vec![None; ports], heard: vec![None; ports] }
    }

    pub(crate) fn heard(&mut self, port: u16, received: Instant) {
        if let Some(heard) = self.heard.get_mut(usize::from(port)) {
            *heard = (*heard).max(Some(received));
        }
    }

    pub(crate) fn link(&mut self, port: u16, up: bool, changes: u32, now: Instant) {
        let port = usize::from(port);
        let Some(link) = self.up.get_mut(port) else { return };
        let known = self.changes[port].replace(changes);
        if *link && up && known.is_some_and(|known| changes > known) {
            self.missed[port] = Some(now);
        }
        *link = up;
    }

    /// The node itself stood still: no path is to blame for that.
    pub(crate) fn forgive(&mut self, late: Duration) {
        for heard in &mut self.heard {
            *heard = heard.map(|heard| heard + late);
        }
    }

    pub(crate) fn links(&self) -> &[bool] {
        &self.up
    }
}

impl ClusterMember {
    /// The port by which a message to `to` leaves: what `Port::Best` means. Of the ports with carrier that something was
    /// heard on lately the one nearest to the addressee; if nothing was heard on any, carrier alone decides.
    #[must_use]
    pub fn best_port(&self, to: NodeId) -> Option<u16> {
        let up = |port: u16| self.paths.up.get(usize::from(port)).copied().unwrap_or(false);
        let heard = |port: u16| up(port) && self.brings(usize::from(port), self.clock);
        let best = |usable: &dyn Fn(u16) -> bool| wrap::best(&self.config, Some(to), usable);
        best(&heard).or_else(|| best(&up))
    }

    fn brings(&self, port: usize, now: Instant) -> bool {
        let heard = self.paths.heard.get(port).copied().flatten();
        heard.is_some_and(|heard| now.since(heard) < self.unit * PATH_UNITS)
    }

    /// Carrier on a path that data takes: a downlink in Maestro, a data cable in ElasticXL.
    pub(crate) fn has_data_path(&self) -> bool {
        self.data_ports().any(|port| self.paths.up[port])
    }

    /// Found on waking: every path that data takes is without carrier or was meanwhile.
    pub(crate) fn lost_all_data_paths(&self, now: Instant) -> bool {
        let missed =
            |port: usize| self.paths.missed[port].is_some_and(|found| now.since(found) <= self.unit / ONE_ABSENCE);
        self.data_ports().all(|port| !self.paths.up[port] || missed(port))
    }

    fn data_ports(&self) -> impl Iterator<Item = usize> + '_ {
        let carries = |role: PortRole| matches!(role, PortRole::Downlink(_) | PortRole::Data(_));
        self.config.ports.iter().enumerate().filter(move |(_, port)| carries(port.role)).map(|(index, _)| index)
    }

    /// ElasticXL: has Sync alone brought nothing for the dead timer, `since` then at the earliest, while data cables bring
    /// heartbeats?
    pub(crate) fn sync_is_silent(&self, since: Option<Instant>, more: Duration, now: Instant) -> bool {
        let sync = self.config.ports.iter().position(|port| port.role == PortRole::Sync);
        let Some(sync) = sync.filter(|_| self.config.architecture == Architecture::ElasticXl) else { return false };
        let Some(last) = self.paths.heard[sync].max(since) else { return false };
        let silent = now.since(last) >= lease::dead_after(&self.config) + more;
        silent && self.data_ports().any(|port| self.brings(port, now))
    }

    /// Packets are handed over by Sync, and its connections copied: without it a member serves nobody. It is the cable of
    /// whoever hears nobody on it; if nobody hears anybody, one must go on: of the last two the lower id.
    pub(crate) fn check_sync(&mut self, now: Instant) {
        if self.fenced || self.state != MemberState::Active {
            return;
        }
        let me = self.id();
        let active = |member: &MemberId| self.held.admitted().iter().any(|one| one.member == *member);
        let others: Vec<MemberId> = self
            .peers
            .members()
            .filter(|(member, peer)| peer.beat.state == MemberState::Active && active(member))
            .map(|(member, _)| member)
            .collect();
        let higher = u32::try_from(others.iter().filter(|&&other| other > me).count()).unwrap_or(0);
        let stays = others.is_empty() || others.len() == 1 && higher == 1;
        let turn = self.unit * TURN_HALVES / 2 * higher;
        if !stays && self.sync_is_silent(Some(self.since), turn, now) {
            self.fence(SYNC_SILENT, now);
            self.beat(now);
        }
    }
}

/// Why it is down.
const SYNC_SILENT: &str = "Sync brings nothing while data cables do";
