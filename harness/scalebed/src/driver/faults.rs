//! Faults beside a scenario's own events: broken and mended at their instants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scalebed_cable::{Burst, DEFAULT_DELAY, MILLION, Rate, Reorder, Rules, Settings as CableSettings};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{BURST, Fault, HELD_BACK_MS, Impairment, Kind, QUEUE_MS, Reach};
use scalebed_topologies::lab::End;
use scalebed_topologies::scenario::{CableFault, Event};

use super::{Driver, MS, NodeState, Stop, What};
use crate::exit::{self, Failure};
use crate::world::{Done, World};

/// In words, at which node, between which instants, and what is left to do when.
type Begun = (String, usize, Done, Vec<(u64, What)>);

impl<W: World + ?Sized> Driver<'_, W> {
    /// Breaks what a fault breaks. On a node that another fault has already taken away nothing is left to break.
    pub(super) fn inject(&mut self, index: usize) -> Result<(), Stop> {
        let fault = self.faults[index].clone();
        if fault.kind.reach() != Reach::Process {
            self.standing.insert(index);
            let (node, done) = self.bend(std::slice::from_ref(&fault))?;
            self.operation(None, said(&fault), node, done);
            return Ok(());
        }
        let Some((node, _)) = self.lab.node(&fault.target) else { return Err(unknown(&fault)) };
        let NodeState { running, hung, .. } = self.states[node];
        if !running || hung && fault.kind == Kind::Hang {
            return Ok(());
        }
        let done = match fault.kind {
            Kind::Hang => self.world.hang(node)?,
            Kind::PowerOff => self.world.power_off(node)?,
            Kind::Alter => self.world.alter(node)?,
            _ => self.world.kill(node)?,
        };
        self.operation(None, said(&fault), node, done);
        match fault.kind {
            Kind::Hang => self.states[node].hung = true,
            Kind::Alter => {}
            _ => self.forget(node),
        }
        if fault.kind == Kind::Restart { self.start(node) } else { Ok(()) }
    }

    /// Mends what a fault broke.
    pub(super) fn heal(&mut self, index: usize) -> Result<(), Stop> {
        let fault = self.faults[index].clone();
        if fault.kind.reach() != Reach::Process {
            self.standing.remove(&index);
            let (node, done) = self.bend(std::slice::from_ref(&fault))?;
            self.operation(None, format!("mend {}", fault.target), node, done);
            return Ok(());
        }
        let Some((node, _)) = self.lab.node(&fault.target) else { return Err(unknown(&fault)) };
        let NodeState { running, hung, .. } = self.states[node];
        if !running {
            return self.start(node);
        }
        if hung {
            self.states[node].hung = false;
            let done = self.world.wake(node)?;
            self.operation(None, format!("wake {}", fault.target), node, done);
        }
        Ok(())
    }

    /// Begins what an event of the scenario does to cables: in words, at which node, between which instants, and what is
    /// left to do when.
    pub(super) fn begin(&mut self, fault: &CableFault, at: u64) -> Result<Begun, Stop> {
        if let (Some(node), [kind]) = (fault.node, &fault.kinds[..]) {
            return self.begin_at_node(usize::from(node), *kind, fault.for_ms, at);
        }
        let (mut later, mut begins, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for &cable in &fault.cables {
            let target = self.lab.cables[usize::from(cable)].name.clone();
            for &kind in &fault.kinds {
                let whole = Fault { at_ms: 0, for_ms: fault.for_ms, kind, target: target.clone() };
                for step in whole.steps() {
                    let index = self.faults.len();
                    later.push((at + step.healed_ms() * MS, What::Heal(index)));
                    if step.at_ms > 0 {
                        later.push((at + step.at_ms * MS, What::Inject(index)));
                        self.faults.push(step);
                        continue;
                    }
                    self.faults.push(step.clone());
                    self.standing.insert(index);
                    begins.push(step);
                }
            }
            names.push(target);
        }
        let (node, done) = self.bend(&begins)?;
        let kinds: Vec<String> = fault.kinds.iter().map(|kind| super::live::word(*kind)).collect();
        Ok((format!("{} on {}", kinds.join(" "), names.join(" ")), node, done, later))
    }

    /// The same of an event that cuts a node off.
    fn begin_at_node(&mut self, node: usize, kind: Kind, for_ms: u64, at: u64) -> Result<Begun, Stop> {
        let fault = Fault { at_ms: 0, for_ms, kind, target: self.lab.nodes[node].name.clone() };
        let text = format!("{} {}", super::live::word(kind), fault.target);
        let index = self.faults.len();
        self.faults.push(fault.clone());
        self.standing.insert(index);
        let (_, done) = self.bend(std::slice::from_ref(&fault))?;
        Ok((text, node, done, vec![(at + for_ms * MS, What::Heal(index))]))
    }

    /// Cables as the faults that stand have them, after these stand or none of them stands any more. What becomes of frames is
    /// said at once for all, so that it is one instant.
    fn bend(&mut self, faults: &[Fault]) -> Result<(usize, Done), Stop> {
        let (mut whole, mut frames) = (None::<(usize, Done)>, BTreeMap::new());
        let mut add = |node: usize, done: Done| whole.get_or_insert((node, done.clone())).1.after = done.after;
        for fault in faults {
            let bent = concerned(self.lab, fault);
            if bent.is_empty() {
                return Err(unknown(fault));
            }
            for (cable, _) in bent {
                let (unplugged, settings) = self.state_of(cable);
                if fault.kind == Kind::Unplug {
                    let end = self.lab.unplugged_end(&self.lab.cables[cable]);
                    add(end.node.into(), self.world.set_port(end.node.into(), end.port.into(), !unplugged)?);
                } else {
                    frames.insert(cable, settings);
                }
            }
        }
        if let Some(&cable) = frames.keys().next() {
            let node = self.lab.unplugged_end(&self.lab.cables[cable]).node;
            add(node.into(), self.world.set_cables(&frames.into_iter().collect::<Vec<_>>())?);
        }
        whole.ok_or_else(|| Failure::new(exit::BUG, "a fault of no cable").into())
    }

    /// What all faults that stand do to a cable: is it unplugged, and what becomes of its frames?
    fn state_of(&self, cable: usize) -> (bool, CableSettings) {
        let (mut unplugged, mut sum) = (false, CableSettings::default());
        for &index in &self.standing {
            let fault = &self.faults[index];
            for (_, settings) in concerned(self.lab, fault).into_iter().filter(|(bent, _)| *bent == cable) {
                unplugged |= fault.kind == Kind::Unplug;
                sum = sum.worse(settings);
            }
        }
        (unplugged, sum)
    }
}

