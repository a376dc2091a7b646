//! The engine of the wire process. A cable that something impairs is two veth pairs with this between them: no node and no
//! kernel host knows. It belongs to the harness, not to the devices under test.
//!
//! Delay is a queue with release times counted from the kernel's receive stamps, never a sleep. A carrier that goes at one
//! end is taken from the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use scalebed_cable::{Direction, Fate, Line, Loss, Settings, flip, shortened};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Status};
use serde::{Deserialize, Serialize};

/// What a wire process is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its name in events.
    pub name: String,
    /// The run's seed: with the cable's number it decides what is lost.
    pub seed: u64,
    /// Its cables. Cable `k` of the list has ports `2k` (towards end a) and `2k + 1` (towards end b).
    pub cables: Vec<Through>,
}

/// A cable that goes through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Through {
    /// Its number in the lab.
    pub cable: u64,
    /// Interface towards end a.
    pub a: String,
    /// Interface towards end b.
    pub b: String,
    /// What it does to frames.
    pub settings: Settings,
}

impl Config {
    /// Interfaces in order of port.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        self.cables.iter().flat_map(|through| [through.a.clone(), through.b.clone()]).collect()
    }
}

/// New settings of some cables, by their number in the lab: [`Command::Configure`] carries a list of these as JSON.
pub type Change = (u64, Settings);

/// An end that was brought up again says within this whether it has carrier; one that says nothing has none.
const GRACE: Duration = Duration::from_millis(5);

/// One end of a cable, as seen from here.
#[derive(Debug)]
struct End {
    /// What comes in here goes over this line.
    line: Line,
    counted: Counted,
    /// This end was taken down here, because the other end's carrier went.
    taken_down: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    lost: [u64; Loss::ALL.len()],
    /// On its way when the carrier went.
    carrier: u64,
    doubled: u64,
    corrupt: u64,
    truncated: u64,
    held_back: u64,
    sent: u64,
}

/// The engine.
#[derive(Debug)]
pub struct Wire {
    config: Config,
    ends: Vec<End>,
    /// By release time, then by arrival.
    waiting: BTreeMap<(Instant, u64), (u16, Frame)>,
    arrivals: u64,
    /// Ends that were brought up again: by then each has carrier, or the other one loses it too.
    expected: Vec<(u16, Instant)>,
    ready: bool,
    /// Commands that were not understood.
    refused: u64,
    /// When settings came last, ns.
    configured: u64,
    outputs: VecDeque<Output>,
}

