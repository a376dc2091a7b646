//! Faults beside a scenario's own events: broken and mended at their instants.

use std::collections::BTreeSet;
use std::time::Duration;

use scalebed_cable::{Burst, DEFAULT_DELAY, MILLION, Rate, Reorder, Rules, Settings as CableSettings};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{BURST, Fault, HELD_BACK_MS, Kind, QUEUE_MS, Reach};
use scalebed_topologies::lab::End;

use super::{Driver, NodeState, Stop};
use crate::exit::{self, Failure};
use crate::world::World;

impl<W: World + ?Sized> Driver<'_, W> {
    /// Breaks what a fault breaks. On a node that another fault has already taken away nothing is left to break.
    pub(super) fn inject(&mut self, index: usize) -> Result<(), Stop> {
        let fault = self.faults[index].clone();
        if fault.kind.reach() != Reach::Process {
            self.standing.insert(index);
            return self.bend(&fault, true);
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
            return self.bend(&fault, false);
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

    /// A fault of a cable or of all cables of a node, or its end.
    fn bend(&mut self, fault: &Fault, broken: bool) -> Result<(), Stop> {
        let bent = concerned(self.lab, fault);
        if bent.is_empty() {
            return Err(unknown(fault));
        }
        let mut done = None;
        let mut at = 0;
        for (cable, _) in bent {
            let end = self.lab.unplugged_end(&self.lab.cables[cable]);
            at = usize::from(end.node);
            let (unplugged, settings) = self.state_of(cable);
            let one = if fault.kind == Kind::Unplug {
                self.world.set_port(at, usize::from(end.port), !unplugged)?
            } else {
                self.world.set_cable(cable, settings)?
            };
            done.get_or_insert(one);
        }
        let text = if broken { said(fault) } else { format!("mend {}", fault.target) };
        if let Some(done) = done {
            self.operation(None, text, at, done);
        }
        Ok(())
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
    match kind {
        Kind::CutToB => CableSettings { to_b: Rules::cut(), ..CableSettings::default() },
        Kind::CutToA => CableSettings { to_a: Rules::cut(), ..CableSettings::default() },
        _ => CableSettings::both_ways(each_way(kind)),
    }
}

fn each_way(kind: Kind) -> Rules {
    let percent = |share: u8| u32::from(share.min(100)) * (MILLION / 100);
    let micros = Duration::from_micros;
    let plain = Rules::default();
    match kind {
        Kind::BlackHole => Rules::cut(),
        Kind::Loss(share) => Rules::loss(percent(share)),
        Kind::Burst(share) => Rules { burst: Some(burst(percent(share))), ..plain },
        Kind::Delay(ms) => Rules { delay: DEFAULT_DELAY + Duration::from_millis(ms.into()), ..plain },
        Kind::Jitter(ms) => {
            let jitter = Duration::from_millis(ms.into());
            Rules { delay: DEFAULT_DELAY + jitter, jitter, ..plain }
        }
        Kind::Reorder(share) => Rules { reorder: held_back(percent(share)), ..plain },
        Kind::Duplicate(share) => Rules { duplicate: percent(share), ..plain },
        Kind::Corrupt(share) => Rules { corrupt: percent(share), ..plain },
        Kind::Rate(mbit) => Rules { rate: Some(rate(mbit)), ..plain },
        Kind::Lan => Rules { delay: micros(100), ..plain },
        Kind::Metro => Rules { delay: micros(2_000), jitter: micros(200), loss: 10, ..plain },
        Kind::Wan100ms => Rules { delay: micros(50_000), jitter: micros(2_000), loss: 1_000, ..plain },
        Kind::Lossy => Rules {
            delay: micros(5_000),
            jitter: micros(2_000),
            loss: 10_000,
            burst: Some(burst(10_000)),
            reorder: held_back(5_000),
            duplicate: 1_000,
            ..plain
        },
        _ => plain,
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