/// In words. One that is done by hand has no times.
fn said(fault: &Fault) -> String {
    if (fault.at_ms, fault.for_ms) == (0, 0) {
        format!("{} {}", super::live::word(fault.kind), fault.target)
    } else {
        fault.to_string()
    }
}

fn unknown(fault: &Fault) -> Stop {
    Failure::new(exit::BUG, format!("the lab has no {}", fault.target)).into()
}

/// The cables to whose frames faults do something: a world of processes has to build them so.
#[must_use]
pub fn bent(lab: &Lab, faults: &[Fault]) -> BTreeSet<usize> {
    let frames = faults.iter().filter(|fault| !fault.kind.unplugs() && fault.kind.reach() != Reach::Process);
    frames.flat_map(|fault| concerned(lab, fault)).map(|(cable, _)| cable).collect()
}

/// As [`bent`], of a lab's own cables and of a scenario's events.
#[must_use]
pub fn bent_by(lab: &Lab, events: &[Event]) -> BTreeSet<usize> {
    let all = lab.impairments.iter().chain(events.iter().filter_map(Event::cable_fault));
    let frames = all.filter(|fault| fault.some(|kind| !kind.unplugs()));
    frames.flat_map(|fault| &fault.cables).map(|cable| usize::from(*cable)).collect()
}

