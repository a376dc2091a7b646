//! How a member comes in, and why it falls out.

use std::time::Duration;

use scalebed_engine::{Instant, NodeEvent};
use scalebed_frame::control::{Admitted, Body, Heartbeat, MemberState};
use scalebed_frame::{Generation, Incarnation, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::{ClusterMember, Step};

/// Units that the first author waits for members that the lab starts and that do not come.
const BOOT_UNITS: u32 = 30;
/// Units after which a joiner that got no answer starts over.
const SYNC_UNITS: u32 = 50;
/// Units after which one that is aligned and was not admitted starts over: planned moves before its own take time.
const READY_UNITS: u32 = 100;

/// Why a node stops whose matrix is not what it accepted.
pub(crate) const ALTERED: &str = "its matrix was altered in memory";

impl ClusterMember {
    /// Stops owning, forwarding, answering and authoring; comes back in the next life, by joining.
    pub(crate) fn fence(&mut self, reason: &str, now: Instant) {
        if self.is_out() {
            return;
        }
        self.give_up_role();
        if !self.fenced {
            self.fenced = true;
            self.event(NodeEvent::Fenced { reason: reason.to_owned() });
            self.steps.push_back(Step::Fenced);
        }
        self.next_life();
        self.set_state(MemberState::Down, reason, now);
    }

    /// F31: a matrix that is not what was accepted is nobody's: its holder stops, forgets it, and is given it again.
    pub(crate) fn check_matrix(&mut self, now: Instant) {
        if !self.held.is_sound() {
            self.held.matrix = None;
            self.start_over(ALTERED, now);
        }
    }

    /// Fenced, and not on its way in.
    const fn is_out(&self) -> bool {
        self.fenced && !matches!(self.state, MemberState::Ready | MemberState::Syncing)
    }

    /// What this life accepted or was admitted by counts no more, whether it serves or not: others would wait for it for ever
    /// if it went on under the same name.
    pub(crate) fn start_over(&mut self, reason: &str, now: Instant) {
        if self.is_out() {
            self.give_up_role();
            self.next_life();
        } else {
            self.fence(reason, now);
        }
    }

    fn next_life(&mut self) {
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.held.doubt();
        self.peers.clear();
        self.sent = None;
    }

    /// Sees that it is not admitted: whoever accepted a newer generation than ours says who is.
    pub(crate) fn check_admission(&mut self, from: NodeId, beat: &Heartbeat, now: Instant) {
        let me = Admitted { member: self.id(), incarnation: self.incarnation };
        let newer = beat.accepted > self.held.accepted && !beat.admitted.is_empty();
        // One that accepted what admits it and still waits to hear that it is active was admitted too.
        let waits = self.state == MemberState::Pending && self.held.admitted().contains(&me);
        if (!self.fenced || waits) && newer && !beat.admitted.contains(&me) {
            self.start_over(&format!("{from} holds a newer generation without this life"), now);
        }
    }

    /// A Maestro member that heard no orchestrator for the dead timer serves nobody.
    pub(crate) fn check_isolation(&mut self, now: Instant) {
        let maestro = self.config.architecture == Architecture::Maestro;
        let hears = self.peers.present().any(|(node, _)| node.mho().is_some());
        if !self.fenced && maestro && !hears {
            self.fence("heard no orchestrator for the dead timer", now);
        }
    }

    /// What a member that is not admitted does next.
    pub(crate) fn run_join(&mut self, now: Instant) {
        let joining = matches!(self.state, MemberState::Syncing | MemberState::Ready);
        // A backlog brings old heartbeats: an SMO that was heard in one is not gone before it had the time to be heard again.
        let long = now.since(self.since) >= self.unit * self.config.group.dead_units;
        if joining && long && self.heard_smo().is_none() {
            // Perhaps nobody serves any more, and whoever is pending has to begin. Or this life was admitted and left out
            // without hearing of it: only a next one is sure to be let in.
            self.fence("the SMO is gone", now);
        }
        match self.state {
            // One that came back without Sync would go down again.
            MemberState::Down
                if (!long || self.heard_smo().is_some()) && self.sync_is_silent(self.started, Duration::ZERO, now) => {}
            MemberState::Down if self.ports_keep_out(long, now) => {}
            MemberState::Down | MemberState::Lost | MemberState::Absent => {
                self.set_state(MemberState::Pending, "waits for an SMO", now);
            }
            MemberState::Pending => self.run_pending(now),
            MemberState::Syncing => {
                if now.since(self.since) > self.unit * SYNC_UNITS {
                    self.fence("sync was not answered in time", now);
                }
            }
            MemberState::Ready | MemberState::Cloning => self.run_ready(now),
            MemberState::Active | MemberState::Draining => {}
        }
        // An author that boots the group is not admitted anywhere yet, and works all the same.
        if self.author.is_some() {
            self.run_author(now);
        }
    }

    fn run_pending(&mut self, now: Instant) {
        if !self.has_data_path() {
            return;
        }
        if let Some(reason) = self.port_down()
            && self.somebody_is_better_off()
        {
            self.set_state(MemberState::Down, &reason, now);
            return;
        }
        // The boot's own matrix may be here before its Activate: then there is nothing to ask for.
        let me = Admitted { member: self.id(), incarnation: self.incarnation };
        let activate_follows =
            self.held.admitted().contains(&me) && self.held.author().is_some_and(|smo| self.peers.hears(smo.into()));
        if activate_follows {
            return;
        }
        let Some(smo) = self.heard_smo() else {
            if self.author.is_none() {
                self.try_boot(now);
            }
            return;
        };
        if self.author.is_some() {
            return;
        }
        self.set_state(MemberState::Cloning, "compares its configuration with the SMO's", now);
        if self.config_equals_smo() {
            self.set_state(MemberState::Syncing, "takes neighbours and NAT ports over", now);
            self.steps.push_back(Step::StartSync { from: smo });
        } else {
            self.set_state(MemberState::Ready, "its configuration differs from the SMO's", now);
        }
    }

    fn config_equals_smo(&self) -> bool {
        let smo = self.heard_smo().and_then(|smo| self.peers.get(smo.into()));
        smo.is_some_and(|peer| peer.beat.config == self.config.config_digest)
    }

    /// Aligned: asks to be admitted, once a unit (the heartbeat's rhythm), until it is.
    fn run_ready(&mut self, now: Instant) {
        let smo = self.heard_smo();
        if smo.is_some() && !self.config_equals_smo() {
            // Waits, as long as it takes, for an operator to align it.
            return;
        }
        if now.since(self.since) > self.unit * READY_UNITS {
            self.set_state(MemberState::Pending, "was not admitted in time", now);
            return;
        }
        let Some(smo) = smo else { return };
        if self.asked.is_none_or(|asked| now.since(asked) >= self.unit) {
            self.asked = Some(now);
            self.answer(smo.into(), Body::Join { config: self.config.config_digest });
        }
    }

    /// The joiner's sync (`StartSync`) is done.
    pub fn synced(&mut self, now: Instant) {
        if self.state == MemberState::Syncing {
            self.set_state(MemberState::Ready, "aligned, waits to be admitted", now);
            self.asked = None;
            self.run_ready(now);
        }
        self.due = self.next_due();
    }

    /// At boot all are fenced: the lowest id waits for every member that the lab starts, at most 30 units, then authors
    /// a generation with those that came.
    fn try_boot(&mut self, now: Instant) {
        let nobody_serves = self.peers.members().all(|(_, peer)| peer.beat.state != MemberState::Active);
        let lowest = self.peers.members().all(|(member, _)| member > self.id());
        let all_came =
            self.config.starters.iter().all(|&member| member == self.id() || self.peers.hears(member.into()))
                && self.config.orchestrators.iter().all(|&mho| self.peers.hears(mho.into()));
        let waited = self.started.is_some_and(|started| now.since(started.max(self.since)) >= self.unit * BOOT_UNITS);
        // Without an orchestrator nobody could be served; without all of them the wait decides.
        let path = self.config.orchestrators.is_empty()
            || self.config.orchestrators.iter().any(|&mho| self.peers.hears(mho.into()));
        if nobody_serves && lowest && path && (all_came || waited) {
            let highest = self.peers.present().map(|(_, peer)| peer.beat.accepted).max().unwrap_or(Generation::NONE);
            self.boot(highest.max(self.held.accepted), now);
        }
    }
}
