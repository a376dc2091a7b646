//! One case in virtual time, judged by invariants.

use scalebed_cluster::Ablations;
use scalebed_frame::{DistributionMode, Protocol};
use scalebed_record::{Fact, History, Verdict};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{Fault, Full, Kind};
use scalebed_topologies::lab::{NodeKind, Rule};
use scalebed_topologies::scenario::{Expect, Overrides, Scenario, Traffic};

use super::cases::Case;
use crate::driver::{self, Settings};
use crate::exit::Failure;
use crate::world::sim::Sim;

/// Little traffic, of every kind: what is looked for is in the agreement and in who processes what.
const TRAFFIC: Traffic = Traffic {
    probes: 12,
    probe_rate: 50,
    population: 120,
    population_rate: 2,
    young_percent: 30,
    states_percent: 0,
    denied: 4,
    ipv6_percent: 0,
};
/// So long after the last fault: the bound of the liveness invariants, and a quiet tail of 2 s.
const SETTLE_MS: u64 = 6_000;
/// Connections are synced early: old and young ones are there when the first fault comes.
const SYNC_DELAY_MS: u32 = 500;

/// Of 132 flows and their copies a member has to hold about 66.
const FEW_CONNECTIONS: u32 = 40;
/// For 132 flows of IPv4, of which alone ports are taken.
const FEW_PORTS: u32 = 80;
/// A move is of a dozen connections or two.
const FEW_WAIT: u32 = 12;

/// What came of a case.
#[derive(Debug)]
pub struct Trial {
    /// Invariants that did not hold, with evidence.
    pub violations: Vec<Verdict>,
    /// Everything that happened.
    pub history: History,
    /// Frames that came out of cables.
    pub deliveries: u64,
}

impl Trial {
    /// Names of the violated invariants.
    #[must_use]
    pub fn violated(&self) -> Vec<&str> {
        self.violations.iter().map(|verdict| verdict.check.as_str()).collect()
    }
}

/// The scenario that every case runs in.
fn scenario(lab: &Lab, case: &Case) -> Scenario {
    let first = case.faults.iter().map(|fault| fault.at_ms).min().unwrap_or(super::cases::FIRST_MS);
    Scenario {
        name: "explore".to_owned(),
        about: String::new(),
        lab: lab.name.clone(),
        overrides: Overrides::default(),
        absent: Vec::new(),
        traffic: Traffic { ipv6_percent: case.ipv6_percent, ..TRAFFIC },
        baseline_ms: first,
        settle_ms: SETTLE_MS,
        events: Vec::new(),
        expect: Expect::default(),
        kernel_transfers: false,
        hosts: Vec::new(),
    }
}

/// The lab as a case runs it.
fn prepared(lab: &Lab, case: &Case) -> Lab {
    let general = case.general.then_some(DistributionMode::General);
    let mut lab =
        lab.with(&Overrides { sync_delay_ms: Some(SYNC_DELAY_MS), distribution: general, ..Overrides::default() });
    lab.group.quirks = case.quirks;
    // Whatever the lab's policy: some flows are denied.
    let (port, udp) = (Traffic::DENIED_PORT, Some(Protocol::UDP.0));
    let denies = Rule { src: None, dst: None, protocol: udp, dst_ports: Some((port, port)), accept: false };
    lab.group.rules.insert(0, denies);
    match case.full {
        None => {}
        Some(Full::Connections) => lab.group.limits.connections = FEW_CONNECTIONS,
        Some(Full::NatPorts) => {
            let few = u16::try_from(FEW_PORTS * 100u32.saturating_sub(case.ipv6_percent) / 100).unwrap_or(u16::MAX);
            lab.group.nat.iter_mut().for_each(|nat| nat.ports.1 = nat.ports.0 + few);
        }
        Some(Full::Queues) => (lab.group.limits.items, lab.group.limits.frames) = (FEW_WAIT, FEW_WAIT),
    }
    lab
}

/// Runs a case.
///
/// # Errors
/// The world broke, or the lab did not come into service before the first fault: no safeguard is about that, and nothing
/// could be judged.
pub fn run(lab: &Lab, case: &Case, ablations: Ablations) -> Result<Trial, Failure> {
    let lab = &prepared(lab, case);
    let scenario = scenario(lab, case);
    let mut world = Sim::new(lab, case.seed).at_once();
    let settings = Settings { seed: case.seed, ablations };
    let ran = driver::drive_with(&mut world, lab, &scenario, &case.faults, settings, &mut |_| {})?;
    let some = |is: fn(Kind) -> bool| case.faults.iter().any(|fault| is(fault.kind));
    // The phase clock starts after the warm-up, the schedule before it.
    let warm = driver::WARM_UP / 1_000_000;
    let span = scalebed_checkers::invariants::Span {
        first_ms: warm + scenario.baseline_ms,
        healed_ms: warm + case.faults.iter().map(Fault::healed_ms).max().unwrap_or(0),
        single: case.faults.len() == 1,
        full: case.full,
        deaths: case.faults.iter().all(|fault| {
            let dies = matches!(fault.kind, Kind::Kill | Kind::PowerOff | Kind::Restart);
            dies && lab.node(&fault.target).is_some_and(|(_, node)| matches!(node.kind, NodeKind::Member(_)))
        }),
        delay_ms: case.faults.iter().map(|fault| fault.kind.delay_ms()).sum(),
        takes_frames: some(Kind::takes_frames),
        alters_frames: some(Kind::alters_frames),
        doubles_frames: some(Kind::doubles_frames),
    };
    let violations = scalebed_checkers::invariants::violations(&ran.input(lab, &scenario, "sim", case.seed), span);
    let deliveries = ran.evidence.observations.len() as u64;
    Ok(Trial { violations, history: ran.evidence.history, deliveries })
}

/// What was done and declared, a line each: the run as a person reads it.
#[must_use]
pub fn transcript(history: &History) -> String {
    let start = history.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Schedule(schedule) => Some(schedule.start),
        _ => None,
    });
    let start = start.unwrap_or(0);
    let mut text = String::new();
    for entry in &history.entries {
        let at = (entry.at as f64 - start as f64) / 1e6;
        match &entry.fact {
            Fact::Operation { text: what, .. } => text += &format!("{at:10.3} ms  -- {what}\n"),
            Fact::Declared { node, text: what, .. } => text += &format!("{at:10.3} ms  {node}: {what}\n"),
            Fact::Phase(name) => text += &format!("{at:10.3} ms  == {name}\n"),
            _ => {}
        }
    }
    text
}
