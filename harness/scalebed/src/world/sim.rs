//! The simulated world: the same engines on the fabric, in virtual time. Where namespaces have kernel hosts, a transfer
//! is made by a small TCP model, and the report says so.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use scalebed_cable::Settings as CableSettings;
use scalebed_checkers::decisions::Decisions;
use scalebed_engine::{Command, Engine, Input, Instant, NodeEvent, Output, PortIndex};
use scalebed_fabric::{CableIndex, Fabric, Ledger, NodeIndex};
use scalebed_record::{Entry, Fact, TapId};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{End, NodeKind, PortRole};
use scalebed_traffic::Generator;
use scalebed_traffic::host::{Call, Fetched, Host, HostConfig, Says, Stack};

use super::{Collector, Done, Evidence, HostPlan, Told, Woken, World, hosts, transfer};
use crate::exit::{self, Failure};
use crate::nodes::Config;

/// How far virtual time runs before the driver looks at what was declared.
const SLICE: Duration = Duration::from_millis(1);
/// A kernel takes the ports of a node that is switched off down one after the other, each in so long, and neighbours see
/// it when it is through with all: measured with 8 ports, 97 to 103 ms after the kill.
const PORT_DOWN: Duration = Duration::from_millis(12);

/// Longer than any cable's delay that makes sense: what was on its way when everybody fell silent has arrived.
const ARRIVES: Duration = Duration::from_secs(10);

/// Puts another engine around a node's engine: mutants of tests.
pub type Wrap = Box<dyn Fn(&str, Box<dyn Engine>) -> Box<dyn Engine>>;

/// A lab on the fabric.
pub struct Sim {
    lab: Lab,
    fabric: Fabric,
    collector: Rc<RefCell<Collector>>,
    seed: u64,
    /// What cables that are watched were to do.
    decisions: Rc<RefCell<Decisions>>,
    generator: Option<(NodeIndex, Rc<RefCell<Generator>>)>,
    /// What the hosts do, which ones, and the client.
    hosts: Option<(HostPlan, [transfer::End; 2], Rc<RefCell<Host>>)>,
    wrap: Wrap,
    port_down: Duration,
    /// When the generator stands still, from and to: ns after the schedule's start, later made the run's clock.
    stalls: Vec<(u64, u64)>,
}

impl Sim {
    /// Every node of the lab, silent, and every cable.
    #[must_use]
    pub fn new(lab: &Lab, seed: u64) -> Self {
        Self::with(lab, seed, Box::new(|_, engine| engine))
    }

