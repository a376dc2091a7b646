//! The real world: one process a node in namespaces of the run's own, taps on every cable, kernel hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signalfd::SignalFd;
use scalebed_engine::Status;
use scalebed_netns::{MLD_REPORTS, NsId, Process, Sandbox, TapSpec, Taps};
use scalebed_record::{Entry, Fact, TapId};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{NodeKind, PortRole};

use super::apply::{Namespaces, apply};
use super::events::Stream;
use super::hosts::threads::HostThreads;
use super::{Collector, Done, Evidence, HostPlan, Told, Woken, World, transfer};
use crate::exit::{self, Failure};
use crate::journals;
use crate::nodes::Config;
use crate::plan::Plan;

mod decisions;
mod evidence;
mod processes;
mod wires;

use wires::Wires;

/// SCHED_FIFO priority of node processes, where it is permitted.
const PRIORITY: i32 = 10;
/// That of the generator: the tester must be on time even where the nodes take all there is.
const TESTER_PRIORITY: i32 = 20;
/// The generator's program.
const GENERATOR: &str = "traffic-gen";
/// A process that does not end within this is a bug.
const PROCESS_LIMIT: Duration = Duration::from_secs(5);
/// Hosts say which groups they listen to within some 30 ms.
const REPORTS_WITHIN: Duration = Duration::from_millis(500);
/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A lab in namespaces.
pub struct Netns {
    lab: Lab,
    folder: PathBuf,
    programs: PathBuf,
    sandbox: Sandbox,
    namespaces: Namespaces,
    taps: Option<Taps>,
    collector: Arc<Mutex<Collector>>,
    /// `tx_packets` by node and interface when the taps were opened.
    before: BTreeMap<usize, BTreeMap<String, u64>>,
    streams: BTreeMap<usize, Stream>,
    running: BTreeMap<usize, Process>,
    generator: Option<Process>,
    /// What impaired cables go through.
    wires: Option<Wires>,
    hosts: Option<HostThreads>,
    signals: Option<SignalFd>,
    told: Vec<Told>,
    stalls: Vec<Entry>,
    /// Nodes write journals: so many starts of each so far.
    journals: Option<BTreeMap<usize, u32>>,
}

/// Where a run finds and puts things.
#[derive(Debug)]
pub struct Places<'a> {
    /// The run directory.
    pub folder: &'a Path,
    /// Where `mho`, `sgm`, `pivot`, `switch` and `traffic-gen` are.
    pub programs: &'a Path,
    /// Do nodes write journals?
    pub journals: bool,
    /// So many observations of taps are kept, the newest; none: all, for the judge.
    pub recent: Option<usize>,
    /// Cables that may be impaired, by their indexes in the lab: [`World::set_cable`] refuses all others.
    pub bent: BTreeSet<usize>,
    /// Decides what impaired cables lose.
    pub seed: u64,
}

impl<'a> Places<'a> {
    /// Without journals, every observation kept, all cables plain.
    #[must_use]
    pub const fn of(folder: &'a Path, programs: &'a Path) -> Self {
        Self { folder, programs, journals: false, recent: None, bent: BTreeSet::new(), seed: 1 }
    }

    /// Is everything kept for the judge?
    const fn is_judged(&self) -> bool {
        self.recent.is_none()
    }
}

/// What [`Netns::wait`] came back with.
#[derive(Debug, Default)]
pub struct Waited {
    /// The operator wants to stop.
    pub interrupted: bool,
    /// The descriptor can be read.
    pub asked: bool,
    /// What nodes declared.
    pub told: Vec<Told>,
    /// Nodes whose process ended without being told to, with their last words.
    pub died: Vec<(usize, String)>,
}

