//! The phases of a run, the same in both worlds: boot, warm-up, baseline, events, settle, drain.

use std::collections::{BTreeSet, VecDeque};

use scalebed_checkers::Input;
use scalebed_cluster::Ablations;
use scalebed_engine::NodeEvent;
use scalebed_frame::control::MemberState;
use scalebed_frame::{MemberId, NodeId};
use scalebed_record::{Entry, Fact, History};
use scalebed_topologies::lab::{Node, NodeKind, PortRole};
use scalebed_topologies::scenario::{Action, Event, Scenario, Target};
use scalebed_topologies::{Fault, Lab};

use crate::exit::{self, Failure};
use crate::world::{Done, Evidence, HostPlan, Told, Woken, World};
use crate::{nodes, traffic, translate};

mod faults;
pub use faults::{bent, bent_by};
pub mod live;

const MS: u64 = 1_000_000;
/// From the last process start to "every starter is Active and every orchestrator has a matrix". The agreement itself
/// waits at most 30 units for a member that does not come.
const BOOT_LIMIT: u64 = 20_000 * MS;
/// From the generator's start to its first packet: it resolves the cluster's addresses meanwhile.
const LEAD: u64 = 1_000 * MS;
/// First packets, neighbour resolution and connection set-up, before the phase clock starts.
pub const WARM_UP: u64 = 1_000 * MS;
/// From when hosts are told what to do to when they begin.
const HOSTS_LEAD: u64 = 100 * MS;
/// After the last packet is due: what is under way arrives, what is late is told from what is lost.
const DRAIN: u64 = 2_000 * MS;

/// What a run needs beside its files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Seed of addresses, ports and phases of the traffic.
    pub seed: u64,
    /// Safeguards switched off (tests).
    pub ablations: Ablations,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// For the judge.
    pub evidence: Evidence,
    /// The operator stopped it.
    pub interrupted: bool,
}

impl Ran {
    /// What the judge is given. `lab` and `scenario` are those of the file, whatever the nodes were told.
    #[must_use]
    pub fn input<'a>(&'a self, lab: &'a Lab, scenario: &'a Scenario, world: &'a str, seed: u64) -> Input<'a> {
        let Evidence { history, observations, .. } = &self.evidence;
        Input { lab, scenario, history, observations, world, seed }
    }
}

/// Runs a scenario. Whatever happens, what was seen so far comes back; only a broken world is an error.
///
/// # Errors
/// [`exit::APPLY`]: the lab did not come up. [`exit::BUG`]: the world broke.
pub fn drive(
    world: &mut dyn World,
    lab: &Lab,
    scenario: &Scenario,
    settings: Settings,
    progress: &mut dyn FnMut(&str),
) -> Result<Ran, Failure> {
    drive_with(world, lab, scenario, &[], settings, progress)
}