    /// As [`Sim::new`], with a wrapper around every engine of a node.
    #[must_use]
    pub fn with(lab: &Lab, seed: u64, wrap: Wrap) -> Self {
        let mut fabric = Fabric::new(seed);
        for node in &lab.nodes {
            fabric.add(&node.name, Box::new(Silent), u16::try_from(node.ports.len()).unwrap_or(u16::MAX));
        }
        let place = |end: End| (NodeIndex(usize::from(end.node)), PortIndex(end.port));
        for cable in &lab.cables {
            fabric.connect(place(cable.a), place(cable.b));
        }
        let collector = Rc::new(RefCell::new(Collector::default()));
        let sink = Rc::clone(&collector);
        fabric.on_deliver(Box::new(move |at, cable, at_b, frame| {
            let tap = TapId::new(u16::try_from(cable.0).unwrap_or(u16::MAX), at_b);
            sink.borrow_mut().see(tap, at.0, u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX), frame.bytes());
        }));
        Self {
            lab: lab.clone(),
            fabric,
            collector,
            seed,
            decisions: Rc::default(),
            generator: None,
            hosts: None,
            wrap,
            port_down: PORT_DOWN,
            stalls: Vec::new(),
        }
    }

    /// Whoever is switched off loses all its ports in the same instant: exploration looks for what follows, not for how
    /// long a kernel takes.
    #[must_use]
    pub const fn at_once(mut self) -> Self {
        self.port_down = Duration::ZERO;
        self
    }

    /// The tester itself stands still, from and to, ns after the schedule's start, each to 1 ms (F32): what a shared machine
    /// does. No verdict may fail for it.
    #[must_use]
    pub fn with_stalls(mut self, stalls: Vec<(u64, u64)>) -> Self {
        self.stalls = stalls;
        self
    }

    /// Where the next of the stalls begins or ends, or `until`.
    fn next_edge(&self, until: u64) -> u64 {
        let now = self.fabric.now().0;
        let edges = self.stalls.iter().flat_map(|(from, to)| [*from, *to]);
        edges.filter(|edge| *edge > now).fold(until, u64::min)
    }

    /// Stops and wakes the generator by the list of its stalls.
    fn stall(&mut self) {
        let Some((place, _)) = &self.generator else { return };
        let now = self.fabric.now().0;
        if self.stalls.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            self.fabric.hang(*place);
        } else {
            self.fabric.wake(*place);
        }
    }

    /// The fabric, for tests that look closer.
    pub fn fabric(&mut self) -> &mut Fabric {
        &mut self.fabric
    }

    fn done(&self, proof: impl Into<String>) -> Done {
        let now = self.fabric.now().0;
        Done { before: now, after: now, proof: proof.into() }
    }

    /// Starts a server and a client anew; gives the client, to be looked at.
    fn run_hosts(
        &mut self,
        ends: [&transfer::End; 2],
        serves: BTreeMap<u16, Says>,
        calls: Vec<Call>,
    ) -> Result<Rc<RefCell<Host>>, Failure> {
        let mut hosts = Vec::new();
        for (end, serves, calls) in [(ends[0], serves, Vec::new()), (ends[1], BTreeMap::new(), calls)] {
            let port = self.lab.nodes[end.node].ports.first();
            let (Some(port), Some(network)) = (port, self.lab.network(end.host.network)) else {
                return Err(Failure::new(exit::BUG, format!("{} is on no network", end.name)));
            };
            let stack = |address: IpAddr| Some(Stack { address, gateway: network.cluster_ip_like(address)? });
            let stacks = end.host.addresses().filter_map(stack);
            let config = HostConfig { mac: port.mac, stacks: stacks.collect(), serves, calls };
            let host = Rc::new(RefCell::new(Host::new(config)));
            self.fabric.restart(NodeIndex(end.node), Box::new(Shared(Rc::clone(&host))));
            hosts.push(host);
        }
        hosts.pop().ok_or_else(|| Failure::new(exit::BUG, "no host was started"))
    }

    /// Counters of every node that runs, by its own word.
    fn counters(&mut self) -> Vec<Entry> {
        let running = |node: &usize| !matches!(self.lab.nodes[*node].kind, NodeKind::Host(_) | NodeKind::Generator);
        let nodes: Vec<usize> = (0..self.lab.nodes.len()).filter(running).collect();
        for node in nodes {
            self.fabric.command(NodeIndex(node), Command::Audit { id: 1 });
        }
        let at = self.fabric.now() + SLICE;
        self.fabric.run_until(at);
        let told = self.fabric.take_events();
        told.into_iter()
            .filter_map(|(at, node, event)| match event {
                NodeEvent::Status(status) => Some(Entry {
                    at: at.0,
                    fact: Fact::Counters {
                        node: self.lab.nodes[node.0].name.clone(),
                        drops: status.drops,
                        counters: status.counters,
                    },
                }),
                _ => None,
            })
            .collect()
    }
}

