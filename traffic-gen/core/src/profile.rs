//! Deals the flows of a traffic profile: a pure function of its seed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use scalebed_engine::Rng;
use scalebed_frame::signature::{Class, Key};
use scalebed_frame::{Flow, Protocol};
use scalebed_record::traffic::HANDSHAKE_LEAD;
use scalebed_record::{FlowKind, FlowSpec, Schedule, Shape};
use scalebed_topologies::lab::Prefix;
use scalebed_topologies::scenario::Traffic;

use crate::deal::{Dealer, Family};
use crate::states::State;

/// First due time of the first flow: leaves room for its handshake.
const LEAD_IN: u64 = 2 * HANDSHAKE_LEAD;

/// What a schedule is made of. Times in ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Decides every address, port and start time.
    pub seed: u64,
    /// Identifies the run's packets.
    pub run: u64,
    /// Start of the schedule, CLOCK_MONOTONIC.
    pub start: u64,
    /// Its length.
    pub length: u64,
    /// When the first event comes, counted from the start: TCP flows are in their states then.
    pub event: u64,
    /// How many flows, how fast.
    pub traffic: Traffic,
    /// Where clients are.
    pub clients: Addresses,
    /// Where servers are.
    pub servers: Addresses,
}

/// The addresses of a side, of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// On link: every fourth probe uses one of them.
    pub on_link: Vec<IpAddr>,
    /// Behind the next hop: thousands.
    pub behind: Vec<Prefix>,
}

/// The schedule of a profile: probes (UDP) first, then the population, every second flow of it TCP. Its young share
/// starts spread evenly over the run, the rest within one interval at the beginning; a share of its other TCP flows is
/// idle, half closed or in its handshake when the first event comes. No two flows have the same tuple;
/// no two population flows the same client or server address, as long as there are enough. A share of each kind is of IPv6:
/// probes four by four, the population by pairs of UDP and TCP, of the young ones and of those in each state too.
#[must_use]
pub fn profile(profile: &Profile) -> Schedule {
    let Profile { seed, run, start, length, traffic, .. } = *profile;
    let mut dealer = Dealer::new(profile);
    let mut flows = Vec::new();
    for index in 0..traffic.probes {
        let first = LEAD_IN + share(interval(traffic.probe_rate), index, traffic.probes);
        // Blocks of four, so that there are stations on link of both families on either side.
        let family = Family::of(index / 4, traffic.ipv6_percent);
        let forward = dealer.flow((Protocol::UDP, family), index % 4 == 1, index % 4 == 3);
        let (class, kind) = (Class::Probe, FlowKind::Udp);
        let (rate, shape) = (traffic.probe_rate, Shape::Steady);
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape });
    }
    population(profile, &mut dealer, &mut flows);
    // Last, so that whether there are any changes no other flow.
    for index in 0..traffic.denied {
        let rate = (traffic.probe_rate / 4).max(1);
        let first = LEAD_IN + share(interval(rate), index, traffic.denied);
        let dealt = dealer.flow((Protocol::UDP, Family::of(index, traffic.ipv6_percent)), false, false);
        let forward = Flow { dst_port: Traffic::DENIED_PORT, ..dealt };
        let (class, kind) = (Class::Population, FlowKind::Udp);
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape: Shape::Steady });
    }
    Schedule { run, key: key(seed), seed, start, end: length, flows }
}

fn population(profile: &Profile, dealer: &mut Dealer<'_>, flows: &mut Vec<FlowSpec>) {
    let Profile { seed, length, traffic, event, .. } = *profile;
    let mut starts = Rng::new(seed, "starts");
    let mut states = Rng::new(seed, "states");
    let (mut young, mut old) = (0, 0);
    // How many pairs there were of each sort.
    let mut pairs: BTreeMap<Sort, u32> = BTreeMap::new();
    let mut family = Family::V4;
    for index in 0..traffic.population {
        // UDP and TCP flows come in pairs, so that the young share is the same in both.
        let sort = if is_taken(index / 2, traffic.young_percent) {
            Sort::Young
        } else {
            Sort::Old(State::of(old, traffic.states_percent))
        };
        let mut first = if sort == Sort::Young {
            young += 1;
            let youngest = traffic.population * traffic.young_percent.min(100) / 100;
            let spread = length.saturating_sub(LEAD_IN + 2 * interval(traffic.population_rate));
            LEAD_IN + share(spread, young, youngest.max(young))
        } else {
            LEAD_IN + starts.below(interval(traffic.population_rate))
        };
        let (kind, protocol) =
            if index % 2 == 0 { (FlowKind::Udp, Protocol::UDP) } else { (FlowKind::Tcp, Protocol::TCP) };
        if kind == FlowKind::Udp {
            let before = pairs.entry(sort).or_default();
            family = Family::of(*before, traffic.ipv6_percent);
            *before += 1;
        }
        let forward = dealer.flow((protocol, family), false, false);
        let (class, rate, mut shape) = (Class::Population, traffic.population_rate, Shape::Steady);
        if let (FlowKind::Tcp, Sort::Old(state)) = (kind, sort) {
            let planned =
                state.and_then(|state| state.plan(event, length, first, interval(rate), |most| states.below(most)));
            (first, shape) = planned.unwrap_or((first, shape));
            old += 1;
        }
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape });
    }
}

/// What a pair of population flows is, beside its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Young,
    /// With the state that its TCP flow shall be in.
    Old(Option<State>),
}

/// Time between two packets of a direction, ns.
fn interval(rate: u32) -> u64 {
    1_000_000_000 / u64::from(rate.max(1))
}

/// `whole * index / count`.
fn share(whole: u64, index: u32, count: u32) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(index) / u128::from(count.max(1))).unwrap_or(whole)
}

/// Takes exactly `percent` of every hundred, spread evenly.
pub(crate) fn is_taken(index: u32, percent: u32) -> bool {
    let taken = |upto: u32| u64::from(upto) * u64::from(percent.min(100)) / 100;
    taken(index + 1) > taken(index)
}

fn key(seed: u64) -> Key {
    let mut rng = Rng::new(seed, "signature-key");
    let mut key = Key::default();
    for half in key.chunks_exact_mut(8) {
        half.copy_from_slice(&rng.next_u64().to_be_bytes());
    }
    key
}

#[cfg(test)]
mod tests;
