//! The MHO: port roles, dispatch by the matrix, the fence, downlink adjacency, the pair cable.
//!
//! It never routes. What comes in on an uplink goes, under the shim, down to the owner of its bucket; what a member sends
//! up goes out of the uplink of its network; corrections and control messages are switched among the downlinks. Where a
//! downlink or an uplink is down the frame crosses the pair cable, once.

mod dispatch;
mod drops;

use std::collections::{BTreeMap, VecDeque};

use scalebed_cluster::wrap::Envelope;
use scalebed_cluster::{ClusterOrchestrator, NodeConfig, Step};
use scalebed_distribution::{Facing, Policy};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Status};
use scalebed_frame::control::{self, Reassembler};
use scalebed_frame::{Mac, MemberId, NetworkId, NodeId, View};
use scalebed_topologies::lab::{NetworkRole, PortRole};

use drops::{Drop, Drops};

/// What an uplink network is to this orchestrator.
#[derive(Clone, Copy, Debug)]
struct Uplink {
    port: u16,
    network: NetworkId,
    /// The cluster's MAC on it.
    mac: Mac,
    /// `None`: management, whose traffic goes to the SMO.
    facing: Option<Facing>,
}

/// The engine.
#[derive(Debug)]
pub struct Orchestrator {
    config: NodeConfig,
    cluster: ClusterOrchestrator,
    policy: Policy,
    uplinks: Vec<Uplink>,
    downlinks: BTreeMap<MemberId, u16>,
    pair: Option<u16>,
    links: Vec<bool>,
    reassembler: Reassembler,
    message_id: u32,
    ready: bool,
    frames_in: Vec<u64>,
    frames_out: Vec<u64>,
    /// Frames that ended here: control messages to this orchestrator.
    consumed: u64,
    /// Copies beyond the first of a frame that went to several.
    copies: u64,
    /// Frames that this orchestrator made itself.
    made: u64,
    corrections: u64,
    detours: u64,
    drops: Drops,
    outputs: VecDeque<Output>,
    now: Instant,
}