impl World for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn now(&self) -> u64 {
        self.fabric.now().0
    }

    fn advance(&mut self, until: u64) -> Result<Woken, Failure> {
        while self.fabric.now().0 < until {
            self.stall();
            let slice = self.fabric.now() + SLICE;
            self.fabric.run_until(slice.min(Instant(self.next_edge(until))));
            let told = self.fabric.take_events();
            if !told.is_empty() {
                let told = told.into_iter().map(|(at, node, event)| Told { at: at.0, node: node.0, event });
                return Ok(Woken::Told(told.collect()));
            }
        }
        Ok(Woken::Reached)
    }

    fn start(&mut self, node: usize, config: &Config) -> Result<Done, Failure> {
        let engine = (self.wrap)(&self.lab.nodes[node].name, config.engine());
        self.fabric.restart(NodeIndex(node), engine);
        // An orchestrator's uplinks are its own to bring up: a power-on must not attract frames before it is ready.
        for port in 0..self.lab.nodes[node].ports.len() {
            if matches!(self.lab.nodes[node].ports[port].role, PortRole::Uplink(_)) {
                self.set_port(node, port, false)?;
            }
        }
        Ok(self.done("the engine was started"))
    }

    fn kill(&mut self, node: usize) -> Result<Done, Failure> {
        self.fabric.kill(NodeIndex(node));
        Ok(self.done("the engine is gone"))
    }

    fn power_off(&mut self, node: usize) -> Result<Done, Failure> {
        if self.port_down.is_zero() {
            self.fabric.power_off(NodeIndex(node));
            return Ok(self.done("the engine is gone, its ports are down"));
        }
        // The instant of the event is the kill, as in namespaces.
        let killed = self.kill(node)?;
        for _ in &self.lab.nodes[node].ports {
            let later = self.fabric.now() + self.port_down;
            self.fabric.run_until(later);
        }
        self.fabric.power_off(NodeIndex(node));
        let later = self.fabric.now().0.saturating_sub(killed.after) / 1_000_000;
        Ok(Done { proof: format!("{}, its ports were down {later} ms later", killed.proof), ..killed })
    }

    fn hang(&mut self, node: usize) -> Result<Done, Failure> {
        self.fabric.hang(NodeIndex(node));
        Ok(self.done("the engine gets no input"))
    }

    fn wake(&mut self, node: usize) -> Result<Done, Failure> {
        self.fabric.wake(NodeIndex(node));
        Ok(self.done("the engine got its backlog"))
    }

    fn alter(&mut self, node: usize) -> Result<Done, Failure> {
        self.fabric.command(NodeIndex(node), Command::Alter);
        Ok(self.done("an entry of its matrix is another"))
    }

    fn set_port(&mut self, node: usize, port: usize, up: bool) -> Result<Done, Failure> {
        let index = u16::try_from(port).map_err(|_| Failure::new(exit::BUG, "port index beyond 16 bits"))?;
        self.fabric.set_port(NodeIndex(node), PortIndex(index), up);
        Ok(self.done(if up { "the port is up" } else { "the port is down" }))
    }

    fn set_cables(&mut self, cables: &[(usize, CableSettings)]) -> Result<Done, Failure> {
        cables.iter().for_each(|(cable, settings)| self.fabric.set_cable(CableIndex(*cable), *settings));
        Ok(self.done("the cable's rule is set"))
    }

    fn watch(&mut self, cables: &BTreeSet<usize>) {
        if cables.is_empty() {
            return;
        }
        self.collector.borrow_mut().watch(cables);
        *self.decisions.borrow_mut() = Decisions::of(self.seed, cables.iter().map(|cable| super::narrow(*cable)));
        let decisions = Rc::clone(&self.decisions);
        self.fabric.on_offer(Box::new(move |now, cable, to_b, rules, frame| {
            let out = TapId::new(super::narrow(cable.0), to_b);
            decisions.borrow_mut().put_in(out, rules, (now.0, now.0), frame.bytes());
        }));
    }

    fn offer(&mut self, config: &scalebed_traffic::Config) -> Result<(), Failure> {
        let place = self.lab.nodes.iter().position(|node| node.kind == NodeKind::Generator);
        let place = place.ok_or_else(|| Failure::new(exit::BUG, "the lab has no generator"))?;
        let generator = Rc::new(RefCell::new(Generator::new(config.clone())));
        self.generator = Some((NodeIndex(place), Rc::clone(&generator)));
        let start = config.schedule.start;
        self.stalls.iter_mut().for_each(|(from, to)| (*from, *to) = (*from + start, *to + start));
        self.fabric.restart(NodeIndex(place), Box::new(Shared(generator)));
        Ok(())
    }

    fn transfer(&mut self) -> Result<Vec<Fact>, Failure> {
        let Some(ends) = transfer::ends(&self.lab) else { return Ok(vec![transfer::no_hosts()]) };
        let serves = BTreeMap::from([(transfer::PORT, Says::Content { bytes: transfer::BYTES, pace: None })]);
        let (at, addresses) = (self.fabric.now(), transfer::addresses(&ends));
        let call = |&to: &IpAddr| Call { at, to, port: transfer::PORT, says: Says::Nothing };
        let fetching = self.run_hosts([&ends[0], &ends[1]], serves, addresses.iter().map(call).collect())?;
        let limit = at + transfer::LIMIT;
        let fetched = || (0..addresses.len()).map(|call| fetching.borrow().fetched(call));
        while self.fabric.now() < limit && !fetched().all(|one| one.is_some_and(|one| one.complete)) {
            let slice = self.fabric.now() + SLICE;
            self.fabric.run_until(slice);
        }
        let note = "transfers between hosts used the simulation's small TCP, not a kernel's".to_owned();
        let transfers = addresses.iter().zip(fetched()).map(|(to, fetched)| transferred(&ends, *to, at, fetched));
        Ok(std::iter::once(Fact::Note(note)).chain(transfers).collect())
    }

    fn begin_hosts(&mut self, plan: &HostPlan) -> Result<(), Failure> {
        let ends = transfer::ends(&self.lab);
        let ends = ends.ok_or_else(|| Failure::new(exit::BUG, "the lab has no host on a side"))?;
        let calls = plan.sim_calls(&transfer::addresses(&ends));
        let calling = self.run_hosts([&ends[0], &ends[1]], plan.serves(), calls)?;
        self.hosts = Some((plan.clone(), ends, calling));
        Ok(())
    }

    fn end_hosts(&mut self) -> Result<Vec<Fact>, Failure> {
        let Some((plan, ends, calling)) = self.hosts.take() else { return Ok(Vec::new()) };
        let calls = plan.calls(&transfer::addresses(&ends));
        let names = ends.map(|end| end.name);
        let done =
            || (0..calls.len()).all(|call| calling.borrow().fetched(call).is_some_and(|fetched| fetched.complete));
        while self.fabric.now() < Instant(plan.until) + hosts::LATE && !done() {
            let slice = self.fabric.now() + SLICE;
            self.fabric.run_until(slice);
        }
        let host = calling.borrow();
        let told = calls.into_iter().enumerate();
        let mut facts: Vec<Fact> =
            told.map(|(call, planned)| hosts::fact(&planned, &names, host.fetched(call))).collect();
        facts.push(Fact::Note("hosts used the simulation's small TCP, not a kernel's".to_owned()));
        Ok(facts)
    }

    fn hosts_owner(&self) -> Option<usize> {
        self.collector.borrow().hosts_owner(&self.lab)
    }

    fn finish(&mut self) -> Result<Evidence, Failure> {
        let mut evidence = Evidence::default();
        evidence.history.entries.append(&mut self.counters());
        // Everybody falls silent before the ledger is read, and what is on its way arrives.
        (0..self.fabric.len()).for_each(|node| self.fabric.kill(NodeIndex(node)));
        let at = self.fabric.now().0;
        let quiet = self.fabric.now() + ARRIVES;
        self.fabric.run_until(quiet);
        for cable in 0..self.lab.cables.len() {
            let ledger = self.fabric.ledger(CableIndex(cable));
            let Ledger { put_in_a, got_out_b, put_in_b, got_out_a, .. } = ledger;
            let cable = u16::try_from(cable).unwrap_or(u16::MAX);
            if ledger.lost_to_b + ledger.lost_to_a + ledger.doubled_to_b + ledger.doubled_to_a > 0 {
                let fact = Fact::Taken {
                    cable,
                    a_to_b: ledger.lost_to_b,
                    b_to_a: ledger.lost_to_a,
                    doubled_a_to_b: ledger.doubled_to_b,
                    doubled_b_to_a: ledger.doubled_to_a,
                };
                evidence.history.entries.push(Entry { at, fact });
            }
            let fact = Fact::Ledger { cable, put_in_a, got_out_b, put_in_b, got_out_a };
            evidence.history.entries.push(Entry { at, fact });
        }
        evidence.history.entries.push(Entry { at, fact: Fact::TapDrops { frames: 0 } });
        if let Some((_, generator)) = &self.generator {
            let fact = Fact::Generator(generator.borrow().report());
            evidence.history.entries.push(Entry { at, fact });
        }
        let mut collector = self.collector.borrow_mut();
        let decided = self.decisions.take().held_against(&collector.came, 0);
        evidence.history.entries.extend(decided.into_iter().map(|said| Entry { at, fact: Fact::Decided(said) }));
        evidence.history.entries.append(&mut collector.heard);
        evidence.observations = std::mem::take(&mut collector.observations);
        Ok(evidence)
    }

    fn teardown(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What came of a transfer that was begun `at`.
fn transferred([server, client]: &[transfer::End; 2], to: IpAddr, at: Instant, fetched: Option<Fetched>) -> Fact {
    let (bytes, intact) = fetched.map_or((0, false), |fetched| (fetched.bytes, fetched.intact));
    let error = match fetched {
        Some(fetched) if fetched.reset => Some("it was reset"),
        Some(fetched) if fetched.complete => None,
        _ => Some("it stands still"),
    };
    Fact::Transfer {
        from: server.name.clone(),
        to: client.name.clone(),
        ipv6: to.is_ipv6(),
        bytes,
        intact: intact && bytes == transfer::BYTES,
        took: fetched.map_or(0, |fetched| fetched.last.since(at).as_nanos().try_into().unwrap_or(u64::MAX)),
        error: error.map(str::to_owned),
    }
}

/// A node that runs nothing.
struct Silent;

impl Engine for Silent {
    fn handle(&mut self, _: Input, _: Instant) {}

    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}

/// An engine that its owner can still ask after the fabric took it.
struct Shared<E>(Rc<RefCell<E>>);

impl<E: Engine> Engine for Shared<E> {
    fn handle(&mut self, input: Input, now: Instant) {
        self.0.borrow_mut().handle(input, now);
    }

    fn poll(&mut self) -> Output {
        self.0.borrow_mut().poll()
    }
}
