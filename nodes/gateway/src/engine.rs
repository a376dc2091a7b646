//! The engine: inputs in, the cluster machine's steps done, timers kept, outputs out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use scalebed_cluster::wrap::Envelope;
use scalebed_cluster::{ClusterMember, LIVES_A_START, NodeConfig, Step};
use scalebed_distribution::{Facing, Policy};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Role, Status};
use scalebed_frame::control::{Admitted, Reassembler};
use scalebed_frame::{Bucket, Flow, Mac, MemberId, NetworkId};
use scalebed_topologies::lab::{Architecture, Network, NetworkRole};

use crate::counters::{Count, Counters, Fate};
use crate::fragments::Fragments;
use crate::membership::Membership;
use crate::moves::Move;
use crate::nat::Nat;
use crate::path::Decide;
use crate::stream::Streams;
use crate::table::{CAPACITY, Id, Table};
use crate::waiting::Waiting;

/// Announcements of both families go out at once, then after these times (the vendor's schedule), s.
const ANNOUNCE: [u64; 5] = [0, 1, 2, 5, 10];
/// A joiner asks again whoever has not answered by then.
const WANT_LIMIT: Duration = Duration::from_secs(2);

/// A joiner's questions.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) open: BTreeSet<MemberId>,
    pub(crate) until: Instant,
}

/// A member's engine.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: NodeConfig,
    /// What the pivot does with packets of data networks; a member behind orchestrators has none.
    pub(crate) decide: Option<Decide>,
    pub(crate) cluster: ClusterMember,
    pub(crate) view: Membership,
    pub(crate) policy: Policy,
    pub(crate) table: Table,
    pub(crate) nat: Nat,
    pub(crate) streams: Streams,
    pub(crate) waiting: Waiting,
    pub(crate) fragments: Fragments,
    pub(crate) neighbours: BTreeMap<(NetworkId, IpAddr), Mac>,
    /// When a next hop was last asked for.
    pub(crate) asked: BTreeMap<(NetworkId, IpAddr), Instant>,
    /// Members that the SMO last said are admitted: a joiner asks them all, heard or not.
    pub(crate) announced: BTreeSet<MemberId>,
    /// When each owned connection reaches the sync delay.
    pub(crate) delayed: BTreeSet<(Instant, Id)>,
    pub(crate) links: Vec<bool>,
    pub(crate) reassembler: Reassembler,
    pub(crate) counters: Counters,
    pub(crate) joining: Option<Joining>,
    /// Planned moves whose list is not sent to the end.
    pub(crate) moves: Vec<Move>,
    /// Who was admitted when the table was walked last.
    pub(crate) served: Vec<Admitted>,
    announcing: Option<(usize, Instant)>,
    message_id: u32,
    ready: bool,
    outputs: VecDeque<Output>,
    pub(crate) now: Instant,
}