impl Orchestrator {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let ports = || (0u16..).zip(&config.ports);
        let uplinks =
            ports()
                .filter_map(|(port, spec)| match spec.role {
                    PortRole::Uplink(id) => config.networks.iter().find(|network| network.id == id).map(|network| {
                        Uplink { port, network: id, mac: network.cluster_mac, facing: facing(network.role) }
                    }),
                    _ => None,
                })
                .collect();
        let downlinks = ports()
            .filter_map(|(port, spec)| match spec.role {
                PortRole::DownlinkTo(member) => Some((member, port)),
                _ => None,
            })
            .collect();
        let pair = ports().find(|(_, spec)| spec.role == PortRole::Pair).map(|(port, _)| port);
        let group = &config.group;
        Self {
            policy: Policy { mode: group.distribution, l4: group.l4, buckets: group.buckets },
            cluster: ClusterOrchestrator::new(config.clone()),
            uplinks,
            downlinks,
            pair,
            links: vec![false; config.ports.len()],
            reassembler: Reassembler::default(),
            message_id: 0,
            ready: false,
            frames_in: vec![0; config.ports.len()],
            frames_out: vec![0; config.ports.len()],
            consumed: 0,
            copies: 0,
            made: 0,
            corrections: 0,
            detours: 0,
            drops: Drops::default(),
            outputs: VecDeque::new(),
            now: Instant(0),
            config,
        }
    }

    fn up(&self, port: u16) -> bool {
        self.links.get(usize::from(port)).copied().unwrap_or(false)
    }

    fn transmit(&mut self, port: u16, frame: Frame) {
        if let Some(count) = self.frames_out.get_mut(usize::from(port)) {
            *count += 1;
        }
        self.outputs.push_back(Output::Transmit { port: PortIndex(port), frame });
    }

    fn drop(&mut self, reason: Drop) {
        self.drops.count(reason);
    }

    /// A control message to this orchestrator, or to everybody.
    fn consume(&mut self, port: u16, frame: &Frame, view: &View, received: Instant) {
        let from = view.shim.map_or(0, |shim| shim.origin);
        let Some(piece) = control::payload(frame.bytes(), view) else { return self.drops.count(Drop::BadControl) };
        match self.reassembler.push(from, piece) {
            Ok(Some(message)) => self.cluster.on_control(port, &message, received, self.now),
            Ok(None) => {}
            // The frame itself was consumed; this counts what could not be read of it.
            Err(_) => self.drops.count(Drop::BadControl),
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Status { id } | Command::Audit { id } => {
                let status = self.status(*id);
                self.outputs.push_back(Output::Event(NodeEvent::Status(Box::new(status))));
            }
            Command::Drain | Command::Configure(_) => {}
            Command::Alter => self.cluster.alter(),
        }
    }

    fn status(&self, id: u64) -> Status {
        let mut counters = BTreeMap::new();
        for (port, (into, out)) in self.config.ports.iter().zip(self.frames_in.iter().zip(&self.frames_out)) {
            counters.insert(format!("in {}", port.name), *into);
            counters.insert(format!("out {}", port.name), *out);
        }
        for (name, value) in [
            ("consumed", self.consumed),
            ("copies", self.copies),
            ("made", self.made),
            ("corrections", self.corrections),
            ("detours", self.detours),
        ] {
            counters.insert(name.to_owned(), value);
        }
        Status {
            id,
            node: self.config.name.clone(),
            state: if self.cluster.is_fenced() { "fenced" } else { "active" }.to_owned(),
            accepted: Some(self.cluster.accepted()),
            activated: Some(self.cluster.activated()),
            digest: self.cluster.digest(),
            counters,
            drops: self.drops.table(),
            ..Status::default()
        }
    }

    /// Does what the cluster machine wants done.
    fn settle(&mut self) {
        while let Some(step) = self.cluster.next_step() {
            match step {
                Step::Send { port, to, body } => {
                    let envelope = Envelope { incarnation: self.cluster.incarnation(), port, to, body };
                    let links = &self.links;
                    let up = |port: u16| links.get(usize::from(port)).copied().unwrap_or(false);
                    for (port, frame) in envelope.frames(&self.config, &mut self.message_id, &up) {
                        self.made += 1;
                        self.transmit(port, frame);
                    }
                }
                Step::Event(event) => self.outputs.push_back(Output::Event(event)),
                Step::Uplinks(up) => {
                    for uplink in &self.uplinks {
                        self.outputs.push_back(Output::SetPort { port: PortIndex(uplink.port), up });
                    }
                }
                // What it dispatches and fences by is read from the machine at each frame.
                Step::Accepted(_)
                | Step::Activated(_)
                | Step::Fenced
                | Step::Unfenced
                | Step::Smo(_)
                | Step::Probe
                | Step::StartSync { .. }
                | Step::SendMove { .. } => {}
            }
        }
    }

    /// Every frame that came in was sent on, consumed or dropped: in + copies + made = out + consumed + dropped.
    #[cfg(test)]
    fn accounts(&self) -> (u64, u64) {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        let unread = self.drops.table()["bad-control"];
        (
            sum(&self.frames_in) + self.copies + self.made,
            sum(&self.frames_out) + self.consumed + self.drops.total() - unread,
        )
    }
}

impl Engine for Orchestrator {
    fn handle(&mut self, input: Input, now: Instant) {
        self.now = now;
        // First of all: a node that stood still fences itself before it looks at its backlog.
        self.cluster.on_time(now);
        self.settle();
        match input {
            Input::Frame { port, frame, received } => {
                if let Some(count) = self.frames_in.get_mut(usize::from(port.0)) {
                    *count += 1;
                    self.frame(port.0, frame, received);
                }
            }
            Input::Link { port, up, changes } => {
                if let Some(link) = self.links.get_mut(usize::from(port.0)) {
                    *link = up;
                    self.cluster.on_link(port.0, up, changes, now);
                }
            }
            Input::Command(command) => self.command(&command),
            Input::Timeout => {
                if !self.ready {
                    self.ready = true;
                    self.outputs.push_back(Output::Event(NodeEvent::Ready));
                }
            }
        }
        self.settle();
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Idle(self.cluster.deadline()))
    }
}

const fn facing(role: NetworkRole) -> Option<Facing> {
    match role {
        NetworkRole::Inside => Some(Facing::Internal),
        NetworkRole::Outside => Some(Facing::External),
        NetworkRole::Management => None,
    }
}

/// The member or orchestrator behind a node code.
fn node(code: u8) -> Option<NodeId> {
    NodeId::from_code(code)
}

#[cfg(test)]
mod tests;
