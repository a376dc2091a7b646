//! The fabric itself: nodes, cables, and the loop.

use std::fmt::Write as _;

use scalebed_cable::{Direction, Fate, Line, Rules, Settings, flip, shortened};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex};
use scalebed_frame::render;

use crate::node::{Node, Process};
use crate::queue::{Happening, Queue};
use crate::record::Keep;

/// Outputs of one `handle` after which an engine is taken to be in an endless loop.
const MAX_OUTPUTS: u32 = 1_000_000;
/// Wake-ups of one node at one instant after which it is taken to be in an endless loop.
const MAX_SPINS: u32 = 100_000;

/// A node, by the order of [`Fabric::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub usize);

/// A cable, by the order of [`Fabric::connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CableIndex(pub usize);

/// A tap: told when and where a frame came out (`true`: at end b of the cable).
pub type Deliver = Box<dyn FnMut(Instant, CableIndex, bool, &Frame)>;

/// Told what is put into a cable, to come out at its end b (`true`) or a, before the cable's rules decide on it.
pub type Offer = Box<dyn FnMut(Instant, CableIndex, bool, &Rules, &Frame)>;

/// A cable's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Frames that end a put in.
    pub put_in_a: u64,
    /// Frames that came out at end b.
    pub got_out_b: u64,
    /// Frames that end b put in.
    pub put_in_b: u64,
    /// Frames that came out at end a.
    pub got_out_a: u64,
    /// Frames that the cable's rules took on the way to end b.
    pub lost_to_b: u64,
    /// The same on the way to end a.
    pub lost_to_a: u64,
    /// Frames that the cable's rules made two of on the way to end b.
    pub doubled_to_b: u64,
    /// The same on the way to end a.
    pub doubled_to_a: u64,
}

pub(crate) struct Cable {
    pub(crate) ends: [(usize, u16); 2],
    pub(crate) settings: Settings,
    /// To end b, to end a.
    pub(crate) lines: [Line; 2],
    pub(crate) cut: bool,
    pub(crate) carrier: bool,
    pub(crate) ledger: Ledger,
}

/// Engines on cables.
pub struct Fabric {
    pub(crate) seed: u64,
    pub(crate) now: Instant,
    pub(crate) queue: Queue,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cables: Vec<Cable>,
    events: Vec<(Instant, NodeIndex, NodeEvent)>,
    taps: Vec<Deliver>,
    offers: Vec<Offer>,
    keep: Keep,
    pub(crate) transcript: String,
}