impl Wire {
    /// A wire process whose cables carried nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let end = |cable, direction| End {
            line: Line::new(config.seed, cable, direction),
            counted: Counted::default(),
            taken_down: false,
        };
        let both = |through: &Through| [end(through.cable, Direction::ToB), end(through.cable, Direction::ToA)];
        let ends = config.cables.iter().flat_map(both).collect();
        Self {
            config,
            ends,
            waiting: BTreeMap::new(),
            arrivals: 0,
            expected: Vec::new(),
            ready: false,
            refused: 0,
            configured: 0,
            outputs: VecDeque::new(),
        }
    }

    fn on_frame(&mut self, port: PortIndex, mut frame: Frame, received: Instant, now: Instant) {
        let Some(end) = self.ends.get_mut(usize::from(port.0)) else { return };
        let settings = &self.config.cables[usize::from(port.0 / 2)].settings;
        let rules = settings.way(end.line.direction());
        match end.line.offer(rules, received.0, frame.bytes().len()) {
            Fate::Lost(loss) => end.counted.lost[loss as usize] += 1,
            Fate::Passes { after, twice, corrupt, truncate, held_back } => {
                end.counted.held_back += u64::from(held_back);
                if let Some(drawn) = corrupt {
                    end.counted.corrupt += 1;
                    flip(frame.bytes_mut(), drawn);
                }
                if let Some(drawn) = truncate {
                    end.counted.truncated += 1;
                    frame.0.truncate(shortened(frame.0.len(), drawn));
                }
                let release = received + after;
                if twice {
                    end.counted.doubled += 1;
                    self.plan(port.0 ^ 1, frame.clone(), release, now);
                }
                self.plan(port.0 ^ 1, frame, release, now);
            }
        }
    }

    /// Sends a frame at its time; what is due goes at once: all that was due before has gone.
    fn plan(&mut self, out: u16, frame: Frame, release: Instant, now: Instant) {
        if release <= now {
            self.transmit(out, frame);
        } else {
            self.waiting.insert((release, self.arrivals), (out, frame));
            self.arrivals += 1;
        }
    }

    fn release(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let (out, frame) = first.remove();
            self.transmit(out, frame);
        }
    }

    fn transmit(&mut self, out: u16, frame: Frame) {
        // Counted with the line that it came over.
        self.ends[usize::from(out ^ 1)].counted.sent += 1;
        self.outputs.push_back(Output::Transmit { port: PortIndex(out), frame });
    }

    /// Of an end that was taken down here no carrier is expected: only the other end brings it back.
    fn on_link(&mut self, port: PortIndex, up: bool, now: Instant) {
        if self.ends.get(usize::from(port.0)).is_some_and(|end| !end.taken_down) {
            self.expected.retain(|(end, _)| *end != port.0);
            self.carry_over(port.0, up, now);
        }
    }

    /// What one end has, the other gets.
    fn carry_over(&mut self, port: u16, up: bool, now: Instant) {
        let other = port ^ 1;
        let far = &mut self.ends[usize::from(other)];
        if far.taken_down == up {
            far.taken_down = !up;
            self.expected.retain(|(end, _)| *end != other);
            self.expected.extend(up.then(|| (other, now + GRACE)));
            self.outputs.push_back(Output::SetPort { port: PortIndex(other), up });
        }
        if !up {
            // What is on its way over a cable that is pulled is lost, both ways.
            let ends = &mut self.ends;
            self.waiting.retain(|_, (out, _)| {
                let stays = *out / 2 != port / 2;
                ends[usize::from(*out ^ 1)].counted.carrier += u64::from(!stays);
                stays
            });
        }
    }

    /// Ends that were brought up again and have no carrier.
    fn miss(&mut self, now: Instant) {
        while let Some(place) = self.expected.iter().position(|(_, by)| *by <= now) {
            let (end, _) = self.expected.swap_remove(place);
            self.carry_over(end, false, now);
        }
    }

    fn configure(&mut self, json: &str, now: Instant) {
        self.configured = now.0;
        let Ok(changes) = serde_json::from_str::<Vec<Change>>(json) else {
            self.refused += 1;
            return;
        };
        for (cable, settings) in changes {
            match self.config.cables.iter_mut().find(|through| through.cable == cable) {
                Some(through) => through.settings = settings,
                None => self.refused += 1,
            }
        }
    }

    fn status(&self, id: u64) -> Status {
        let mut counters = BTreeMap::from([
            ("waiting".to_owned(), self.waiting.len() as u64),
            ("refused".to_owned(), self.refused),
            ("configured".to_owned(), self.configured),
        ]);
        let mut drops = BTreeMap::new();
        for (through, ends) in self.config.cables.iter().zip(self.ends.chunks(2)) {
            for (end, way) in ends.iter().zip(["to-b", "to-a"]) {
                let name = |what: &str| format!("{}.{way}.{what}", through.cable);
                let Counted { lost, carrier, doubled, corrupt, truncated, held_back, sent } = end.counted;
                for (what, count) in [
                    ("offered", end.line.offered()),
                    ("sent", sent),
                    ("doubled", doubled),
                    ("corrupt", corrupt),
                    ("truncated", truncated),
                    ("held-back", held_back),
                ] {
                    counters.insert(name(what), count);
                }
                for (loss, count) in Loss::ALL.iter().zip(lost) {
                    drops.insert(name(loss.name()), count);
                }
                drops.insert(name("carrier"), carrier);
            }
        }
        Status { id, node: self.config.name.clone(), state: "active".to_owned(), counters, drops, ..Status::default() }
    }
}

impl Engine for Wire {
    fn handle(&mut self, input: Input, now: Instant) {
        self.release(now);
        self.miss(now);
        match input {
            Input::Frame { port, frame, received } => self.on_frame(port, frame, received, now),
            Input::Link { port, up, .. } => self.on_link(port, up, now),
            Input::Timeout => {
                if !self.ready {
                    self.ready = true;
                    self.outputs.push_back(Output::Event(NodeEvent::Ready));
                }
            }
            Input::Command(Command::Status { id } | Command::Audit { id }) => {
                let status = Box::new(self.status(id));
                self.outputs.push_back(Output::Event(NodeEvent::Status(status)));
            }
            Input::Command(Command::Configure(json)) => self.configure(&json, now),
            Input::Command(Command::Drain | Command::Alter) => {}
        }
    }

    fn poll(&mut self) -> Output {
        let release = self.waiting.first_key_value().map(|((release, _), _)| *release);
        let next = self.expected.iter().map(|(_, by)| *by).chain(release).min();
        self.outputs.pop_front().unwrap_or(Output::Idle(next))
    }
}

#[cfg(test)]
mod tests;
