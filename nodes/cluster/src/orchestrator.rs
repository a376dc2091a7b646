//! The orchestrator's half: an acceptor that fences and dispatches by what it accepted.
//!
//! It starts fenced, with its uplinks down, and stays so until it accepted a Prepare that names its present incarnation.
//! It fences itself again when it finds that it stood still for over 2.5 units, and takes its uplinks down while it
//! hears no member for the dead timer.

use std::collections::VecDeque;
use std::time::Duration;

use scalebed_engine::{Instant, NodeEvent};
use scalebed_frame::control::{Body, Control, Heartbeat, Matrix, MemberState};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::PortRole;

use crate::held::{Answer, Held};
use crate::join::ALTERED;
use crate::lease;
use crate::peers::{self, Peers};
use crate::{NodeConfig, Port, Step};

/// An orchestrator's view of the cluster.
#[derive(Debug)]
pub struct ClusterOrchestrator {
    config: NodeConfig,
    incarnation: Incarnation,
    unit: Duration,
    links: Vec<bool>,
    peers: Peers,
    held: Held,
    fenced: bool,
    uplinks: Option<bool>,
    /// When its last heartbeat was sent: what a woken node measures its own absence by.
    sent: Option<Instant>,
    /// Send time of the newest heartbeat of its own that a member says it heard.
    echoed: Option<Instant>,
    /// Just woken: what was said meanwhile is not read before then.
    unread_until: Instant,
    beat_due: Instant,
    /// How many heartbeats there were.
    beats: u32,
    /// When `on_time` is due, after every input: how late this node itself is.
    due: Option<Instant>,
    steps: VecDeque<Step>,
}