impl Fabric {
    /// An empty fabric at instant 0. The seed decides what lossy cables lose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant(0),
            queue: Queue::default(),
            nodes: Vec::new(),
            cables: Vec::new(),
            events: Vec::new(),
            taps: Vec::new(),
            offers: Vec::new(),
            keep: Keep::default(),
            transcript: String::new(),
        }
    }

    /// Adds a node with `ports` ports, all administratively up. It is silent until [`Self::start`].
    pub fn add(&mut self, name: &str, engine: Box<dyn Engine>, ports: u16) -> NodeIndex {
        self.nodes.push(Node::new(name, engine, ports));
        NodeIndex(self.nodes.len() - 1)
    }

    /// Plugs a cable with the default settings: 10 us one way, nothing lost.
    ///
    /// # Panics
    /// If a port does not exist or has a cable already.
    pub fn connect(&mut self, a: (NodeIndex, PortIndex), b: (NodeIndex, PortIndex)) -> CableIndex {
        self.connect_with(a, b, Settings::default())
    }

    /// Plugs a cable.
    ///
    /// # Panics
    /// If a port does not exist or has a cable already.
    pub fn connect_with(
        &mut self,
        a: (NodeIndex, PortIndex),
        b: (NodeIndex, PortIndex),
        settings: Settings,
    ) -> CableIndex {
        let cable = self.cables.len();
        for (at_b, (node, port)) in [(false, a), (true, b)] {
            let Node { name, ports, .. } = &mut self.nodes[node.0];
            let end = ports.get_mut(usize::from(port.0)).unwrap_or_else(|| panic!("{name} has no port {}", port.0));
            assert!(end.cable.is_none(), "port {} of {name} has a cable already", port.0);
            end.cable = Some((cable, at_b));
        }
        let ends = [(a.0.0, a.1.0), (b.0.0, b.1.0)];
        let lines = [Direction::ToB, Direction::ToA].map(|way| Line::new(self.seed, cable as u64, way));
        self.cables.push(Cable { ends, settings, lines, cut: false, carrier: false, ledger: Ledger::default() });
        self.settle_carrier(cable);
        CableIndex(cable)
    }

    /// Starts a node: it is told the carrier of every port, then gets its first `Timeout`.
    ///
    /// # Panics
    /// If it runs already, or its process died: that is what [`Self::restart`] is for.
    pub fn start(&mut self, node: NodeIndex) {
        let it = &mut self.nodes[node.0];
        assert!(it.process == Process::Off && it.engine.is_some(), "{} can't be started", it.name);
        it.process = Process::Running;
        for port in 0..it.ports.len() {
            let state = &mut self.nodes[node.0].ports[port];
            state.told = state.changes;
            let up = state.cable.is_some_and(|(cable, _)| self.cables[cable].carrier);
            let port = PortIndex(u16::try_from(port).unwrap_or(u16::MAX));
            let changes = state.changes;
            self.hand_over(node.0, Input::Link { port, up, changes });
        }
        self.hand_over(node.0, Input::Timeout);
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets everything happen that is due up to and at `until`, which then is now.
    pub fn run_until(&mut self, until: Instant) {
        while self.queue.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Lets the next thing happen. False: there is nothing to come.
    pub fn step(&mut self) -> bool {
        let Some((at, what)) = self.queue.pop() else { return false };
        self.now = at;
        match what {
            Happening::Deliver { cable, to_b, frame } => self.deliver(cable as usize, to_b, frame),
            Happening::Wake { node } => self.wake_up(node as usize, at),
            Happening::Carrier { node, port, up, changes } => {
                if changes > self.nodes[node as usize].ports[usize::from(port)].told {
                    self.give(node as usize, Input::Link { port: PortIndex(port), up, changes });
                }
            }
        }
        true
    }

    /// Gives a node a command now, as its control socket would.
    pub fn command(&mut self, node: NodeIndex, command: Command) {
        self.give(node.0, Input::Command(command));
    }

    /// Gives a node any input now; a hung node gets it when it wakes, a dead one never.
    pub fn inject(&mut self, node: NodeIndex, input: Input) {
        self.give(node.0, input);
    }

    /// Everything that nodes declared, in order.
    #[must_use]
    pub fn events(&self) -> &[(Instant, NodeIndex, NodeEvent)] {
        &self.events
    }

    /// Everything that nodes declared since the last call.
    pub fn take_events(&mut self) -> Vec<(Instant, NodeIndex, NodeEvent)> {
        std::mem::take(&mut self.events)
    }

    /// Adds a tap on every receiving end.
    pub fn on_deliver(&mut self, tap: Deliver) {
        self.taps.push(tap);
    }

    /// Adds somebody who is told what every cable is given.
    pub fn on_offer(&mut self, told: Offer) {
        self.offers.push(told);
    }

    /// Chooses what is kept from now on.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Brings a cable's carrier in line with its ends; both ends are told of a change.
    pub(crate) fn settle_carrier(&mut self, cable: usize) {
        let Cable { ends, cut, carrier, .. } = &self.cables[cable];
        let up = !cut && ends.iter().all(|&(node, port)| self.nodes[node].ports[usize::from(port)].admin);
        if up == *carrier {
            return;
        }
        for (node, port) in *ends {
            let state = &mut self.nodes[node].ports[usize::from(port)];
            state.changes += 1;
            let told = Happening::Carrier { node: narrow(node), port, up, changes: state.changes };
            self.queue.plan(self.now, told);
        }
        self.cables[cable].carrier = up;
    }

    /// Gives an input to a node, whatever the state of its process.
    fn give(&mut self, node: usize, input: Input) {
        match self.nodes[node].process {
            Process::Running => self.hand_over(node, input),
            Process::Hung => self.nodes[node].keep(input),
            Process::Off => self.nodes[node].losses.vanished += u64::from(matches!(input, Input::Frame { .. })),
        }
    }

    /// Gives an input to a running engine and does all that it wants done.
    pub(crate) fn hand_over(&mut self, node: usize, input: Input) {
        let Some(mut engine) = self.nodes[node].engine.take() else { return };
        if self.keep.journals {
            self.nodes[node].journal.push((input.clone(), self.now));
        }
        engine.handle(input, self.now);
        for _ in 0..MAX_OUTPUTS {
            let output = engine.poll();
            if self.keep.outputs || self.keep.digests {
                self.nodes[node].outputs.take_in(&output, self.keep.outputs);
            }
            match output {
                Output::Transmit { port, frame } => self.transmit(node, port, frame),
                Output::SetPort { port, up } => self.set_port(NodeIndex(node), port, up),
                Output::Event(event) => self.events.push((self.now, NodeIndex(node), event)),
                // Cloning is not built yet; the outputs are kept like all others.
                Output::InstallConfig(_) | Output::Reboot => {}
                Output::Idle(deadline) => {
                    self.nodes[node].engine = Some(engine);
                    self.arm(node, deadline);
                    return;
                }
            }
        }
        panic!("{} made {MAX_OUTPUTS} outputs without an Idle at {}", self.nodes[node].name, self.now);
    }

    pub(crate) fn arm(&mut self, node: usize, deadline: Option<Instant>) {
        let it = &mut self.nodes[node];
        it.deadline = deadline;
        if let Some(at) = deadline
            && it.armed.is_none_or(|armed| at < armed)
        {
            let at = at.max(self.now);
            it.armed = Some(at);
            self.queue.plan(at, Happening::Wake { node: narrow(node) });
        }
    }

    fn wake_up(&mut self, node: usize, at: Instant) {
        let it = &mut self.nodes[node];
        if it.armed != Some(at) {
            return;
        }
        it.armed = None;
        // A hung process finds its deadline when it wakes.
        if it.process != Process::Running {
            return;
        }
        match it.deadline {
            Some(deadline) if deadline <= at => {
                it.spins = if it.spins.0 == at { (at, it.spins.1 + 1) } else { (at, 0) };
                assert!(it.spins.1 < MAX_SPINS, "{} asked for {MAX_SPINS} timeouts at {at}", it.name);
                it.deadline = None;
                self.hand_over(node, Input::Timeout);
            }
            later => self.arm(node, later),
        }
    }

    fn transmit(&mut self, node: usize, port: PortIndex, mut frame: Frame) {
        let end = self.nodes[node].ports.get(usize::from(port.0)).and_then(|port| port.cable);
        let Some((index, from_b)) = end.filter(|&(cable, _)| self.cables[cable].carrier) else {
            self.nodes[node].losses.unsent += 1;
            return;
        };
        let Cable { settings, lines, ledger, .. } = &mut self.cables[index];
        let (put_in, lost, doubled) = if from_b {
            (&mut ledger.put_in_b, &mut ledger.lost_to_a, &mut ledger.doubled_to_a)
        } else {
            (&mut ledger.put_in_a, &mut ledger.lost_to_b, &mut ledger.doubled_to_b)
        };
        *put_in += 1;
        let line = &mut lines[usize::from(from_b)];
        let rules = settings.way(line.direction());
        for told in &mut self.offers {
            told(self.now, CableIndex(index), !from_b, rules, &frame);
        }
        match line.offer(rules, self.now.0, frame.bytes().len()) {
            Fate::Passes { after, twice, corrupt, truncate, .. } => {
                if let Some(drawn) = corrupt {
                    flip(frame.bytes_mut(), drawn);
                }
                if let Some(drawn) = truncate {
                    frame.0.truncate(shortened(frame.0.len(), drawn));
                }
                if twice {
                    *doubled += 1;
                    let what = Happening::Deliver { cable: narrow(index), to_b: !from_b, frame: frame.clone() };
                    self.queue.plan(self.now + after, what);
                }
                let what = Happening::Deliver { cable: narrow(index), to_b: !from_b, frame };
                self.queue.plan(self.now + after, what);
            }
            Fate::Lost(_) => {
                *lost += 1;
                if self.keep.transcript {
                    self.write_line(index, !from_b, "lost: ", &frame);
                }
            }
        }
    }

    fn deliver(&mut self, index: usize, to_b: bool, frame: Frame) {
        let cable = &mut self.cables[index];
        *(if to_b { &mut cable.ledger.got_out_b } else { &mut cable.ledger.got_out_a }) += 1;
        let (node, port) = cable.ends[usize::from(to_b)];
        for tap in &mut self.taps {
            tap(self.now, CableIndex(index), to_b, &frame);
        }
        if self.keep.transcript {
            self.write_line(index, to_b, "", &frame);
        }
        if self.nodes[node].ports[usize::from(port)].admin {
            self.give(node, Input::Frame { port: PortIndex(port), frame, received: self.now });
        } else {
            self.nodes[node].losses.vanished += 1;
        }
    }

    fn write_line(&mut self, cable: usize, to_b: bool, remark: &str, frame: &Frame) {
        let [a, b] = self.cables[cable].ends;
        let (from, to) = if to_b { (a, b) } else { (b, a) };
        let (from, to) = ((&self.nodes[from.0].name, from.1), (&self.nodes[to.0].name, to.1));
        let line = render::line(frame.bytes());
        // Writing into a String can't fail.
        let _ = writeln!(self.transcript, "{} {}:{}>{}:{} {remark}{line}", self.now, from.0, from.1, to.0, to.1);
    }
}

impl std::fmt::Debug for Fabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.nodes.iter().map(|node| &node.name).collect();
        f.debug_struct("Fabric").field("now", &self.now).field("nodes", &names).finish_non_exhaustive()
    }
}

/// Nodes and cables are counted in thousands; their numbers are kept short in the queue.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
