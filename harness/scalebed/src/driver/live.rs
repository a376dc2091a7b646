//! A lab without a schedule: somebody outside says what is broken and mended, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use scalebed_frame::MemberId;
use scalebed_record::Entry;
use scalebed_topologies::fault::{Fault, Kind, OF_FRAMES, Reach, UnknownKind};
use scalebed_topologies::lab::Cable;
use scalebed_topologies::{Lab, Scenario};

use super::{Driver, Settings};
use crate::exit::{self, Failure};
use crate::world::{Told, World};

/// A lab that is driven by hand.
pub struct Live<'a, W: World + ?Sized> {
    driver: Driver<'a, W>,
    /// Indexes of the driver's faults that are not healed.
    broken: BTreeSet<usize>,
    /// Members that the lab's file leaves out now.
    absent: BTreeSet<usize>,
    /// Those of them that it does not have at all: nobody is shown them.
    spare: BTreeSet<usize>,
    /// Cables that go and come by themselves.
    flapping: Vec<Flapping>,
}

/// A cable that is unplugged and plugged in by turns until it is healed.
#[derive(Clone, Copy)]
struct Flapping {
    /// The fault as it was injected, by its index.
    flap: usize,
    /// The one that stands every other turn.
    unplug: usize,
    /// How long a turn is.
    turn: Duration,
    /// When the next one begins, ns of the world's clock.
    next: u64,
    unplugged: bool,
}

/// ns of the world's clock.
fn later(at: u64, by: Duration) -> u64 {
    at.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX))
}

/// Turns are no shorter: each is a call of the kernel and a line of the history.
const SHORTEST_TURN_MS: u16 = 10;

impl<'a, W: World + ?Sized> Live<'a, W> {
    /// Starts every node and waits until all are in service.
    ///
    /// # Errors
    /// [`exit::APPLY`]: the lab did not come up. [`exit::INTERRUPTED`]: the operator stopped it.
    pub fn boot(world: &'a mut W, lab: &'a Lab, scenario: &'a Scenario, settings: Settings) -> Result<Self, Failure> {
        let mut driver = Driver::new(world, lab, scenario, settings);
        driver.boot()?;
        let absent = (0..lab.nodes.len()).filter(|node| driver.absent(*node)).collect();
        let spare = nodes_of(lab, &lab.spare);
        Ok(Self { driver, broken: BTreeSet::new(), absent, spare, flapping: Vec::new() })
    }

    /// The world that it runs in.
    pub fn world(&mut self) -> &mut W {
        self.driver.world
    }

    /// Takes what nodes declared.
    pub fn told(&mut self, told: impl IntoIterator<Item = Told>) {
        told.into_iter().for_each(|told| self.driver.told(told));
    }

    /// A line of the history for people.
    pub fn note(&mut self, text: &str) {
        self.driver.note(text);
    }

