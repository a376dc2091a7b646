//! The member's half of the agreement: its state, its heartbeats, what it accepts. `author` holds what the SMO (pivot)
//! does on top, `join` how a member comes in and why it falls out.
//!
//! ```text
//! Pending --hears an SMO--> Cloning --equal configuration--> Syncing --synced()--> Ready --admitted, Activate--> Active
//!    |                         +--different--> Ready (with the reason, never Active)        (Join is repeated)
//!    +--boot: lowest id, nobody Active--> authors a generation --Activate--> Active
//! Active --stood still, isolated, left out--> Down --> Pending, in the next life
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use scalebed_engine::{Command, Instant, MoveReport, NodeEvent};
use scalebed_frame::control::{Admitted, Body, Control, Matrix, MemberState};
use scalebed_frame::{Bucket, Generation, Incarnation, MemberId, NodeId};

use crate::author::Author;
use crate::held::Held;
use crate::lease::{self, Lease};
use crate::paths::Paths;
use crate::peers::Peers;
use crate::ports::Ports;
use crate::{NodeConfig, Port, Step};

/// After so long without complete, a new owner drops first packets that it does not know; it never creates early.
const MOVE_LIMIT: Duration = Duration::from_millis(500);

/// A member's view of the cluster.
#[derive(Debug)]
pub struct ClusterMember {
    pub(crate) config: NodeConfig,
    pub(crate) incarnation: Incarnation,
    pub(crate) unit: Duration,
    pub(crate) paths: Paths,
    pub(crate) ports: Ports,
    pub(crate) peers: Peers,
    pub(crate) held: Held,
    pub(crate) state: MemberState,
    pub(crate) reason: Option<String>,
    pub(crate) fenced: bool,
    pub(crate) author: Option<Author>,
    /// The highest generation that others said they hold or wait for: what this node authors is higher.
    pub(crate) beyond: Generation,
    /// Holds the SMO (pivot) role: its own generation is active.
    pub(crate) smo_taken: bool,
    pub(crate) started: Option<Instant>,
    /// Since when the state is what it is.
    pub(crate) since: Instant,
    /// When its last heartbeat was sent: what a woken node measures its own absence by.
    pub(crate) sent: Option<Instant>,
    pub(crate) beat_due: Instant,
    /// How many there were.
    pub(crate) beats: u32,
    /// When it last asked to be admitted.
    pub(crate) asked: Option<Instant>,
    /// When `on_time` is due, after every input: how late this node itself is.
    pub(crate) due: Option<Instant>,
    /// Moves to this member that are complete: generation and previous owner, with the number of entries.
    pub(crate) completed: BTreeMap<(Generation, MemberId), u32>,
    /// When each generation whose moves the matrix still shows was accepted.
    pub(crate) moves_since: BTreeMap<Generation, Instant>,
    /// ElasticXL: for how long this member may serve.
    pub(crate) lease: Lease,
    /// The latest time that this node was told.
    pub(crate) clock: Instant,
    pub(crate) steps: VecDeque<Step>,
}

