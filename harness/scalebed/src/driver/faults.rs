//! Faults beside a scenario's own events: broken and mended at their instants.

use scalebed_cable::{Rule, Settings as CableSettings};
use scalebed_topologies::fault::{Fault, Kind};

use super::{Driver, NodeState, Stop};
use crate::exit::{self, Failure};

impl Driver<'_> {
    /// Breaks what a fault breaks. On a node that another fault has already taken away nothing is left to break.
    pub(super) fn inject(&mut self, index: usize) -> Result<(), Stop> {
        let fault = &self.faults[index];
        if fault.kind.is_of_cables() {
            return self.bend(fault, true);
        }
        let Some((node, _)) = self.lab.node(&fault.target) else { return Err(unknown(fault)) };
        let NodeState { running, hung, .. } = self.states[node];
        if !running || hung && fault.kind == Kind::Hang {
            return Ok(());
        }
        let done = match fault.kind {
            Kind::Hang => self.world.hang(node)?,
            Kind::PowerOff => self.world.power_off(node)?,
            _ => self.world.kill(node)?,
        };
        self.operation(None, fault.to_string(), node, done);
        if fault.kind == Kind::Hang {
            self.states[node].hung = true;
        } else {
            self.forget(node);
        }
        if fault.kind == Kind::Restart { self.start(node) } else { Ok(()) }
    }

    /// Mends what a fault broke.
    pub(super) fn heal(&mut self, index: usize) -> Result<(), Stop> {
        let fault = &self.faults[index];
        if fault.kind.is_of_cables() {
            return self.bend(fault, false);
        }
        let Some((node, _)) = self.lab.node(&fault.target) else { return Err(unknown(fault)) };
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

    /// A fault of a cable, or its end.
    fn bend(&mut self, fault: &Fault, broken: bool) -> Result<(), Stop> {
        let Some(cable) = self.lab.cables.iter().position(|cable| cable.name == fault.target) else {
            return Err(unknown(fault));
        };
        let end = self.lab.unplugged_end(&self.lab.cables[cable]);
        let node = usize::from(end.node);
        let done = if fault.kind == Kind::Unplug {
            self.world.set_port(node, usize::from(end.port), !broken)?
        } else {
            self.world.set_cable(cable, if broken { rules(fault.kind) } else { CableSettings::default() })?
        };
        let text = if broken { fault.to_string() } else { format!("mend {}", fault.target) };
        self.operation(None, text, node, done);
        Ok(())
    }
}

fn unknown(fault: &Fault) -> Stop {
    Failure::new(exit::BUG, format!("the lab has no {}", fault.target)).into()
}

/// What a fault does to frames on its cable.
fn rules(kind: Kind) -> CableSettings {
    match kind {
        Kind::BlackHole => CableSettings::both_ways(Rule::Cut),
        Kind::CutToB => CableSettings { to_b: Rule::Cut, ..CableSettings::default() },
        Kind::CutToA => CableSettings { to_a: Rule::Cut, ..CableSettings::default() },
        Kind::Loss(percent) => CableSettings::both_ways(Rule::Loss { per_million: u32::from(percent) * 10_000 }),
        Kind::Delay(ms) => {
            let delay = scalebed_cable::DEFAULT_DELAY + std::time::Duration::from_millis(ms.into());
            CableSettings { delay, ..CableSettings::default() }
        }
        Kind::Kill | Kind::PowerOff | Kind::Restart | Kind::Hang | Kind::Unplug => CableSettings::default(),
    }
}