    /// What happened since the last call.
    pub fn history(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.driver.history.entries)
    }

    /// Why nothing is done to a node or a cable of this name: it is of a member that is not there.
    #[must_use]
    pub fn not_there(&self, target: &str) -> Option<String> {
        let lab = self.driver.lab;
        let node = lab.node(target).map(|(node, _)| node).filter(|node| self.spare.contains(node));
        let of_cable =
            || lab.cables.iter().filter(|cable| cable.name == target).find_map(|cable| self.spare_end(cable));
        let node = &lab.nodes[node.or_else(of_cable)?];
        let member = node.kind.id()?;
        Some(format!("{target}: the lab's file has no member {member}: write more `members`, and `up` again"))
    }

    /// What is broken at a node or at one of its cables, as it was injected.
    fn broken_at(&self, node: usize) -> Option<String> {
        let lab = self.driver.lab;
        let cables =
            lab.cables.iter().filter(|cable| [cable.a, cable.b].iter().any(|end| usize::from(end.node) == node));
        let names: Vec<&str> = cables.map(|cable| cable.name.as_str()).chain([lab.nodes[node].name.as_str()]).collect();
        let faults = self.broken.iter().map(|index| &self.driver.faults[*index]);
        let mut here = faults.filter(|fault| names.contains(&fault.target.as_str()));
        here.next().map(|fault| format!("{} {}", word(fault.kind), fault.target))
    }

    fn spare_end(&self, cable: &Cable) -> Option<usize> {
        [cable.a, cable.b].into_iter().map(|end| end.node.into()).find(|node| self.spare.contains(node))
    }

    /// Lets members come and go, by name; from then on the file does not have those that are spare.
    ///
    /// # Errors
    /// [`exit::USAGE`]: one that is to go is broken; then nothing is done.
    pub fn change(&mut self, come: &[String], go: &[String], spare: &[MemberId]) -> Result<(), Failure> {
        let nodes = |names: &[String]| -> Vec<usize> {
            names.iter().filter_map(|name| self.driver.lab.node(name)).map(|(node, _)| node).collect()
        };
        let (come, go) = (nodes(come), nodes(go));
        if let Some(node) = go.iter().find(|node| self.process(**node) != Some("running")) {
            let name = &self.driver.lab.nodes[*node].name;
            let text = format!("{name} is {}: heal it first", self.process(*node).unwrap_or("not there"));
            return Err(Failure::new(exit::USAGE, text));
        }
        if let Some(what) = go.iter().find_map(|node| self.broken_at(*node)) {
            return Err(Failure::new(exit::USAGE, format!("{what} stands: heal it first")));
        }
        for node in come {
            self.driver.start(node)?;
            self.absent.remove(&node);
        }
        for node in go {
            let done = self.driver.world.power_off(node)?;
            self.driver.forget(node);
            let text = format!("switch {} off", self.driver.lab.nodes[node].name);
            self.driver.operation(None, text, node, done);
            self.absent.insert(node);
        }
        self.spare = nodes_of(self.driver.lab, spare);
        Ok(())
    }

    /// `running`, `hung`, `dead`, `absent`; none for what runs no process of ours.
    #[must_use]
    pub fn process(&self, node: usize) -> Option<&'static str> {
        let state = &self.driver.states[node];
        if self.absent.contains(&node) {
            return Some("absent");
        }
        match (state.starts, state.running, state.hung) {
            (0, ..) => None,
            (_, true, true) => Some("hung"),
            (_, true, false) => Some("running"),
            (_, false, _) => Some("dead"),
        }
    }

    /// A process that ended without being told to: from now on it is dead, and a heal starts it.
    pub fn died(&mut self, node: usize, how: &str) {
        let target = self.driver.lab.nodes[node].name.clone();
        self.driver.note(&format!("{target} ended by itself: {how}"));
        self.driver.forget(node);
        self.push(Kind::Kill, &target);
    }

    /// What is broken now, in the words of [`Self::inject`].
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let fault = |index: &usize| &self.driver.faults[*index];
        self.broken.iter().map(fault).map(|fault| format!("{} {}", word(fault.kind), fault.target)).collect()
    }

    /// Breaks something.
    ///
    /// # Errors
    /// [`exit::USAGE`]: no such target, or it is not in a state to be broken so. [`exit::CAPABILITY`]: this world cannot.
    pub fn inject(&mut self, kind: Kind, target: &str) -> Result<(), Failure> {
        let lab = self.driver.lab;
        if let Some(text) = self.not_there(target) {
            return Err(Failure::new(exit::USAGE, text));
        }
        let known = self.targets(kind);
        if !known.contains(&target) {
            let text = format!("{}: there is no `{target}` to break so; there are {}", word(kind), known.join(", "));
            return Err(Failure::new(exit::USAGE, text));
        }
        if let Kind::Flap(..SHORTEST_TURN_MS) = kind {
            let text = format!("{}: a turn takes at least {SHORTEST_TURN_MS} ms", word(kind));
            return Err(Failure::new(exit::USAGE, text));
        }
        if self.broken().contains(&format!("{} {target}", word(kind))) {
            return Err(Failure::new(exit::USAGE, format!("{target} is broken so already")));
        }
        if kind.reach() == Reach::Process
            && let Some((node, _)) = lab.node(target)
            && let Some(state @ ("dead" | "hung" | "absent")) = self.process(node)
        {
            let instead =
                if state == "absent" { "take it out of the lab's `absent`, and `up` again" } else { "heal it first" };
            return Err(Failure::new(exit::USAGE, format!("{target} is {state}: {instead}")));
        }
        let index = self.push(kind, target);
        if let Kind::Flap(ms) = kind {
            let turn = Duration::from_millis(ms.into());
            let unplug = self.silently(Kind::Unplug, target);
            if let Err(stop) = self.driver.inject(unplug) {
                self.broken.remove(&index);
                self.driver.standing.remove(&unplug);
                return Err(stop.into());
            }
            let next = later(self.driver.world.now(), turn);
            self.flapping.push(Flapping { flap: index, unplug, turn, next, unplugged: true });
            return Ok(());
        }
        let outcome = self.driver.inject(index);
        if outcome.is_err() || matches!(kind, Kind::Restart | Kind::Alter) {
            // Nothing of it stands.
            self.broken.remove(&index);
            self.driver.standing.remove(&index);
        }
        Ok(outcome?)
    }

    /// Mends all that is broken at a target, or everything.
    ///
    /// # Errors
    /// [`exit::USAGE`]: nothing is broken there.
    pub fn heal(&mut self, target: Option<&str>) -> Result<Vec<String>, Failure> {
        let meant = |index: &usize| target.is_none_or(|target| self.driver.faults[*index].target == target);
        let these: Vec<usize> = self.broken.iter().copied().filter(meant).collect();
        if these.is_empty() {
            let all = self.broken();
            let all = if all.is_empty() { "nothing is".to_owned() } else { all.join(", ") };
            let place = target.unwrap_or("this lab");
            return Err(Failure::new(exit::USAGE, format!("nothing is broken at {place}; broken: {all}")));
        }
        let mut mended = Vec::new();
        for index in these {
            match self.flapping.iter().position(|one| one.flap == index) {
                Some(place) => {
                    if self.flapping[place].unplugged {
                        self.driver.heal(self.flapping[place].unplug)?;
                    }
                    self.flapping.remove(place);
                }
                None => self.driver.heal(index)?,
            }
            self.broken.remove(&index);
            let fault = &self.driver.faults[index];
            mended.push(format!("{} {}", word(fault.kind), fault.target));
        }
        Ok(mended)
    }

    /// What may be broken so.
    fn targets(&self, kind: Kind) -> Vec<&'a str> {
        let lab = self.driver.lab;
        let names: Vec<&str> = match kind.reach() {
            Reach::Process | Reach::CablesOfNode => lab.breakable_nodes().into_iter().map(|(name, _)| name).collect(),
            Reach::Cable => lab.cables.iter().map(|cable| cable.name.as_str()).collect(),
        };
        names.into_iter().filter(|name| self.not_there(name).is_none()).collect()
    }

    /// When something is to be done without being asked for, ns of the world's clock.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.flapping.iter().map(|one| one.next).min()
    }

    /// Does what is due: cables that flap take their turn. One that fails is noted, and tried again a turn later: the lab
    /// stays up.
    pub fn on_time(&mut self) {
        for place in 0..self.flapping.len() {
            let now = self.driver.world.now();
            let Flapping { unplug, turn, next, unplugged, .. } = self.flapping[place];
            if next > now {
                continue;
            }
            // Turns that were missed are not made up for.
            let one = &mut self.flapping[place];
            one.next = Some(later(next, turn)).filter(|next| *next > now).unwrap_or_else(|| later(now, turn));
            // Whoever is off has no port to plug anything in.
            if unplugged && self.is_off(unplug) {
                continue;
            }
            let outcome = if unplugged { self.driver.heal(unplug) } else { self.driver.inject(unplug) };
            match outcome {
                Ok(()) => self.flapping[place].unplugged = !unplugged,
                Err(stop) => self.driver.note(&format!("a turn of a flapping cable failed: {}", Failure::from(stop))),
            }
        }
    }

    /// Is the node off at whose port a cable is unplugged?
    fn is_off(&self, unplug: usize) -> bool {
        let lab = self.driver.lab;
        let target = &self.driver.faults[unplug].target;
        let cable = lab.cables.iter().find(|cable| cable.name == *target);
        let node = cable.map(|cable| usize::from(lab.unplugged_end(cable).node));
        node.is_some_and(|node| matches!(self.process(node), Some("dead" | "absent")))
    }

    fn push(&mut self, kind: Kind, target: &str) -> usize {
        let index = self.silently(kind, target);
        self.broken.insert(index);
        index
    }

    /// A fault that is not shown as broken.
    fn silently(&mut self, kind: Kind, target: &str) -> usize {
        let index = self.driver.faults.len();
        self.driver.faults.push(Fault { at_ms: 0, for_ms: 0, kind, target: target.to_owned() });
        index
    }
}

fn nodes_of(lab: &Lab, members: &[MemberId]) -> BTreeSet<usize> {
    members.iter().filter_map(|member| lab.by_id((*member).into())).map(|(node, _)| node).collect()
}

/// A kind as it is written: `kill`, `loss=5`.
#[must_use]
pub fn word(kind: Kind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(map)) => {
            map.iter().next().map(|(word, number)| format!("{word}={number}")).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Reads what [`word`] writes.
///
/// # Errors
/// What is wrong, and what may be written.
pub fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|error: UnknownKind| match error {
        UnknownKind::Number(..) => error.to_string(),
        UnknownKind::Word(_) => format!(
            "{error}; write kill, power-off, restart, hang, unplug, flap=MS, or, of a lab that is up with --wires, mute, deafen, \
             isolate, {OF_FRAMES}"
        ),
    })
}

#[cfg(test)]
mod tests;
