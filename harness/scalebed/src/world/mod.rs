//! The two worlds that a scenario runs in, behind one trait.

use std::collections::{BTreeMap, BTreeSet};

use scalebed_cable::Settings as CableSettings;
use scalebed_checkers::decisions::{self, Came};
use scalebed_checkers::observe::{self, ControlWatch};
use scalebed_engine::NodeEvent;
use scalebed_frame::{Kind, Protocol};
use scalebed_record::{History, Observation, TapId};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::NodeKind;
use scalebed_traffic::Config as GeneratorConfig;

use crate::exit::Failure;
use crate::nodes;

mod apply;
mod control;
mod events;
mod hosts;
pub mod netns;
pub mod sim;
mod transfer;

pub use hosts::HostPlan;

/// Something done to the lab: the clock before and after the call, and what proves that it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Clock before the call, ns.
    pub before: u64,
    /// Clock after it, ns.
    pub after: u64,
    /// What shows that it is in force.
    pub proof: String,
}

/// An event that a node declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// By its own clock, ns.
    pub at: u64,
    /// Index of the lab's nodes.
    pub node: usize,
    /// What.
    pub event: NodeEvent,
}

/// Why time stopped passing.
#[derive(Clone, Debug, PartialEq)]
pub enum Woken {
    /// The instant was reached.
    Reached,
    /// Nodes declared something before it.
    Told(Vec<Told>),
    /// The operator wants to stop (first Ctrl-C).
    Interrupted,
}

/// What a run leaves to the judge.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Facts that the world itself knows: ledger, tap drops, stalls, the generator's account, control frames.
    pub history: History,
    /// What taps saw, in order of time.
    pub observations: Vec<Observation>,
}

/// A place where a lab runs. Times are ns of the world's one clock.
pub trait World {
    /// `netns` or `sim`.
    fn name(&self) -> &'static str;

    /// The clock.
    fn now(&self) -> u64;

    /// Lets time pass until an instant or until a node declares something.
    ///
    /// # Errors
    /// The world broke: a process of ours died that was not killed, a descriptor failed.
    fn advance(&mut self, until: u64) -> Result<Woken, Failure>;

    /// Starts a node's process (its ports too, if a power off took them down).
    ///
    /// # Errors
    /// The process could not be started.
    fn start(&mut self, node: usize, config: &nodes::Config) -> Result<Done, Failure>;

    /// The process dies, its ports stay up.
    ///
    /// # Errors
    /// It was not running, or did not die.
    fn kill(&mut self, node: usize) -> Result<Done, Failure>;

    /// The process dies and its ports go down with it.
    ///
    /// # Errors
    /// As [`World::kill`], or a port did not go down.
    fn power_off(&mut self, node: usize) -> Result<Done, Failure>;

    /// The process is stopped.
    ///
    /// # Errors
    /// It was not running.
    fn hang(&mut self, node: usize) -> Result<Done, Failure>;

    /// A stopped process goes on.
    ///
    /// # Errors
    /// It was not running.
    fn wake(&mut self, node: usize) -> Result<Done, Failure>;

    /// One entry of the matrix in a node's memory becomes another.
    ///
    /// # Errors
    /// This world cannot reach into a node.
    fn alter(&mut self, node: usize) -> Result<Done, Failure>;

    /// A port administratively up or down.
    ///
    /// # Errors
    /// The port does not exist or did not change.
    fn set_port(&mut self, node: usize, port: usize, up: bool) -> Result<Done, Failure>;

    /// What cables do to frames from now on, all at once.
    ///
    /// # Errors
    /// This world cannot impair one of them.
    fn set_cables(&mut self, cables: &[(usize, CableSettings)]) -> Result<Done, Failure>;

    /// The same of one cable.
    ///
    /// # Errors
    /// As [`World::set_cables`].
    fn set_cable(&mut self, cable: usize, settings: CableSettings) -> Result<Done, Failure> {
        self.set_cables(&[(cable, settings)])
    }

    /// Before anything goes over them: what these cables do is to be held against their rules, frame by frame. A world that
    /// was built for that does nothing.
    fn watch(&mut self, _cables: &BTreeSet<usize>) {}

