//! The evidence, put in order once for all checkers.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use scalebed_frame::NodeId;
use scalebed_frame::signature::Class;
use scalebed_record::traffic::{GeneratorReport, TcpReport};
use scalebed_record::{Fact, FlowSpec, Observation, Schedule};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::Kind;
use scalebed_topologies::scenario::{Action, Scenario};

use crate::Input;
use crate::epochs::Agreement;
use crate::events::{self, Happening};
use crate::journey::{Journey, NOBODY};
use crate::losses::{self, Loss};
use crate::oracle::Oracle;
use crate::packets::{DIRECTIONS, Packets};
use crate::places::{Places, Role};

/// ns in a ms.
pub const MS: u64 = 1_000_000;
/// A packet that took longer is late, not delivered in time.
pub const LATE: u64 = 500 * MS;
/// After the last packet is due, so long is waited for what is under way.
pub const DRAIN: u64 = 2_000 * MS;
/// What a cable had altered before it was mended may be seen for so long after.
const ON_ITS_WAY: u64 = 500 * MS;

/// A packet that was on its way when the first fault began may be lost by it.
pub const EDGE_OF_FAULTS: u64 = 20 * MS;

/// Evidence of one run, indexed.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What the harness handed over.
    pub(crate) input: Input<'a>,
    pub(crate) schedule: &'a Schedule,
    pub(crate) report: Option<&'a GeneratorReport>,
    pub(crate) places: Places,
    /// Which flows the policy denies.
    denied: Vec<bool>,
    pub(crate) packets: Packets,
    pub(crate) journeys: Vec<Journey>,
    pub(crate) agreement: Agreement<'a>,
    pub(crate) happenings: Vec<Happening>,
    pub(crate) losses: Vec<Loss>,
    /// Packets that cables lost which the lab itself impairs.
    pub(crate) lost_by_lab: u64,
}

impl<'a> Evidence<'a> {
    /// Is any cable to alter frames, ever?
    pub fn has_altering_cables(&self) -> bool {
        let mut cables = self.lab().impairments.iter().chain(self.scenario().cable_faults());
        cables.any(|fault| fault.some(Kind::alters_frames))
    }

    /// Is any cable to alter frames at this instant? What it had altered is on its way for a moment longer.
    pub fn alters_frames(&self, at: u64) -> bool {
        let stands = |happening: &Happening| match &happening.action {
            Action::Fault(fault) => {
                fault.some(Kind::alters_frames) && (happening.at..happening.healed + ON_ITS_WAY).contains(&at)
            }
            _ => false,
        };
        let always = self.lab().impairments.iter().any(|fault| fault.some(Kind::alters_frames));
        always || self.happenings.iter().any(stands)
    }

    /// Puts everything in order. `None`: no traffic was scheduled.
    #[must_use]
    pub fn of(input: &Input<'a>) -> Option<Self> {
        let facts = || input.history.entries.iter().map(|entry| &entry.fact);
        let schedule = facts().find_map(|fact| match fact {
            Fact::Schedule(schedule) => Some(schedule),
            _ => None,
        })?;
        let report = facts().find_map(|fact| match fact {
            Fact::Generator(report) => Some(report),
            _ => None,
        });
        let places = Places::of(input.lab);
        let packets = Packets::of(schedule, input.observations);
        let of_flow = |flow: usize| {
            let sides = (0..DIRECTIONS.len()).map(move |side| (flow, side));
            sides.flat_map(|(flow, side)| (0..packets.count(flow, side)).map(move |sequence| (flow, side, sequence)))
        };
        // Flow by flow on all cores; collected in order.
        let journeys = (0..schedule.flows.len())
            .into_par_iter()
            .flat_map_iter(of_flow)
            .map(|(flow, side, sequence)| {
                let path = packets.path(packets.id(flow, side, sequence));
                Journey::follow(&places, input.observations, path, side)
            })
            .collect();
        let agreement = Agreement::of(input.lab, input.history, schedule.start + schedule.end + DRAIN);
        let mut evidence = Self {
            input: *input,
            schedule,
            report,
            places,
            denied: schedule.flows.iter().map(|spec| !input.lab.group.accepts(&spec.forward)).collect(),
            packets,
            journeys,
            agreement,
            happenings: Vec::new(),
            losses: Vec::new(),
            lost_by_lab: 0,
        };
        evidence.happenings = events::happenings(&evidence);
        (evidence.losses, evidence.lost_by_lab) = losses::losses(&evidence);
        Some(evidence)
    }