impl ClusterOrchestrator {
    /// A machine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let unit = Duration::from_millis(config.group.unit_ms.into());
        Self {
            incarnation: config.incarnation,
            unit,
            links: vec![false; config.ports.len()],
            peers: Peers::new(unit * config.group.dead_units),
            held: Held::new(),
            fenced: true,
            uplinks: None,
            sent: None,
            echoed: None,
            unread_until: Instant(0),
            beat_due: Instant(0),
            beats: 0,
            due: None,
            steps: VecDeque::new(),
            config,
        }
    }

    /// A control message came in on `port`.
    pub fn on_control(&mut self, port: u16, message: &Control, received: Instant, now: Instant) {
        if message.to.is_some_and(|to| to != self.config.id) {
            return;
        }
        match &message.body {
            Body::Heartbeat(beat) => {
                self.peers.heard(message.from, message.incarnation, beat, received);
                if message.from.member().is_some() {
                    self.echoed = self.echoed.max(lease::echoed(beat, self.config.id, self.incarnation));
                }
                self.settle_uplinks();
            }
            Body::Read { announced } => {
                self.check_matrix();
                let body = self.held.read(*announced);
                self.answer(message.from, port, body);
            }
            Body::Prepare(matrix) => self.prepare(message.from, port, matrix, now),
            Body::Activate { generation } => {
                if self.held.activate(*generation) {
                    self.serve_again();
                    self.steps.push_back(Step::Event(NodeEvent::Activated { generation: *generation }));
                    self.steps.push_back(Step::Activated(*generation));
                }
            }
            Body::ReadAnswer { .. }
            | Body::Ack { .. }
            | Body::Refuse { .. }
            | Body::Join { .. }
            | Body::MoveComplete { .. }
            | Body::Sync(_) => {}
        }
        self.due = self.next_due();
    }

    /// Carrier of a port.
    pub fn on_link(&mut self, port: u16, up: bool, _changes: u32, now: Instant) {
        let Some(link) = self.links.get_mut(usize::from(port)) else { return };
        let changed = *link != up;
        *link = up;
        // Members learn of a lost downlink from the heartbeat that says so: at once.
        if changed && matches!(self.config.ports[usize::from(port)].role, PortRole::DownlinkTo(_)) {
            self.beat(now);
        }
        self.due = self.next_due();
    }

    /// Time passes; called before every other input too. Before the deadline there is nothing to do.
    pub fn on_time(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        if self.uplinks.is_none() {
            self.set_uplinks(false);
        }
        if let Some(sent) = self.sent
            && now.since(sent) > self.unit * 5 / 2
            && !self.config.ablations.no_self_fence
        {
            self.fence("stood still for over 2.5 units");
        }
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        if late > self.unit / 2 {
            self.peers.forgive(late);
            // What members said meanwhile is in the backlog, and what it says now they echo within a unit.
            self.unread_until = now + self.unit * 5 / 4;
        }
        // Members that hear it no more are about to declare it dead, and would not wait for it in a barrier.
        if self.lease_end().is_some_and(|end| now >= end) {
            self.fence("no member has heard it for 2.5 units");
        }
        if self.peers.watch(now) {
            self.settle_uplinks();
        }
        if now >= self.beat_due {
            self.check_matrix();
            self.beat(now);
        }
        self.due = self.next_due();
    }

    /// F31: one entry of the matrix becomes another.
    pub fn alter(&mut self) {
        self.held.alter();
    }

    /// A matrix that is not what was accepted dispatches nothing: it is forgotten, and given to the next life.
    fn check_matrix(&mut self) {
        if !self.held.is_sound() {
            self.held.matrix = None;
            self.fence(ALTERED);
        }
    }

    /// The next thing to do; drained after every call.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When `on_time` must be called next.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn next_due(&self) -> Option<Instant> {
        [Some(self.beat_due), self.peers.deadline(), self.lease_end()].into_iter().flatten().min()
    }

    /// When it is too long ago that a member heard it.
    fn lease_end(&self) -> Option<Instant> {
        let sent = self.echoed.filter(|_| !self.fenced && !self.config.ablations.no_lease)?;
        Some((sent + self.unit * 5 / 2 + Duration::from_nanos(1)).max(self.unread_until))
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> MhoId {
        self.config.id.mho().unwrap_or(MhoId(0))
    }

    /// In which life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The accepted matrix: what dispatch uses.
    #[must_use]
    pub fn matrix(&self) -> Option<&Matrix> {
        self.held.matrix.as_ref()
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.held.digest
    }

    /// Highest accepted generation.
    #[must_use]
    pub fn accepted(&self) -> Generation {
        self.held.accepted
    }

    /// Highest activated generation.
    #[must_use]
    pub fn activated(&self) -> Generation {
        self.held.activated
    }

    /// The fence: may a data frame of this origin (node code) and incarnation (low 16 bits) pass?
    #[must_use]
    pub fn passes(&self, origin: NodeId, incarnation: u16) -> bool {
        let known = |member: MemberId| {
            self.held
                .admitted()
                .iter()
                .any(|one| one.member == member && (one.incarnation.0 & 0xffff) == u32::from(incarnation))
        };
        self.config.ablations.no_fence || origin.member().is_some_and(known)
    }

    /// Fenced: forwards nothing, uplinks down.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Who holds the SMO role, as far as this orchestrator hears.
    #[must_use]
    pub fn smo(&self) -> Option<MemberId> {
        self.held.author()
    }

    /// By the way the question came: that the asker does not hear this orchestrator on the cable between them is not to be
    /// seen from here.
    fn answer(&mut self, to: NodeId, asked_on: u16, body: Body) {
        let role = self.config.ports.get(usize::from(asked_on)).map(|port| port.role);
        let port = if role == Some(PortRole::Pair) { Port::One(asked_on) } else { Port::Best };
        if self.config.group.quirks.twice {
            self.steps.push_back(Step::Send { port, to: Some(to), body: body.clone() });
        }
        self.steps.push_back(Step::Send { port, to: Some(to), body });
    }

    fn prepare(&mut self, from: NodeId, port: u16, matrix: &Matrix, now: Instant) {
        self.held.pardon(matrix.generation, self.peers.active_of(matrix.generation));
        let body = match self.held.prepare(matrix) {
            Answer::Only(body) => body,
            Answer::Accepted(body) => {
                let (generation, digest) = (self.held.accepted, self.held.digest);
                let admitted = matrix.admitted.clone();
                self.steps.push_back(Step::Event(NodeEvent::Accepted { generation, digest, admitted }));
                self.steps.push_back(Step::Accepted(generation));
                self.beat(now);
                if self.config.group.quirks.late_ack {
                    return;
                }
                body
            }
        };
        self.answer(from, port, body);
    }

    /// Counted in a matrix that is active: the barrier of its author held, so no other author is in its place.
    fn serve_again(&mut self) {
        let me = (self.id(), self.incarnation);
        let counted = self.held.matrix.as_ref().is_some_and(|matrix| matrix.orchestrators.contains(&me));
        if self.fenced && counted && self.held.activated == self.held.accepted {
            self.fenced = false;
            self.steps.push_back(Step::Unfenced);
            self.settle_uplinks();
        }
    }

    fn fence(&mut self, reason: &str) {
        if !self.fenced {
            self.fenced = true;
            self.steps.push_back(Step::Event(NodeEvent::Fenced { reason: reason.to_owned() }));
            self.steps.push_back(Step::Fenced);
        }
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.peers.clear();
        (self.sent, self.echoed) = (None, None);
        self.set_uplinks(false);
    }

    /// Uplinks are up while it is not fenced and hears a member of the group.
    fn settle_uplinks(&mut self) {
        let serves = !self.fenced && self.peers.members().next().is_some();
        self.set_uplinks(serves);
    }

    fn set_uplinks(&mut self, up: bool) {
        if self.uplinks != Some(up) {
            self.uplinks = Some(up);
            self.steps.push_back(Step::Uplinks(up));
        }
    }

    fn beat(&mut self, now: Instant) {
        self.sent = Some(now);
        self.beats = self.beats.wrapping_add(1);
        self.beat_due = now + peers::pause(self.unit, self.beats, self.config.group.quirks);
        let down = |(port, up): (&scalebed_topologies::lab::Port, &bool)| match port.role {
            PortRole::DownlinkTo(member) if !up => Some(member),
            _ => None,
        };
        let beat = Heartbeat {
            sent: now.0,
            heard: self.peers.list(),
            state: if self.fenced { MemberState::Down } else { MemberState::Active },
            reason: self.fenced.then(|| "waits for a matrix that counts it".to_owned()),
            config: self.config.config_digest,
            accepted: self.held.accepted,
            digest: self.held.digest,
            activated: self.held.activated,
            admitted: self.held.admitted().to_vec(),
            smo: false,
            downlinks_down: self.config.ports.iter().zip(&self.links).filter_map(down).collect(),
            ports_down: 0,
        };
        self.steps.push_back(Step::Send { port: Port::All, to: None, body: Body::Heartbeat(beat) });
    }
}