    /// Starts the generator; it sends by its schedule from `schedule.start` on.
    ///
    /// # Errors
    /// The process could not be started.
    fn offer(&mut self, config: &GeneratorConfig) -> Result<(), Failure>;

    /// TCP transfers of hosts through the cluster, as facts: the kernel's, or the simulated world's model of one.
    ///
    /// # Errors
    /// A host could not be entered.
    fn transfer(&mut self) -> Result<Vec<scalebed_record::Fact>, Failure>;

    /// Begins what hosts do while the scenario runs.
    ///
    /// # Errors
    /// A host could not be entered.
    fn begin_hosts(&mut self, plan: &HostPlan) -> Result<(), Failure>;

    /// Waits for what hosts still do, for a few seconds at most, and tells what came of all of it.
    ///
    /// # Errors
    /// The world broke.
    fn end_hosts(&mut self) -> Result<Vec<scalebed_record::Fact>, Failure>;

    /// The node that sent the newest packet of the hosts' long conversations which taps saw leaving a member.
    fn hosts_owner(&self) -> Option<usize>;

    /// Stops the taps, reads every counter, and hands the evidence over.
    ///
    /// # Errors
    /// A counter could not be read.
    fn finish(&mut self) -> Result<Evidence, Failure>;

    /// Takes everything down.
    ///
    /// # Errors
    /// [`crate::exit::TEARDOWN`]: something is left, by name.
    fn teardown(&mut self) -> Result<(), Failure>;
}

/// Collects what a tap callback sees, in both worlds.
#[derive(Debug, Default)]
pub struct Collector {
    /// Observations in order of arrival.
    pub observations: Vec<Observation>,
    /// Control frames, reduced to changes.
    pub watch: ControlWatch,
    /// What the watch found.
    pub heard: Vec<scalebed_record::Entry>,
    /// So many observations are kept, the newest; none: all.
    pub most: Option<usize>,
    /// What came out of impaired cables, by tap: those that are in here are looked at.
    pub came: BTreeMap<TapId, Vec<Came>>,
}

impl Collector {
    /// The member that sent the newest packet of the hosts' long conversations over IPv4: those over IPv6 may be another's,
    /// and which of the two was last is chance. One that is corrected or handed over was sent by somebody else.
    fn hosts_owner(&self, lab: &Lab) -> Option<usize> {
        self.observations.iter().rev().find_map(|seen| {
            let flow = seen
                .flow
                .filter(|flow| hosts::LONG.iter().any(|port| [flow.src_port, flow.dst_port].contains(port)))?;
            let sent = flow.protocol == Protocol::TCP
                && flow.src.is_ipv4()
                && seen.shim.is_none_or(|shim| shim.kind == Kind::Data);
            // A tap sits where frames arrive; who sent them is at the other end.
            let node = usize::from(lab.cables.get(usize::from(seen.tap.cable()))?.end(!seen.tap.at_b()).node);
            (sent && matches!(lab.nodes.get(node)?.kind, NodeKind::Member(_))).then_some(node)
        })
    }

    /// Keeps prints of what comes out of these cables from now on.
    pub fn watch(&mut self, cables: &BTreeSet<usize>) {
        let both = cables.iter().flat_map(|cable| [true, false].map(|at_b| TapId::new(narrow(*cable), at_b)));
        self.came.extend(both.map(|tap| (tap, Vec::new())));
    }

    /// One frame at one tap.
    pub fn see(&mut self, tap: TapId, at: u64, length: u32, bytes: &[u8]) {
        if let Some(came) = self.came.get_mut(&tap) {
            came.push(Came { at, print: decisions::print(length, bytes) });
        }
        let observation = observe::observe(tap, at, length, bytes);
        for heard in self.watch.see(&observation, bytes) {
            self.heard.push(scalebed_record::Entry { at, fact: scalebed_record::Fact::Heard(heard) });
        }
        // Dropped by halves: a vector that loses its first for each new one would be moved each time.
        if self.most.is_some_and(|most| self.observations.len() >= 2 * most) {
            self.observations.drain(..self.observations.len() / 2);
        }
        self.observations.push(observation);
    }
}

/// Cables are counted in thousands.
fn narrow(cable: usize) -> u16 {
    u16::try_from(cable).unwrap_or(u16::MAX)
}