impl ClusterMember {
    /// A machine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let unit = Duration::from_millis(config.group.unit_ms.into());
        Self {
            incarnation: config.incarnation,
            unit,
            paths: Paths::new(config.ports.len()),
            ports: Ports::default(),
            peers: Peers::new(lease::dead_after(&config)),
            held: Held::new(),
            state: MemberState::Pending,
            reason: Some("waits for an SMO".to_owned()),
            fenced: true,
            author: None,
            beyond: Generation::NONE,
            smo_taken: false,
            started: None,
            since: Instant(0),
            sent: None,
            beat_due: Instant(0),
            beats: 0,
            asked: None,
            due: None,
            completed: BTreeMap::new(),
            moves_since: BTreeMap::new(),
            lease: Lease::default(),
            clock: Instant(0),
            steps: VecDeque::new(),
            config,
        }
    }

    /// A control message came in on `port`. (`Sync` bodies go to the gateway, not here.)
    pub fn on_control(&mut self, port: u16, message: &Control, received: Instant, now: Instant) {
        let from = message.from;
        self.clock = now;
        self.paths.heard(port, received);
        if message.to.is_some_and(|to| to != self.config.id) || from == self.config.id {
            return;
        }
        match &message.body {
            Body::Heartbeat(beat) => {
                let worse = self.says_worse(from, message.incarnation, beat);
                self.peers.heard(from, message.incarnation, beat, received);
                if worse {
                    // It waits to be told whether somebody is better off.
                    self.beat(now);
                }
                if let NodeId::Member(member) = from {
                    self.renew_lease(Admitted { member, incarnation: message.incarnation }, beat, received, now);
                }
                if self.fenced {
                    // If all lose their state, the boot still goes above what one of them heard before: as if it had been
                    // announced here.
                    self.held.promised = self.held.promised.max(beat.accepted);
                }
                self.check_admission(from, beat, now);
                self.check_ports(now);
            }
            Body::Prepare(matrix) => self.prepare(from, matrix, now),
            Body::Activate { generation } => self.activate(*generation, now),
            Body::Read { announced } => {
                self.check_matrix(now);
                let body = self.held.read(*announced);
                self.answer(from, body);
            }
            Body::ReadAnswer { promised, matrix, .. } => self.read_answer(from, *promised, matrix.as_ref(), now),
            Body::Ack { generation, digest } => self.ack(from, *generation, *digest, now),
            Body::Refuse { generation, holds, .. } => self.refused(from, *generation, *holds, now),
            Body::Join { config } => self.join_asked(from, message.incarnation, *config),
            Body::MoveComplete { generation, previous } => self.move_reported(from, *previous, *generation),
            Body::Sync(_) => {}
        }
        self.run(now);
        self.due = self.next_due();
    }

    /// Carrier of a port, and how often it changed so far: a node that stood still may have missed that it was gone.
    pub fn on_link(&mut self, port: u16, up: bool, changes: u32, now: Instant) {
        let before = self.ports_down();
        self.paths.link(port, up, changes, now);
        self.clock = now;
        if self.started.is_some() && !self.has_data_path() {
            self.fence("no carrier on any data path", now);
        } else if self.started.is_some() && self.lost_all_data_paths(now) {
            self.fence("there was no carrier on any data path while it stood still", now);
        }
        self.ports_changed(before, now);
        self.due = self.next_due();
    }

    /// Time passes. Called before every other input too: a node that stood still fences itself first. Before the deadline
    /// there is nothing to do: a packet must not cost a look at every peer.
    pub fn on_time(&mut self, now: Instant) {
        self.clock = now;
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        self.started.get_or_insert(now);
        if let Some(sent) = self.sent
            && now.since(sent) > self.unit * 5 / 2
            && !self.config.ablations.no_self_fence
        {
            // Whatever this life was promised meanwhile, a Prepare in the backlog may count it, others have gone on.
            self.start_over("stood still for over 2.5 units", now);
        }
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        if late > self.unit / 2 {
            self.peers.forgive(late);
            self.lease.forgive(late, now, self.unit);
            self.paths.forgive(late);
        }
        let due = now >= self.beat_due;
        if due {
            self.check_matrix(now);
        }
        if self.peers.watch(now) {
            self.beat(now);
        }
        self.check_isolation(now);
        self.check_lease(now);
        self.check_ports(now);
        self.check_sync(now);
        self.run(now);
        if now >= self.beat_due {
            self.beat(now);
        }
        if due {
            self.probe_if_alone(now);
            self.report_moves();
        }
        self.due = self.next_due();
    }

    /// An operator's command. Draining comes with the issue that plans it.
    pub fn on_command(&mut self, command: &Command, _now: Instant) {
        match command {
            Command::Alter => self.held.alter(),
            Command::Status { .. } | Command::Audit { .. } | Command::Drain | Command::Configure(_) => {}
        }
    }

    /// All entries of the move of `generation` from `previous` were applied here.
    pub fn move_complete(&mut self, generation: Generation, previous: MemberId, entries: u32, now: Instant) {
        if self.completed.insert((generation, previous), entries).is_none() {
            let report = MoveReport { generation, previous, entries };
            self.steps.push_back(Step::Event(NodeEvent::Moved(report)));
            if !self.config.group.quirks.late_report {
                self.report_moves();
            }
            self.run(now);
            self.due = self.next_due();
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

    pub(crate) fn next_due(&self) -> Option<Instant> {
        let author = self.author.as_ref().and_then(Author::deadline);
        let due = [Some(self.beat_due), self.peers.deadline(), self.lease_deadline(), self.ports_deadline(), author];
        due.into_iter().flatten().min()
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.config.id.member().unwrap_or(MemberId::new(0, 0))
    }

    /// In which life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// State.
    #[must_use]
    pub fn state(&self) -> MemberState {
        self.state
    }

    /// Why it is not Active.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The accepted matrix.
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

    /// May a Prepare of this counter that admits this life be on its way still? Others that have it send frames already.
    /// One below what this member heard of is old: whoever sends by it knows nothing of this life.
    #[must_use]
    pub fn awaits(&self, counter: u32) -> bool {
        let heard = self.held.promised.counter;
        self.fenced && self.state == MemberState::Ready && counter > self.held.accepted.counter && counter >= heard
    }

    /// Highest activated generation.
    #[must_use]
    pub fn activated(&self) -> Generation {
        self.held.activated
    }

    /// Who is admitted by the accepted matrix.
    #[must_use]
    pub fn admitted(&self) -> &[Admitted] {
        self.held.admitted()
    }

    /// May this member process and create connections of `bucket` now? Owner in the accepted matrix, and either the
    /// generation in which the bucket moved is activated, or it did not move.
    #[must_use]
    pub fn may_own(&self, bucket: Bucket) -> bool {
        let mine = self.bucket(bucket).filter(|assignment| assignment.owner == self.id());
        let barrier = |moved| moved <= self.held.activated || self.config.ablations.no_barrier;
        !self.fenced && mine.is_some_and(|assignment| barrier(assignment.moved))
    }

    /// The previous owner of a bucket whose planned move to this member is not complete yet.
    #[must_use]
    pub fn waiting_for(&self, bucket: Bucket) -> Option<MemberId> {
        if self.config.ablations.no_previous_owner {
            return None;
        }
        let mine = self.bucket(bucket).filter(|assignment| assignment.owner == self.id())?;
        mine.previous.filter(|&previous| !self.completed.contains_key(&(mine.moved, previous)))
    }

    /// Has the move of a bucket to this member waited too long for its list? First packets are dropped then.
    #[must_use]
    pub fn move_overdue(&self, bucket: Bucket, now: Instant) -> bool {
        let since = self.bucket(bucket).and_then(|assignment| self.moves_since.get(&assignment.moved));
        self.waiting_for(bucket).is_some() && since.is_some_and(|&since| now.since(since) > MOVE_LIMIT)
    }

    /// Is this life of `member` admitted? (the receivers' half of the fence)
    #[must_use]
    pub fn is_admitted(&self, admitted: Admitted) -> bool {
        self.held.admitted().contains(&admitted)
    }

    /// The receivers' half of the fence by what a shim says: node and the low 16 bits of its life.
    #[must_use]
    pub fn passes(&self, origin: NodeId, incarnation: u16) -> bool {
        let is = |one: &Admitted| {
            NodeId::from(one.member) == origin && (one.incarnation.0 & 0xffff) == u32::from(incarnation)
        };
        self.config.ablations.no_fence || self.held.admitted().iter().any(is)
    }

    /// Fenced: owns, forwards, answers and authors nothing.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Who holds the SMO (pivot) role, as far as this member knows.
    #[must_use]
    pub fn smo(&self) -> Option<MemberId> {
        if self.fenced { self.heard_smo() } else { self.held.author() }
    }

    /// Does this member hold it?
    #[must_use]
    pub fn is_smo(&self) -> bool {
        self.smo_taken && !self.fenced
    }

    /// The member that claims the role in its heartbeats.
    pub(crate) fn heard_smo(&self) -> Option<MemberId> {
        self.peers.members().find(|(_, peer)| peer.beat.smo).map(|(member, _)| member)
    }

    fn bucket(&self, bucket: Bucket) -> Option<&scalebed_frame::control::Assignment> {
        self.held.matrix.as_ref()?.buckets.get(usize::from(bucket.0))
    }

    pub(crate) fn answer(&mut self, to: NodeId, body: Body) {
        let port = self.best_port(to).map_or(Port::Best, Port::One);
        if self.config.group.quirks.twice {
            self.steps.push_back(Step::Send { port, to: Some(to), body: body.clone() });
        }
        self.steps.push_back(Step::Send { port, to: Some(to), body });
    }

    pub(crate) fn event(&mut self, event: NodeEvent) {
        self.steps.push_back(Step::Event(event));
    }

    pub(crate) fn set_state(&mut self, to: MemberState, reason: &str, now: Instant) {
        let from = self.state;
        self.reason = (to != MemberState::Active).then(|| reason.to_owned());
        if from != to {
            (self.state, self.since) = (to, now);
            self.event(NodeEvent::State { from, to, reason: reason.to_owned() });
        }
    }

    /// Everything that follows from what is known now.
    pub(crate) fn run(&mut self, now: Instant) {
        if self.fenced {
            self.run_join(now);
        } else {
            self.run_author(now);
        }
    }
}