/// The cables that a fault concerns, and what it does to their frames; none: the lab does not have its target.
fn concerned(lab: &Lab, fault: &Fault) -> Vec<(usize, CableSettings)> {
    let cables = lab.cables.iter().enumerate();
    if fault.kind.reach() == Reach::Cable {
        let named = cables.filter(|(_, cable)| cable.name == fault.target);
        return named.map(|(index, _)| (index, rules(fault.kind))).collect();
    }
    let Some((node, _)) = lab.node(&fault.target) else { return Vec::new() };
    let at = |end: End| usize::from(end.node) == node;
    let (out, back) = match fault.kind {
        Kind::Mute => (Rules::cut(), Rules::default()),
        Kind::Deafen => (Rules::default(), Rules::cut()),
        _ => (Rules::cut(), Rules::cut()),
    };
    let of_node = cables.filter(|(_, cable)| at(cable.a) || at(cable.b)).map(|(index, cable)| {
        let (to_b, to_a) = if at(cable.a) { (out, back) } else { (back, out) };
        (index, CableSettings { to_b, to_a })
    });
    of_node.collect()
}

/// What a fault does to frames on its cable.
fn rules(kind: Kind) -> CableSettings {
    let does = kind.impairment();
    let way = |cut| if cut { Rules::cut() } else { each_way(&does) };
    CableSettings { to_b: way(does.cut_to_b), to_a: way(does.cut_to_a) }
}

fn each_way(does: &Impairment) -> Rules {
    let micros = |us: u32| Duration::from_micros(us.into());
    Rules {
        delay: DEFAULT_DELAY + micros(does.delay_us),
        jitter: micros(does.jitter_us),
        loss: does.loss,
        burst: (does.burst > 0).then(|| burst(does.burst)),
        reorder: if does.held_back > 0 { held_back(does.held_back) } else { Reorder::default() },
        duplicate: does.doubled,
        corrupt: does.altered,
        truncate: does.truncated,
        rate: (does.mbit > 0).then(|| rate(does.mbit)),
        ..Rules::default()
    }
}

/// In the long run so many of a million are lost, `enter / (enter + leave)`.
fn burst(per_million: u32) -> Burst {
    let leave = MILLION / BURST;
    let enter = u64::from(leave) * u64::from(per_million) / u64::from((MILLION - per_million).max(1));
    Burst {
        enter: u32::try_from(enter).unwrap_or(MILLION).min(MILLION),
        leave: if per_million < MILLION { leave } else { 0 },
    }
}

const fn held_back(per_million: u32) -> Reorder {
    Reorder { per_million, by: Duration::from_millis(HELD_BACK_MS) }
}

fn rate(mbit: u16) -> Rate {
    let bits_per_second = u64::from(mbit) * u64::from(MILLION);
    let queue_bytes = u32::try_from(bits_per_second / 8 * QUEUE_MS / 1_000).unwrap_or(u32::MAX);
    // A frame of full size always fits an empty queue.
    Rate { bits_per_second, queue_bytes: queue_bytes.max(2_000) }
}

#[cfg(test)]
mod tests {
    use super::{MILLION, burst};

    #[test]
    fn bursts_lose_the_share_that_was_asked_for() {
        for percent in [1, 5, 20, 50, 90] {
            let asked = percent * 10_000;
            let burst = burst(asked);
            let share = u64::from(burst.enter) * u64::from(MILLION) / u64::from(burst.enter + burst.leave);
            assert!(
                share.abs_diff(asked.into()) < 1_000 || burst.enter == MILLION,
                "{percent} %: {share} of a million"
            );
        }
    }
}