impl Netns {
    /// Builds the lab: namespaces, cables, hosts, taps. No process of a node runs yet.
    ///
    /// # Errors
    /// [`exit::CAPABILITY`]: namespaces are not permitted. [`exit::APPLY`]: a step failed; nothing is left.
    pub fn build(lab: &Lab, places: &Places<'_>, signals: Option<SignalFd>) -> Result<Self, Failure> {
        let mut sandbox = Sandbox::create(places.folder)
            .map_err(|error| Failure::new(exit::CAPABILITY, format!("no namespaces here: {error}")))?;
        let mut namespaces = apply(&mut sandbox, &Plan::with_wires(lab, &places.bent))?;
        let wires = namespaces.remove(&lab.nodes.len()).map(|ns| Wires::start(&sandbox, ns, places));
        let wires = wires.transpose()?;
        let mut collector = Collector { most: places.recent, ..Collector::default() };
        if places.is_judged() {
            collector.watch(&places.bent);
        }
        let collector = Arc::new(Mutex::new(collector));
        hosts_have_reported(lab, &sandbox, &namespaces)?;
        let taps = open_taps(lab, &sandbox, &namespaces, &collector)?;
        let mut before = BTreeMap::new();
        for (node, ns) in &namespaces {
            before.insert(*node, counters(&sandbox, *ns)?);
        }
        Ok(Self {
            lab: lab.clone(),
            folder: places.folder.to_path_buf(),
            programs: places.programs.to_path_buf(),
            sandbox,
            namespaces,
            taps: Some(taps),
            collector,
            before,
            streams: BTreeMap::new(),
            running: BTreeMap::new(),
            generator: None,
            wires,
            hosts: None,
            signals,
            told: Vec::new(),
            stalls: Vec::new(),
            journals: places.journals.then(BTreeMap::new),
        })
    }

    /// The sandbox, for tests.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The namespace of a node, by its name in the lab.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<NsId> {
        let (node, _) = self.lab.node(name)?;
        self.namespaces.get(&node).copied()
    }

    fn name(&self, node: usize) -> &str {
        &self.lab.nodes[node].name
    }

    /// What taps saw and heard; with [`Places::recent`], lately.
    pub fn collected(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node's own account of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, node: usize) -> std::io::Result<Status> {
        super::control::status(&self.folder.join("nodes").join(self.name(node)).join("control.sock"))
    }
}

impl World for Netns {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn now(&self) -> u64 {
        scalebed_netns::monotonic()
    }

    fn advance(&mut self, until: u64) -> Result<Woken, Failure> {
        loop {
            let now = self.now();
            let (interrupted, _) =
                self.listen(None, Duration::from_nanos(until.saturating_sub(now).min(100_000_000)))?;
            if interrupted {
                return Ok(Woken::Interrupted);
            }
            if !self.told.is_empty() {
                return Ok(Woken::Told(std::mem::take(&mut self.told)));
            }
            self.nobody_died()?;
            if self.now() >= until {
                return Ok(Woken::Reached);
            }
        }
    }

    fn start(&mut self, node: usize, config: &Config) -> Result<Done, Failure> {
        let folder = self.node_folder(node)?;
        let file = folder.join("config.json");
        let json = config.to_json().map_err(|error| broke(&format!("configuration: {error}")))?;
        std::fs::write(&file, json).map_err(|error| broke(&format!("{}: {error}", file.display())))?;
        let ns = self.namespaces[&node];
        // An orchestrator's uplinks are its own to bring up: a power-on must not attract frames before it is ready.
        for port in self.lab.nodes[node].ports.iter().filter(|port| !matches!(port.role, PortRole::Uplink(_))) {
            self.sandbox.set_up(ns, &port.name, true).map_err(|error| broke(&format!("{}: {error}", port.name)))?;
        }
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut args = vec!["--config".to_owned(), path("config.json"), "--control".to_owned(), path("control.sock")];
        args.extend(["--events".to_owned(), path("events.fifo")]);
        if let Some(starts) = &mut self.journals {
            let start = starts.entry(node).or_default();
            *start += 1;
            args.extend(["--journal".to_owned(), path(&journals::name(*start))]);
        }
        let _absent_is_fine = std::fs::remove_file(folder.join("control.sock"));
        let before = self.now();
        let process = self.spawn(node, config.program(), args)?;
        self.running.insert(node, process);
        Ok(Done { before, after: self.now(), proof: "the process lives".to_owned() })
    }

    fn kill(&mut self, node: usize) -> Result<Done, Failure> {
        let name = self.name(node).to_owned();
        let mut process = self.running.remove(&node).ok_or_else(|| broke(&format!("{name} is not running")))?;
        let before = self.now();
        process.kill().map_err(|error| broke(&format!("{name}: {error}")))?;
        let after = self.now();
        process.wait(PROCESS_LIMIT).map_err(|error| broke(&format!("{name} did not die: {error}")))?;
        Ok(Done { before, after, proof: "its process descriptor says that it is dead".to_owned() })
    }