impl Gateway {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let me = config.id.member().unwrap_or(MemberId::new(0, 0));
        let group = &config.group;
        let alone = [me];
        // Beginning elsewhere hides most of what not asking would show.
        let start = (config.incarnation.0 / LIVES_A_START).saturating_sub(1);
        let start = if config.ablations.no_port_learning { 0 } else { start };
        let mut view = Membership::new(me, config.incarnation);
        view.no_fence = config.ablations.no_fence;
        Self {
            decide: None,
            cluster: ClusterMember::new(config.clone()),
            view,
            policy: Policy { mode: group.distribution, l4: group.l4, buckets: group.buckets },
            table: Table::new(CAPACITY.min(group.limits.connections as usize)),
            nat: Nat::new(
                &group.nat,
                if config.ablations.no_port_ranges { &alone } else { &config.members },
                me,
                start,
            ),
            streams: Streams::new(group.limits.items as usize, group.quirks),
            waiting: Waiting::new(group.limits.frames as usize),
            fragments: Fragments::default(),
            neighbours: BTreeMap::new(),
            asked: BTreeMap::new(),
            announced: BTreeSet::new(),
            delayed: BTreeSet::new(),
            links: vec![false; config.ports.len()],
            reassembler: Reassembler::default(),
            counters: Counters::default(),
            joining: None,
            moves: Vec::new(),
            served: Vec::new(),
            announcing: None,
            message_id: 0,
            ready: false,
            outputs: VecDeque::new(),
            now: Instant(0),
            config,
        }
    }

    /// As [`Gateway::new`], for a member that may be the pivot.
    #[must_use]
    pub fn with_decision(config: NodeConfig, decide: Decide) -> Self {
        Self { decide: Some(decide), ..Self::new(config) }
    }

    pub(crate) fn is_elastic(&self) -> bool {
        self.config.architecture == Architecture::ElasticXl
    }

    pub(crate) fn network(&self, id: NetworkId) -> Option<&Network> {
        self.config.networks.iter().find(|network| network.id == id)
    }

    pub(crate) fn up(&self, port: u16) -> bool {
        self.links.get(usize::from(port)).copied().unwrap_or(false)
    }

    /// Neither admitted nor about to be: takes no traffic.
    pub(crate) fn is_out(&self) -> bool {
        self.view.fenced && !self.view.is_in()
    }

    /// The bucket of a packet that enters at a network.
    pub(crate) fn bucket(&self, flow: &Flow, ports: bool, network: NetworkId) -> Bucket {
        let outside = self.network(network).is_some_and(|network| network.role == NetworkRole::Outside);
        self.policy.bucket(flow, ports, if outside { Facing::External } else { Facing::Internal })
    }

    pub(crate) fn transmit(&mut self, port: u16, frame: Frame) {
        self.outputs.push_back(Output::Transmit { port: PortIndex(port), frame });
    }

    /// Sends a message of the cluster machine or of a stream; gives the bytes that went out.
    pub(crate) fn send(&mut self, envelope: Envelope) -> u64 {
        let links = &self.links;
        let up = |port: u16| links.get(usize::from(port)).copied().unwrap_or(false);
        let frames = envelope.frames(&self.config, &mut self.message_id, &up);
        let mut bytes = 0;
        for (port, frame) in frames {
            bytes += frame.bytes().len() as u64;
            self.transmit(port, frame);
        }
        bytes
    }

    /// Does what the cluster machine wants done, and reads it again.
    pub(crate) fn settle(&mut self) {
        let mut all = false;
        let (mut fresh, mut back) = (false, false);
        while let Some(step) = self.cluster.next_step() {
            match step {
                Step::Send { port, to, body } => {
                    let incarnation = self.cluster.incarnation();
                    self.send(Envelope { incarnation, port, to, body });
                }
                Step::Event(event) => {
                    all |= matches!(event, NodeEvent::Moved(_));
                    self.outputs.push_back(Output::Event(event));
                }
                Step::Accepted(_) | Step::Activated(_) => fresh = true,
                Step::Unfenced => (fresh, back) = (true, true),
                Step::Fenced => self.fenced(),
                Step::Smo(true) => self.announcing = Some((0, self.now)),
                Step::Smo(false) => self.announcing = None,
                Step::StartSync { .. } => self.ask_everybody(),
                Step::SendMove { to, generation, buckets } => {
                    self.view.read(&self.cluster, true, self.now);
                    self.send_move(to, generation, &buckets);
                }
                Step::Probe => self.probe_neighbours(),
                Step::Uplinks(_) => {}
            }
        }
        let life = self.view.incarnation;
        let changed = self.view.read(&self.cluster, all || fresh, self.now);
        if self.view.incarnation != life {
            self.streams.reset();
            // What waits was for the life that is over.
            for _ in 0..self.waiting.take_all() {
                self.counters.settle(Fate::Dropped(crate::counters::Reason::Fenced));
            }
        }
        if back {
            self.discard_stale();
        }
        if changed || fresh {
            self.matrix_changed();
        } else if all && !self.view.fenced {
            self.walk();
        }
    }

    /// Stops owning: entries stay as copies.
    fn fenced(&mut self) {
        self.announcing = None;
        self.joining = None;
        self.moves.clear();
        self.delayed.clear();
        self.disown();
    }

    fn timers(&mut self) {
        while let Some((what, _)) = self.waiting.next_late(self.now) {
            self.counters.settle(Fate::Dropped(what.late()));
        }
        self.expire();
        self.sync_delayed();
        // Without the answers a joiner would choose ports that are in use: all must have come before it serves, or the state's
        // own deadline lets the join begin anew.
        self.ask_late();
        if let Some((round, at)) = self.announcing.filter(|(_, at)| *at <= self.now) {
            if self.view.leads {
                self.announce();
                self.counters.one(Count::Announced);
                let round = u8::try_from(round).unwrap_or(u8::MAX);
                self.outputs.push_back(Output::Event(NodeEvent::Announced { round }));
            }
            let pause = ANNOUNCE.get(round + 1).map(|next| Duration::from_secs(next - ANNOUNCE[round]));
            self.announcing = pause.map(|pause| (round + 1, at + pause));
        }
        self.flush_streams();
    }

    pub(crate) fn joined(&mut self) {
        self.joining = None;
        self.cluster.synced(self.now);
        self.settle();
    }

    pub(crate) const fn want_limit(&self) -> Duration {
        WANT_LIMIT
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.cluster.deadline(),
            self.waiting.deadline(),
            self.table.deadline(),
            self.delayed.first().map(|(at, _)| *at),
            self.streams.deadline(),
            self.joining.as_ref().map(|joining| joining.until),
            self.announcing.map(|(_, at)| at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn status(&self, id: u64) -> Status {
        let (mut connections, mut copies) = (0, 0);
        for (_, connection) in self.table.iter() {
            if self.owns(connection) { connections += 1 } else { copies += 1 }
        }
        let role = if self.is_elastic() { Role::Pivot } else { Role::Smo };
        let mut counters = self.counters.counts();
        counters.insert("frames_waiting".to_owned(), self.waiting.len() as u64);
        counters.insert("items_waiting".to_owned(), self.streams.waiting() as u64);
        Status {
            id,
            node: self.config.name.clone(),
            state: format!("{:?}", self.view.state).to_lowercase(),
            reason: self.view.reason.clone(),
            roles: if self.view.leads { vec![role] } else { Vec::new() },
            accepted: Some(self.view.accepted),
            activated: Some(self.view.activated),
            digest: self.view.digest,
            buckets: self.view.owned(),
            connections,
            copies,
            counters,
            drops: self.counters.drops(),
        }
    }

    /// Frames that came in, and what became of them: the two are equal.
    #[must_use]
    pub fn accounts(&self) -> (u64, u64) {
        (self.counters.get(Count::FramesIn), self.counters.settled() + self.waiting.len() as u64)
    }
}

impl Engine for Gateway {
    fn handle(&mut self, input: Input, now: Instant) {
        self.now = now;
        // First of all: a node that stood still fences itself before it looks at its backlog.
        self.cluster.on_time(now);
        self.settle();
        match input {
            Input::Frame { port, frame, received } => {
                self.counters.one(Count::FramesIn);
                let fate = self.intake(port.0, frame, received);
                self.counters.settle(fate);
            }
            Input::Link { port, up, changes } => {
                if let Some(link) = self.links.get_mut(usize::from(port.0)) {
                    *link = up;
                    self.cluster.on_link(port.0, up, changes, now);
                }
            }
            Input::Command(Command::Status { id }) => {
                let status = self.status(id);
                self.outputs.push_back(Output::Event(NodeEvent::Status(Box::new(status))));
            }
            Input::Command(Command::Audit { id }) => {
                let status = self.audit(id);
                self.outputs.push_back(Output::Event(NodeEvent::Status(Box::new(status))));
            }
            Input::Command(command @ (Command::Drain | Command::Alter | Command::Configure(_))) => {
                self.cluster.on_command(&command, now);
                self.view.read(&self.cluster, true, now);
            }
            Input::Timeout => {
                if !self.ready {
                    self.ready = true;
                    self.outputs.push_back(Output::Event(NodeEvent::Ready));
                }
            }
        }
        self.settle();
        self.pieces_follow();
        self.timers();
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Idle(self.deadline()))
    }
}
