//! A node's process and its ports.

use std::collections::{BTreeMap, VecDeque};

use scalebed_engine::{Engine, Input, Instant};

use crate::record::OutputRecord;

/// Frames and commands that wait for a hung process: what a socket buffer of some megabytes holds.
pub(crate) const BACKLOG: usize = 4096;

/// What became of frames at a node, outside its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sent on a port without carrier: never on the cable.
    pub unsent: u64,
    /// Came out of a cable, but no process was there, or the port was down.
    pub vanished: u64,
    /// Came while the process hung and its backlog was full.
    pub overflowed: u64,
}

/// The state of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Not started yet, killed, or powered off: silent.
    Off,
    /// Takes inputs as they come.
    Running,
    /// Stopped; inputs wait.
    Hung,
}

#[derive(Debug)]
pub(crate) struct PortState {
    /// Administratively up?
    pub(crate) admin: bool,
    /// Cable, and is this its end b?
    pub(crate) cable: Option<(usize, bool)>,
    /// Carrier changes so far.
    pub(crate) changes: u32,
    /// How many of them the process was told of at its start: they are no news to it.
    pub(crate) told: u32,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) engine: Option<Box<dyn Engine>>,
    pub(crate) process: Process,
    pub(crate) ports: Vec<PortState>,
    /// What the engine's last `Idle` asked for.
    pub(crate) deadline: Option<Instant>,
    /// The one wake-up in the queue that counts. A deadline that moves back leaves it where it is, and is planned anew
    /// when it fires: an engine that moves its deadline with every frame would otherwise fill the queue.
    pub(crate) armed: Option<Instant>,
    /// Wake-ups at the present instant, to catch an engine that spins.
    pub(crate) spins: (Instant, u32),
    /// Inputs of a hung process.
    pub(crate) backlog: VecDeque<Input>,
    /// Carrier changes that a hung process missed: the last state of each port.
    pub(crate) missed: BTreeMap<u16, (bool, u32)>,
    pub(crate) losses: Losses,
    pub(crate) journal: Vec<(Input, Instant)>,
    pub(crate) outputs: OutputRecord,
}

impl Node {
    pub(crate) fn new(name: &str, engine: Box<dyn Engine>, ports: u16) -> Self {
        Self {
            name: name.to_owned(),
            engine: Some(engine),
            process: Process::Off,
            ports: (0..ports).map(|_| PortState { admin: true, cable: None, changes: 0, told: 0 }).collect(),
            deadline: None,
            armed: None,
            spins: (Instant(0), 0),
            backlog: VecDeque::new(),
            missed: BTreeMap::new(),
            losses: Losses::default(),
            journal: Vec::new(),
            outputs: OutputRecord::default(),
        }
    }

    /// The process is gone, and with it everything that waited for it.
    pub(crate) fn die(&mut self) {
        self.engine = None;
        self.process = Process::Off;
        self.deadline = None;
        self.armed = None;
        self.losses.vanished += self.backlog.iter().filter(|input| matches!(input, Input::Frame { .. })).count() as u64;
        self.backlog.clear();
        self.missed.clear();
    }

    /// Keeps an input for a hung process.
    pub(crate) fn keep(&mut self, input: Input) {
        match input {
            Input::Link { port, up, changes } => {
                self.missed.insert(port.0, (up, changes));
            }
            // Its deadline is still there, and is looked at first when it wakes.
            Input::Timeout => {}
            Input::Frame { .. } | Input::Command(_) if self.backlog.len() < BACKLOG => self.backlog.push_back(input),
            Input::Frame { .. } | Input::Command(_) => self.losses.overflowed += 1,
        }
    }
}