/// As [`drive`], with faults beside the scenario's own events. They are in no event's prediction: whoever uses them judges
/// by invariants.
///
/// # Errors
/// As [`drive`]; [`exit::CAPABILITY`]: this world cannot do such a fault.
pub fn drive_with(
    world: &mut dyn World,
    lab: &Lab,
    scenario: &Scenario,
    faults: &[Fault],
    settings: Settings,
    progress: &mut dyn FnMut(&str),
) -> Result<Ran, Failure> {
    let faults: Vec<Fault> = faults.iter().flat_map(Fault::steps).collect();
    world.watch(&bent_by(lab, &scenario.events));
    let mut driver = Driver { planned: faults.len(), faults, ..Driver::new(world, lab, scenario, settings) };
    let interrupted = match driver.phases(progress) {
        Ok(()) => false,
        Err(Stop::Interrupted) => {
            driver.note("interrupted by the operator");
            true
        }
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    progress("ledger");
    let mut evidence = driver.world.finish()?;
    evidence.history.entries.append(&mut driver.history.entries);
    evidence.history.entries.sort_by_key(|entry| entry.at);
    Ok(Ran { evidence, interrupted })
}

/// Brings a lab into service without a scenario's phases: what a live lab begins with.
///
/// # Errors
/// [`exit::APPLY`]: the lab did not come up. [`exit::INTERRUPTED`]: the operator stopped it.
pub fn boot(world: &mut dyn World, lab: &Lab, scenario: &Scenario, settings: Settings) -> Result<(), Failure> {
    Ok(Driver::new(world, lab, scenario, settings).boot()?)
}

/// Why the phases ended early.
enum Stop {
    Interrupted,
    Failed(Failure),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::new(exit::INTERRUPTED, "interrupted by the operator"),
            Stop::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Driver<'a, W: World + ?Sized> {
    world: &'a mut W,
    lab: &'a Lab,
    scenario: &'a Scenario,
    settings: Settings,
    history: History,
    states: Vec<NodeState>,
    last_victim: Option<usize>,
    faults: Vec<Fault>,
    /// So many of them, the first, have their own times. The others are a lab's, an event's, or done by hand.
    planned: usize,
    /// Indexes of the faults of cables that stand: what they do to one cable adds up.
    standing: BTreeSet<usize>,
}

/// What the driver knows of a node from its own declarations: enough to wait for it and to find role holders.
#[derive(Clone, Default)]
struct NodeState {
    starts: u32,
    running: bool,
    hung: bool,
    ready: bool,
    active: bool,
    has_matrix: bool,
    smo: bool,
}

/// One thing to do at a time of the schedule.
struct Due {
    at: u64,
    event: Option<u32>,
    what: What,
}

enum What {
    Event(Event),
    Wake(usize),
    /// Index of the faults.
    Inject(usize),
    /// Index of the faults.
    Heal(usize),
}

impl<'a, W: World + ?Sized> Driver<'a, W> {
    fn new(world: &'a mut W, lab: &'a Lab, scenario: &'a Scenario, settings: Settings) -> Self {
        let states = vec![NodeState::default(); lab.nodes.len()];
        Self {
            world,
            lab,
            scenario,
            settings,
            history: History::default(),
            states,
            last_victim: None,
            faults: Vec::new(),
            planned: 0,
            standing: BTreeSet::new(),
        }
    }

    fn phases(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), Stop> {
        self.phase("boot", progress);
        self.boot()?;
        self.phase("warm-up", progress);
        let start = self.world.now() + LEAD;
        let clock = start + WARM_UP;
        let end = clock + self.length_ms() * MS;
        let offered = traffic::generator(self.lab, self.scenario, self.settings.seed, start, end - start)?;
        self.record(Fact::Schedule(offered.schedule.clone()));
        self.world.offer(&offered)?;
        self.pass(clock)?;
        self.phase("baseline", progress);
        if self.scenario.kernel_transfers {
            for fact in self.world.transfer()? {
                self.record(fact);
            }
        }
        if !self.scenario.hosts.is_empty() {
            let from = self.world.now() + HOSTS_LEAD;
            self.world.begin_hosts(&HostPlan { tasks: self.scenario.hosts.clone(), from, until: end })?;
        }
        self.events(clock, progress)?;
        self.phase("settle", progress);
        self.pass(end)?;
        self.phase("drain", progress);
        self.pass(end + DRAIN)?;
        for fact in self.world.end_hosts()? {
            self.record(fact);
        }
        Ok(())
    }

    /// Length of the schedule after the warm-up.
    fn length_ms(&self) -> u64 {
        let last = self.scenario.events.iter().map(Event::healed_ms).max().unwrap_or(self.scenario.baseline_ms);
        let healed = self.faults.iter().map(Fault::healed_ms).max().unwrap_or(0);
        last.max(healed) + self.scenario.settle_ms
    }

    /// Starts switches, orchestrators, then members, and waits for their own word that they are in service.
    fn boot(&mut self) -> Result<(), Stop> {
        for fault in self.lab.impairments.clone() {
            let (text, node, done, _) = self.begin(&fault, self.world.now())?;
            self.operation(None, text, node, done);
        }
        let order = |node: &Node| match node.kind {
            NodeKind::Switch(_) => 0,
            NodeKind::Mho(_) => 1,
            NodeKind::Member(_) => 2,
            NodeKind::Host(_) | NodeKind::Generator => 3,
        };
        let mut nodes: Vec<usize> = (0..self.lab.nodes.len()).filter(|&node| !self.absent(node)).collect();
        nodes.sort_by_key(|&node| order(&self.lab.nodes[node]));
        for node in nodes {
            self.start(node)?;
        }
        let limit = self.world.now() + BOOT_LIMIT;
        while let Some(waiting) = self.not_in_service() {
            if self.world.now() >= limit {
                let text = format!("{waiting} did not come into service within {} s", BOOT_LIMIT / MS / 1000);
                return Err(Failure::new(exit::APPLY, text).into());
            }
            self.step(limit)?;
        }
        Ok(())
    }

    fn absent(&self, node: usize) -> bool {
        self.lab.nodes[node]
            .kind
            .id()
            .and_then(NodeId::member)
            .is_some_and(|member| self.scenario.absent.contains(&member))
    }

    /// The first node that should be in service and is not.
    fn not_in_service(&self) -> Option<&str> {
        let waits = |(node, spec): &(usize, &Node)| {
            let state = &self.states[*node];
            match spec.kind {
                NodeKind::Switch(_) => !state.ready,
                NodeKind::Mho(_) => !state.has_matrix,
                NodeKind::Member(_) => !state.active && !self.absent(*node),
                NodeKind::Host(_) | NodeKind::Generator => false,
            }
        };
        self.lab.nodes.iter().enumerate().find(waits).map(|(_, node)| node.name.as_str())
    }

    fn events(&mut self, clock: u64, progress: &mut dyn FnMut(&str)) -> Result<(), Stop> {
        let due = |(index, event): (usize, &Event)| Due {
            at: clock + event.at_ms * MS,
            event: u32::try_from(index).ok(),
            what: What::Event(event.clone()),
        };
        let mut queue: Vec<Due> = self.scenario.events.iter().enumerate().map(due).collect();
        for (index, fault) in self.faults[..self.planned].iter().enumerate() {
            queue.push(Due { at: clock + fault.at_ms * MS, event: None, what: What::Inject(index) });
            queue.push(Due { at: clock + fault.healed_ms() * MS, event: None, what: What::Heal(index) });
        }
        // Stable: what is due at once is done in the order in which it was written.
        queue.sort_by_key(|due| due.at);
        let mut queue = VecDeque::from(queue);
        while let Some(next) = queue.pop_front() {
            self.pass(next.at)?;
            match next.what {
                What::Event(event) => {
                    let (text, later) = self.act(next.event, &event, next.at)?;
                    progress(&text);
                    for (at, what) in later {
                        let place = queue.iter().position(|due| due.at > at).unwrap_or(queue.len());
                        queue.insert(place, Due { at, event: None, what });
                    }
                }
                What::Inject(fault) => self.inject(fault)?,
                What::Heal(fault) => self.heal(fault)?,
                What::Wake(node) => {
                    let done = self.world.wake(node)?;
                    let text = format!("wake {}", self.lab.nodes[node].name);
                    progress(&text);
                    self.operation(None, text, node, done);
                }
            }
        }
        Ok(())
    }

    /// Does an event that was due at `at`; says it in words, and what must be done when afterwards.
    fn act(&mut self, index: Option<u32>, event: &Event, at: u64) -> Result<(String, Vec<(u64, What)>), Stop> {
        let mut later = Vec::new();
        let (verb, node, done) = match event.action {
            Action::Fault(ref fault) => {
                let (text, node, done);
                (text, node, done, later) = self.begin(fault, at)?;
                self.operation(index, text.clone(), node, done);
                return Ok((text, later));
            }
            Action::Kill(target) => {
                let node = self.victim(target)?;
                let done = self.world.kill(node)?;
                self.forget(node);
                ("kill".to_owned(), node, done)
            }
            Action::PowerOff(target) => {
                let node = self.victim(target)?;
                let done = self.world.power_off(node)?;
                self.forget(node);
                ("power off".to_owned(), node, done)
            }
            Action::Hang { target, units } => {
                let node = self.victim(target)?;
                let done = self.world.hang(node)?;
                let awake = done.after + u64::from(units) * u64::from(self.lab.group.unit_ms) * MS;
                later.push((awake, What::Wake(node)));
                (format!("hang for {units} units:"), node, done)
            }
            Action::Start(target) => {
                let node = self.find(target)?;
                ("start".to_owned(), node, self.launch(node)?)
            }
            Action::DownlinkDown { member, mho } => self.downlink(member, PortRole::Downlink(mho), false)?,
            Action::DownlinkUp { member, mho } => self.downlink(member, PortRole::Downlink(mho), true)?,
        };
        let text = format!("{verb} {}", self.lab.nodes[node].name);
        self.operation(index, text.clone(), node, done);
        Ok((text, later))
    }

    fn downlink(&mut self, member: MemberId, role: PortRole, up: bool) -> Result<(String, usize, Done), Stop> {
        let node = self.find(Target::Member(member))?;
        let port = self.lab.nodes[node].ports.iter().position(|port| port.role == role);
        let port = port.ok_or_else(|| Failure::new(exit::BUG, format!("{member} has no such downlink")))?;
        let done = self.world.set_port(node, port, up)?;
        let verb = if up { "mend" } else { "pull" };
        Ok((format!("{verb} {} of", self.lab.nodes[node].ports[port].name), node, done))
    }

    /// A dead node no longer holds what it declared: the role that it had is somebody else's to take.
    fn forget(&mut self, node: usize) {
        self.states[node] = NodeState { starts: self.states[node].starts, ..NodeState::default() };
    }

    /// The node that is meant, remembered as the last victim.
    fn victim(&mut self, target: Target) -> Result<usize, Stop> {
        let node = self.find(target)?;
        self.last_victim = Some(node);
        Ok(node)
    }

    fn find(&self, target: Target) -> Result<usize, Stop> {
        let by_id = |id: NodeId| self.lab.by_id(id).map(|(node, _)| node);
        let found = match target {
            Target::Member(member) => by_id(member.into()),
            Target::Mho(mho) => by_id(mho.into()),
            Target::Smo => self.states.iter().position(|state| state.smo),
            Target::LastVictim => self.last_victim,
            Target::HostsOwner => self.world.hosts_owner(),
        };
        found.ok_or_else(|| Failure::new(exit::BUG, format!("nobody is {target:?} now")).into())
    }

    fn start(&mut self, node: usize) -> Result<(), Stop> {
        if matches!(self.lab.nodes[node].kind, NodeKind::Host(_) | NodeKind::Generator) {
            return Ok(());
        }
        let done = self.launch(node)?;
        let text = format!("start {}", self.lab.nodes[node].name);
        self.operation(None, text, node, done);
        Ok(())
    }

    fn launch(&mut self, node: usize) -> Result<Done, Stop> {
        self.forget(node);
        self.states[node].starts += 1;
        self.states[node].running = true;
        let starts = self.states[node].starts;
        let spec = &self.lab.nodes[node];
        let config = nodes::config(self.lab, &self.scenario.absent, spec, starts, self.settings.ablations)
            .ok_or_else(|| Failure::new(exit::BUG, format!("{} runs no process of ours", spec.name)))?;
        Ok(self.world.start(node, &config)?)
    }

    /// Lets time pass until an instant.
    fn pass(&mut self, until: u64) -> Result<(), Stop> {
        while self.world.now() < until {
            self.step(until)?;
        }
        Ok(())
    }

    fn step(&mut self, until: u64) -> Result<(), Stop> {
        match self.world.advance(until)? {
            Woken::Reached => Ok(()),
            Woken::Interrupted => Err(Stop::Interrupted),
            Woken::Told(told) => {
                told.into_iter().for_each(|told| self.told(told));
                Ok(())
            }
        }
    }

    fn told(&mut self, told: Told) {
        let state = &mut self.states[told.node];
        match &told.event {
            NodeEvent::Ready => state.ready = true,
            NodeEvent::State { to, .. } => state.active = *to == MemberState::Active,
            NodeEvent::Role { taken, .. } => state.smo = *taken,
            NodeEvent::Accepted { .. } => state.has_matrix = true,
            NodeEvent::Fenced { .. } => state.smo = false,
            NodeEvent::Activated { .. }
            | NodeEvent::Prepared { .. }
            | NodeEvent::Dead { .. }
            | NodeEvent::Announced { .. }
            | NodeEvent::Moved(_)
            | NodeEvent::Status(_) => {}
        }
        if let Some((what, text)) = translate::declared(&told.event) {
            let node = self.lab.nodes[told.node].name.clone();
            self.history.entries.push(Entry { at: told.at, fact: Fact::Declared { node, text, what } });
        }
    }

    fn operation(&mut self, event: Option<u32>, text: String, node: usize, done: Done) {
        let name = self.lab.nodes[node].name.clone();
        let fact =
            Fact::Operation { event, text, node: name, before: done.before, after: done.after, proof: done.proof };
        self.history.entries.push(Entry { at: done.before, fact });
    }

    fn phase(&mut self, name: &str, progress: &mut dyn FnMut(&str)) {
        progress(name);
        self.record(Fact::Phase(name.to_owned()));
    }

    fn note(&mut self, text: &str) {
        self.record(Fact::Note(text.to_owned()));
    }

    fn record(&mut self, fact: Fact) {
        self.history.entries.push(Entry { at: self.world.now(), fact });
    }
}