    pub(crate) const fn lab(&self) -> &'a Lab {
        self.input.lab
    }

    pub(crate) const fn scenario(&self) -> &'a Scenario {
        self.input.scenario
    }

    pub(crate) const fn observations(&self) -> &'a [Observation] {
        self.input.observations
    }

    pub(crate) const fn oracle(&self) -> Oracle<'a> {
        Oracle::new(self.input.lab)
    }

    /// One heartbeat unit, ns.
    pub(crate) fn unit(&self) -> u64 {
        u64::from(self.lab().group.unit_ms) * MS
    }

    /// Every orchestrator of the lab.
    pub(crate) fn orchestrators(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        self.input.lab.nodes.iter().filter_map(|node| node.kind.id()).filter(|id| id.mho().is_some())
    }

    /// Flows that are to get through, with their ids.
    pub(crate) fn flows(&self) -> impl Iterator<Item = (usize, &'a FlowSpec)> {
        self.schedule.flows.iter().enumerate().filter(|(flow, _)| !self.denied[*flow])
    }

    /// Ids of those that the policy denies.
    pub(crate) fn denied(&self) -> impl Iterator<Item = usize> {
        (0..self.denied.len()).filter(|flow| self.denied[*flow])
    }

    /// What the ends of a flow's TCP connection report.
    pub(crate) fn tcp(&self, flow: usize) -> Option<&'a TcpReport> {
        let reports = &self.report?.tcp;
        reports.binary_search_by_key(&flow, |tcp| tcp.flow as usize).ok().map(|place| &reports[place])
    }

    /// A packet's journey.
    pub(crate) fn journey(&self, flow: usize, side: usize, sequence: u32) -> &Journey {
        &self.journeys[self.packets.id(flow, side, sequence)]
    }

    /// The journeys of a direction of a flow, in order of sequence.
    pub(crate) fn journeys(&self, flow: usize, side: usize) -> &[Journey] {
        let first = self.packets.id(flow, side, 0);
        &self.journeys[first..first + self.packets.count(flow, side) as usize]
    }

    /// When a packet was due, ns of the run's clock.
    pub(crate) fn due(&self, flow: usize, side: usize, sequence: u32) -> u64 {
        let spec = &self.schedule.flows[flow];
        let way = DIRECTIONS[side];
        self.schedule.start + spec.due(way, u64::from(sequence)).unwrap_or_else(|| spec.end(way))
    }

    /// ms after the schedule's start, for reports.
    pub(crate) fn ms(&self, at: u64) -> f64 {
        (at as f64 - self.schedule.start as f64) / MS as f64
    }

    /// The last packet of a direction that had arrived by `at`, among the last 64 due: where the flow went just before.
    pub(crate) fn last_arrived(&self, flow: usize, side: usize, at: u64) -> Option<u32> {
        let count = self.packets.count(flow, side);
        let spec = &self.schedule.flows[flow];
        let since = at.saturating_sub(self.schedule.start + spec.first);
        let due = u128::from(since) * u128::from(spec.rate.max(1)) / 1_000_000_000;
        let upper = u32::try_from(due).unwrap_or(u32::MAX).saturating_add(1).min(count);
        (upper.saturating_sub(64)..upper).rev().find(|&sequence| {
            let journey = self.journey(flow, side, sequence);
            journey.delivered != 0 && journey.delivered < at
        })
    }

    /// The member that processed the newest of a flow's packets that had arrived by `at`, whichever way it went: of a
    /// connection closed one way, the other way alone tells where it is.
    pub(crate) fn owner_before(&self, flow: usize, at: u64) -> Option<u8> {
        let newest = |side| {
            let journey = self.journey(flow, side, self.last_arrived(flow, side, at)?);
            (journey.owner != NOBODY).then_some((journey.delivered, journey.owner))
        };
        (0..2).filter_map(newest).max().map(|(_, owner)| owner)
    }

    /// A packet's path in words, for people who look for what went wrong.
    pub(crate) fn path(&self, flow: usize, side: usize, sequence: u32) -> String {
        let name = |role: Role| match role {
            Role::Member(index) => self.places.name(index),
            Role::Mho(mho) => mho.to_string(),
            Role::Generator(0) => "clients".to_owned(),
            Role::Generator(_) => "servers".to_owned(),
            Role::Other => "switch".to_owned(),
        };
        let path = self.packets.path(self.packets.id(flow, side, sequence));
        let steps: Vec<String> = path
            .iter()
            .map(|&index| {
                let seen = &self.observations()[index as usize];
                let place = self.places.at(seen.tap);
                let kind = seen.shim.map_or(String::new(), |shim| format!("({:?})", shim.kind).to_lowercase());
                format!("{}>{}{kind}", name(place.from), name(place.to))
            })
            .collect();
        let way = ["forward", "return"][side];
        format!(
            "flow {flow} {way} #{sequence}: {}",
            if steps.is_empty() { "not seen".to_owned() } else { steps.join(" ") }
        )
    }

    /// Did a cable that was to double frames show a packet twice?
    pub(crate) fn was_doubled(&self, flow: usize, side: usize, sequence: u32) -> bool {
        let of_event = self.happenings.iter().filter_map(|happening| match &happening.action {
            Action::Fault(fault) => Some((fault, happening.at..happening.window)),
            _ => None,
        });
        let of_lab = self.lab().impairments.iter().map(|fault| (fault, 0..u64::MAX));
        let doubling = of_event.chain(of_lab).filter(|(fault, _)| fault.some(Kind::doubles_frames));
        let path = self.packets.path(self.packets.id(flow, side, sequence));
        let same = |a: &Observation, b: &Observation| {
            let way = |seen: &Observation| (seen.tap, seen.probe, seen.shim.map(|shim| (shim.kind as u8, shim.hop)));
            way(a) == way(b)
        };
        let seen: Vec<&Observation> = path.iter().map(|index| &self.observations()[*index as usize]).collect();
        doubling.into_iter().any(|(fault, times)| {
            let here = |one: &Observation| fault.cables.contains(&one.tap.cable()) && times.contains(&one.at);
            let twice = |(place, one): (usize, &&Observation)| seen[place + 1..].iter().any(|next| same(one, next));
            seen.iter().enumerate().filter(|(_, one)| here(one)).any(twice)
        })
    }

    /// Is a flow a probe?
    pub(crate) fn is_probe(&self, flow: usize) -> bool {
        self.schedule.flows[flow].class == Class::Probe
    }
}