    fn power_off(&mut self, node: usize) -> Result<Done, Failure> {
        let killed = self.kill(node)?;
        let ns = self.namespaces[&node];
        for port in &self.lab.nodes[node].ports {
            self.sandbox.set_up(ns, &port.name, false).map_err(|error| broke(&format!("{}: {error}", port.name)))?;
        }
        // From the kill on it forwards nothing. The kernel takes ports down one by one (10 ms each): that is part of what
        // failover takes, not of the instant of the event.
        let later = self.now().saturating_sub(killed.after) / 1_000_000;
        Ok(Done { proof: format!("{}, its ports were down {later} ms later", killed.proof), ..killed })
    }

    fn hang(&mut self, node: usize) -> Result<Done, Failure> {
        self.signal(node, "SIGSTOP was delivered through its process descriptor", Process::stop)
    }

    fn wake(&mut self, node: usize) -> Result<Done, Failure> {
        self.signal(node, "SIGCONT was delivered through its process descriptor", Process::cont)
    }

    fn set_port(&mut self, node: usize, port: usize, up: bool) -> Result<Done, Failure> {
        let ns = self.namespaces[&node];
        let name = self.lab.nodes[node].ports[port].name.clone();
        let (before, after) = self.sandbox.set_up(ns, &name, up).map_err(|error| broke(&format!("{name}: {error}")))?;
        let (carrier, _) = self.sandbox.carrier(ns, &name).map_err(|error| broke(&format!("{name}: {error}")))?;
        // A port that is up has no carrier while its cable's other end is off: whether frames pass, taps tell.
        if carrier && !up {
            return Err(broke(&format!("{name} was set down, and its carrier stays")));
        }
        Ok(Done { before, after, proof: format!("carrier of {name} reads {carrier}") })
    }

    fn alter(&mut self, node: usize) -> Result<Done, Failure> {
        let name = &self.lab.nodes[node].name;
        let text =
            format!("reaching into the memory of {name} in namespaces is not supported: use the simulated world");
        Err(Failure::new(exit::CAPABILITY, text))
    }

    fn set_cables(&mut self, cables: &[(usize, scalebed_cable::Settings)]) -> Result<Done, Failure> {
        let plain = cables.iter().find(|(cable, _)| !self.wires.as_ref().is_some_and(|wires| wires.has(*cable)));
        let (Some(wires), None) = (&self.wires, plain) else {
            let name = plain.map_or("?", |(cable, _)| &self.lab.cables[*cable].name);
            let text = format!("{name} is a plain cable, which cannot be impaired: bring the lab up with --wires");
            return Err(Failure::new(exit::CAPABILITY, text));
        };
        let before = self.now();
        let at = wires.set(cables)?;
        let after = self.now();
        // By its own clock, which is this one: its answer may wait for milliseconds until nodes let the harness run.
        let at = at.clamp(before, after);
        Ok(Done { before: at, after: at, proof: "the wire process says that its rules are in force".to_owned() })
    }

    fn offer(&mut self, config: &scalebed_traffic::Config) -> Result<(), Failure> {
        let node = self.lab.nodes.iter().position(|node| node.kind == NodeKind::Generator);
        let node = node.ok_or_else(|| broke("the lab has no generator"))?;
        let file = self.folder.join("schedule.json");
        let json = serde_json::to_string(config).map_err(|error| broke(&format!("schedule: {error}")))?;
        std::fs::write(&file, json).map_err(|error| broke(&format!("{}: {error}", file.display())))?;
        let ports: Vec<String> = self.lab.nodes[node].ports.iter().map(|port| port.name.clone()).collect();
        let [inside, outside] = ports.as_slice() else { return Err(broke("the generator needs two ports")) };
        let events = self.node_folder(node)?.join("events.fifo");
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let args = vec![
            "--config".to_owned(),
            path(file),
            "--inside".to_owned(),
            inside.clone(),
            "--outside".to_owned(),
            outside.clone(),
            "--report".to_owned(),
            path(self.folder.join("generator.json")),
            "--events".to_owned(),
            path(events),
        ];
        self.generator = Some(self.spawn(node, GENERATOR, args)?);
        Ok(())
    }

    fn transfer(&mut self) -> Result<Vec<Fact>, Failure> {
        transfer::run(&self.lab, &self.sandbox, &self.namespaces)
    }

    fn begin_hosts(&mut self, plan: &HostPlan) -> Result<(), Failure> {
        let ends = transfer::ends(&self.lab).ok_or_else(|| broke("the lab has no host on a side"))?;
        let namespaces = [0, 1].map(|end| self.namespaces[&ends[end].node]);
        self.hosts = Some(HostThreads::start(&self.sandbox, namespaces, ends, plan)?);
        Ok(())
    }

