//! The LAG-aware L2 switch of a network: learns MACs, spreads over the legs of a static bond, never sends a frame back
//! into the bond it came from.

pub mod bond;
mod table;

use std::collections::{BTreeMap, VecDeque};

use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Status};
use scalebed_frame::Mac;
use scalebed_topologies::lab::{Port, PortRole};
use serde::{Deserialize, Serialize};

use table::{Learned, Place, Table};

/// What a switch is told at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its name in the lab.
    pub name: String,
    /// Its ports: `BondLeg`s form one bond, the rest are single.
    pub ports: Vec<Port>,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Drop {
    /// Shorter than an Ethernet header.
    Runt,
    /// The source address is a group's.
    GroupSource,
    /// It came on a port that the configuration does not have.
    UnknownPort,
    /// Its destination is behind the port or bond that it came from.
    SamePlace,
    /// Its only way out has no carrier.
    NoCarrier,
    /// To be flooded, and there is no other place to send it to.
    Nowhere,
}

impl Drop {
    const fn name(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::GroupSource => "group-source",
            Self::UnknownPort => "unknown-port",
            Self::SamePlace => "same-place",
            Self::NoCarrier => "no-carrier",
            Self::Nowhere => "nowhere",
        }
    }
}

#[derive(Debug)]
struct PortState {
    place: Place,
    up: bool,
    changes: u32,
    frames_in: u64,
    frames_out: u64,
}

#[derive(Debug, Default)]
struct Counters {
    flooded: u64,
    moves: u64,
    not_learned: u64,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    config: Config,
    ports: Vec<PortState>,
    /// The legs of the bond that have carrier, in order of port.
    legs: Vec<u16>,
    table: Table,
    ready: bool,
    counters: Counters,
    drops: BTreeMap<Drop, u64>,
    outputs: VecDeque<Output>,
}

impl Switch {
    /// A switch with an empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let place = |(index, port): (u16, &Port)| match port.role {
            PortRole::BondLeg => Place::Bond,
            _ => Place::Single(index),
        };
        let ports = (0..).zip(&config.ports).map(place);
        let ports =
            ports.map(|place| PortState { place, up: false, changes: 0, frames_in: 0, frames_out: 0 }).collect();
        Self {
            config,
            ports,
            legs: Vec::new(),
            table: Table::default(),
            ready: false,
            counters: Counters::default(),
            drops: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn on_link(&mut self, port: PortIndex, up: bool, changes: u32) {
        let Some(state) = self.ports.get_mut(usize::from(port.0)) else { return };
        let changed = state.up != up || state.changes != changes;
        (state.up, state.changes) = (up, changes);
        // A station whose cable was pulled may come back elsewhere: forget it, as Linux's bridge does on port down. A
        // leg is only one way to its stations: the others stay.
        if changed && let Place::Single(port) = state.place {
            self.table.flush(port);
        }
        let is_usable_leg = |state: &PortState| state.up && state.place == Place::Bond;
        self.legs = (0..).zip(&self.ports).filter(|(_, state)| is_usable_leg(state)).map(|(port, _)| port).collect();
    }

    fn on_frame(&mut self, port: PortIndex, frame: Frame, now: Instant) {
        match self.forward(port, frame, now) {
            Ok(()) => {}
            Err(reason) => *self.drops.entry(reason).or_default() += 1,
        }
    }

    fn forward(&mut self, port: PortIndex, frame: Frame, now: Instant) -> Result<(), Drop> {
        let state = self.ports.get_mut(usize::from(port.0)).ok_or(Drop::UnknownPort)?;
        state.frames_in += 1;
        let from = state.place;
        let (dst, src) = addresses(frame.bytes()).ok_or(Drop::Runt)?;
        if src.is_group() {
            return Err(Drop::GroupSource);
        }
        match self.table.learn(src, from, now) {
            Learned::Known | Learned::New => {}
            Learned::Moved => self.counters.moves += 1,
            Learned::Full => self.counters.not_learned += 1,
        }
        // A group's address is never learned, so it is never found.
        match self.table.find(dst, now) {
            Some(place) if place == from => Err(Drop::SamePlace),
            Some(place) => {
                let out = self.way_out(place, frame.bytes()).ok_or(Drop::NoCarrier)?;
                self.transmit(out, frame);
                Ok(())
            }
            None => self.flood(from, frame),
        }
    }

    /// Sends a frame to every place but the one that it came from; the bond gets it once.
    fn flood(&mut self, from: Place, frame: Frame) -> Result<(), Drop> {
        let singles =
            self.ports.iter().filter(|state| state.up && state.place != from).filter_map(|state| match state.place {
                Place::Single(port) => Some(port),
                Place::Bond => None,
            });
        let mut outs: Vec<u16> = singles.collect();
        if from != Place::Bond {
            outs.extend(self.way_out(Place::Bond, frame.bytes()));
        }
        let last = outs.pop().ok_or(Drop::Nowhere)?;
        self.counters.flooded += 1;
        for out in outs {
            self.transmit(out, frame.clone());
        }
        self.transmit(last, frame);
        Ok(())
    }

    /// The port towards a place; of the bond the leg that the hash picks among those with carrier.
    fn way_out(&self, place: Place, frame: &[u8]) -> Option<u16> {
        match place {
            Place::Single(port) => self.ports.get(usize::from(port)).is_some_and(|state| state.up).then_some(port),
            Place::Bond => {
                let legs = u32::try_from(self.legs.len()).ok()?;
                let pick = bond::hash(frame).checked_rem(legs)?;
                self.legs.get(usize::try_from(pick).ok()?).copied()
            }
        }
    }

    fn transmit(&mut self, port: u16, frame: Frame) {
        if let Some(state) = self.ports.get_mut(usize::from(port)) {
            state.frames_out += 1;
        }
        self.outputs.push_back(Output::Transmit { port: PortIndex(port), frame });
    }

    fn status(&self, id: u64) -> Status {
        let mut counters = BTreeMap::from([
            ("macs".to_owned(), self.table.count() as u64),
            ("flooded".to_owned(), self.counters.flooded),
            ("mac-moves".to_owned(), self.counters.moves),
            ("table-full".to_owned(), self.counters.not_learned),
        ]);
        for (port, state) in self.config.ports.iter().zip(&self.ports) {
            counters.insert(format!("in.{}", port.name), state.frames_in);
            counters.insert(format!("out.{}", port.name), state.frames_out);
        }
        let drops = self.drops.iter().map(|(reason, &frames)| (reason.name().to_owned(), frames)).collect();
        Status { id, node: self.config.name.clone(), state: "active".to_owned(), counters, drops, ..Status::default() }
    }
}

impl Engine for Switch {
    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Frame { port, frame, .. } => self.on_frame(port, frame, now),
            Input::Link { port, up, changes } => self.on_link(port, up, changes),
            Input::Command(Command::Status { id } | Command::Audit { id }) => {
                let status = NodeEvent::Status(Box::new(self.status(id)));
                self.outputs.push_back(Output::Event(status));
            }
            // A switch has nothing to give away.
            Input::Command(Command::Drain | Command::Alter | Command::Configure(_)) => {}
            Input::Timeout if self.ready => {}
            Input::Timeout => {
                self.ready = true;
                self.outputs.push_back(Output::Event(NodeEvent::Ready));
            }
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Idle(None))
    }
}

/// Destination and source; `None` if there is no whole Ethernet header.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header: &[u8; 14] = frame.first_chunk()?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *header;
    Some((Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5])))
}

#[cfg(test)]
mod tests;