    fn end_hosts(&mut self) -> Result<Vec<Fact>, Failure> {
        Ok(self.hosts.take().map_or_else(Vec::new, HostThreads::finish))
    }

    fn hosts_owner(&self) -> Option<usize> {
        self.collected().hosts_owner(&self.lab)
    }

    fn finish(&mut self) -> Result<Evidence, Failure> {
        // Of a run that was stopped.
        self.hosts = None;
        let report = self.generator_report()?;
        let mut evidence = Evidence::default();
        let accounts = self.accounts();
        // Everybody stops talking before the counters are read: the ledger closes to the last frame.
        for (_, mut process) in std::mem::take(&mut self.running) {
            let _dead_is_fine = process.kill();
            let _dead_is_fine = process.wait(PROCESS_LIMIT);
        }
        self.listen(None, Duration::ZERO)?;
        let at = self.now();
        let mut decisions = None;
        if let Some(wires) = self.wires.take() {
            let entries;
            (entries, decisions) = wires.finish(&self.sandbox, at)?;
            evidence.history.entries.extend(entries);
        }
        // Taps give what they still have.
        evidence.history.entries.extend(self.ledger()?);
        evidence.history.entries.extend(accounts);
        evidence.history.entries.append(&mut self.stalls);
        if let Some(report) = report {
            evidence.history.entries.push(Entry { at, fact: Fact::Generator(report) });
        }
        let mut collector = self.collector.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = decisions.map_or_else(Vec::new, |all| all.held_against(&collector.came, decisions::EARLY));
        evidence.history.entries.extend(decided.into_iter().map(|said| Entry { at, fact: Fact::Decided(said) }));
        evidence.history.entries.append(&mut collector.heard);
        evidence.observations = std::mem::take(&mut collector.observations);
        // Rings are read one after the other: stamps are the kernel's, the order is ours to restore.
        evidence.observations.sort_by_key(|observation| observation.at);
        Ok(evidence)
    }

    fn teardown(&mut self) -> Result<(), Failure> {
        self.taps.take();
        self.running.clear();
        self.wires.take();
        self.sandbox.teardown().map_err(|errors| {
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Failure::new(exit::TEARDOWN, format!("teardown left something: {}", text.join("; ")))
        })
    }
}

fn open_taps(
    lab: &Lab,
    sandbox: &Sandbox,
    namespaces: &Namespaces,
    collector: &Arc<Mutex<Collector>>,
) -> Result<Taps, Failure> {
    let mut specs = Vec::new();
    for (cable, ends) in (0u16..).zip(&lab.cables) {
        for (end, at_b) in [(ends.a, false), (ends.b, true)] {
            let node = usize::from(end.node);
            let ifname = lab.nodes[node].ports[usize::from(end.port)].name.clone();
            specs.push(TapSpec { ns: namespaces[&node], ifname, tap: TapId::new(cable, at_b).0 });
        }
    }
    let sink = Arc::clone(collector);
    let callback = Box::new(move |tap: u16, at: u64, length: u32, bytes: &[u8]| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).see(TapId(tap), at, length, bytes);
    });
    Taps::open(sandbox, specs, callback).map_err(|error| Failure::new(exit::APPLY, format!("taps: {error}")))
}

/// Waits until hosts with IPv6 have said which groups they listen to: a frame between the opening of taps and the reading of
/// counters would be on one side of the ledger only. One whose kernel says nothing is not waited for for long.
fn hosts_have_reported(lab: &Lab, sandbox: &Sandbox, namespaces: &Namespaces) -> Result<(), Failure> {
    let deadline = std::time::Instant::now() + REPORTS_WITHIN;
    let hosts = lab.nodes.iter().enumerate().filter(|(_, node)| match &node.kind {
        NodeKind::Host(host) => host.address6.is_some(),
        _ => false,
    });
    for (node, _) in hosts {
        let Some(ns) = namespaces.get(&node) else { continue };
        while counters(sandbox, *ns)?.values().sum::<u64>() < MLD_REPORTS && std::time::Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

fn counters(sandbox: &Sandbox, ns: NsId) -> Result<BTreeMap<String, u64>, Failure> {
    sandbox.tx_packets(ns).map_err(|error| broke(&format!("counters: {error}")))
}

fn broke(text: &str) -> Failure {
    Failure::new(exit::BUG, text)
}
