//! Deals the flows of a traffic profile: a pure function of its seed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use scalebed_engine::Rng;
use scalebed_frame::signature::{Class, Direction, Key};
use scalebed_frame::{Flow, Protocol};
use scalebed_record::traffic::HANDSHAKE_LEAD;
use scalebed_record::{FlowKind, FlowSpec, Schedule, Shape};
use scalebed_topologies::lab::Prefix;
use scalebed_topologies::scenario::Traffic;

use crate::states::State;

/// First due time of the first flow: leaves room for its handshake.
const LEAD_IN: u64 = 2 * HANDSHAKE_LEAD;
/// Service ports that servers listen on.
const SERVICES: (u16, u64) = (8_000, 64);
/// Ports that clients send from.
const CLIENT_PORTS: (u16, u64) = (10_000, 50_000);
/// Draws of an address before one that was dealt already is taken again.
const TRIES: u32 = 64;

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

/// The addresses of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// On link: every fourth probe uses one of them.
    pub on_link: Vec<Ipv4Addr>,
    /// Behind the next hop: thousands.
    pub behind: Vec<Prefix>,
}

/// The schedule of a profile: probes (UDP) first, then the population, every second flow of it TCP. Its young share
/// starts spread evenly over the run, the rest within one interval at the beginning; a share of its other TCP flows is
/// idle, half closed or in its handshake when the first event comes. No two flows have the same tuple;
/// no two population flows the same client or server address, as long as there are enough.
#[must_use]
pub fn profile(profile: &Profile) -> Schedule {
    let Profile { seed, run, start, length, traffic, event, .. } = *profile;
    let mut dealer = Dealer::new(profile);
    let mut flows = Vec::new();
    for index in 0..traffic.probes {
        let first = LEAD_IN + share(interval(traffic.probe_rate), index, traffic.probes);
        let forward = dealer.flow(Protocol::UDP, index % 4 == 1, index % 4 == 3);
        let (class, kind) = (Class::Probe, FlowKind::Udp);
        let (rate, shape) = (traffic.probe_rate, Shape::Steady);
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape });
    }
    let mut starts = Rng::new(seed, "starts");
    let mut states = Rng::new(seed, "states");
    let (mut young, mut old) = (0, 0);
    for index in 0..traffic.population {
        // UDP and TCP flows come in pairs, so that the young share is the same in both.
        let mut first = if is_young(index / 2, traffic.young_percent) {
            young += 1;
            let youngest = traffic.population * traffic.young_percent.min(100) / 100;
            let spread = length.saturating_sub(LEAD_IN + 2 * interval(traffic.population_rate));
            LEAD_IN + share(spread, young, youngest.max(young))
        } else {
            LEAD_IN + starts.below(interval(traffic.population_rate))
        };
        let (kind, protocol) =
            if index % 2 == 0 { (FlowKind::Udp, Protocol::UDP) } else { (FlowKind::Tcp, Protocol::TCP) };
        let forward = dealer.flow(protocol, false, false);
        let (class, rate, mut shape) = (Class::Population, traffic.population_rate, Shape::Steady);
        if kind == FlowKind::Tcp && !is_young(index / 2, traffic.young_percent) {
            if let Some(state) = State::of(old, traffic.states_percent)
                && let Some(planned) = state.plan(event, length, first, interval(rate), |most| states.below(most))
            {
                (first, shape) = planned;
            }
            old += 1;
        }
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape });
    }
    // Last, so that whether there are any changes no other flow.
    for index in 0..traffic.denied {
        let rate = (traffic.probe_rate / 4).max(1);
        let first = LEAD_IN + share(interval(rate), index, traffic.denied);
        let dealt = dealer.flow(Protocol::UDP, false, false);
        let forward = Flow { dst_port: Traffic::DENIED_PORT, ..dealt };
        let (class, kind) = (Class::Population, FlowKind::Udp);
        flows.push(FlowSpec { class, kind, forward, first, last: length, rate, shape: Shape::Steady });
    }
    Schedule { run, key: key(seed), seed, start, end: length, flows }
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
fn is_young(index: u32, percent: u32) -> bool {
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

/// Deals addresses and ports.
struct Dealer<'a> {
    profile: &'a Profile,
    rng: Rng,
    used: [BTreeSet<Ipv4Addr>; 2],
    flows: BTreeSet<Flow>,
}

impl<'a> Dealer<'a> {
    fn new(profile: &'a Profile) -> Self {
        Self { profile, rng: Rng::new(profile.seed, "addresses"), used: Default::default(), flows: BTreeSet::new() }
    }

    fn flow(&mut self, protocol: Protocol, client_on_link: bool, server_on_link: bool) -> Flow {
        let src = self.address(Direction::Forward, client_on_link).into();
        let dst = self.address(Direction::Reverse, server_on_link).into();
        let dst_port = SERVICES.0 + narrow(self.rng.below(SERVICES.1));
        let mut src_port = CLIENT_PORTS.0 + narrow(self.rng.below(CLIENT_PORTS.1));
        // Few addresses and many flows can meet; a free port is at most one round away.
        for _ in 0..CLIENT_PORTS.1 {
            if self.flows.insert(Flow { protocol, src, dst, src_port, dst_port }) {
                break;
            }
            src_port = CLIENT_PORTS.0 + narrow((u64::from(src_port - CLIENT_PORTS.0) + 1) % CLIENT_PORTS.1);
        }
        Flow { protocol, src, dst, src_port, dst_port }
    }

    /// The sender of a direction: a client for forward, a server for reverse.
    fn address(&mut self, sender_of: Direction, on_link: bool) -> Ipv4Addr {
        let (addresses, used) = match sender_of {
            Direction::Forward => (&self.profile.clients, &mut self.used[0]),
            Direction::Reverse => (&self.profile.servers, &mut self.used[1]),
        };
        let Addresses { on_link: stations, behind } = addresses;
        let draw = |rng: &mut Rng, on_link: bool| -> Option<Ipv4Addr> {
            if on_link && !stations.is_empty() || behind.is_empty() {
                return stations.get(usize::try_from(rng.below(stations.len() as u64)).ok()?).copied();
            }
            let prefix = behind.get(usize::try_from(rng.below(behind.len() as u64)).ok()?)?;
            // Neither the network's own address nor the last one.
            let hosts = (1u64 << 32u32.saturating_sub(u32::from(prefix.length))).saturating_sub(2);
            let host = u32::try_from(1 + rng.below(hosts)).unwrap_or(1);
            Some(Ipv4Addr::from(u32::from(prefix.address).wrapping_add(host)))
        };
        let mut address = Ipv4Addr::UNSPECIFIED;
        for _ in 0..TRIES {
            address = draw(&mut self.rng, on_link).unwrap_or(Ipv4Addr::UNSPECIFIED);
            if used.insert(address) {
                break;
            }
        }
        address
    }
}

fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn small(seed: u64) -> Profile {
        let addresses = |third: u8, behind: [u8; 4], length| Addresses {
            on_link: (16..32).map(|host| Ipv4Addr::new(198, 18, third, host)).collect(),
            behind: vec![Prefix { address: behind.into(), length }],
        };
        Profile {
            seed,
            run: 5,
            start: 1_000_000_000,
            length: 20_000_000_000,
            event: 8_000_000_000,
            traffic: Traffic::SMALL,
            clients: addresses(0, [198, 18, 64, 0], 18),
            servers: addresses(1, [198, 18, 128, 0], 17),
        }
    }

    #[test]
    fn the_small_profile_is_what_it_says() {
        let schedule = profile(&small(3));
        let count = |class, kind| schedule.flows.iter().filter(|flow| (flow.class, flow.kind) == (class, kind)).count();
        assert_eq!(schedule.flows.len(), 2_032);
        assert_eq!(count(Class::Probe, FlowKind::Udp), 32);
        assert_eq!(count(Class::Population, FlowKind::Udp), 1_000);
        assert_eq!(count(Class::Population, FlowKind::Tcp), 1_000);
        let spread = |flow: &&FlowSpec| flow.shape == Shape::Steady && flow.first > 700_000_000;
        let young = |kind| schedule.flows.iter().filter(|flow| flow.kind == kind).filter(spread).count();
        // 20 % of each, but for those whose even share of the run falls into its first moments.
        assert!((190..=200).contains(&young(FlowKind::Udp)), "{}", young(FlowKind::Udp));
        assert!((190..=200).contains(&young(FlowKind::Tcp)), "{}", young(FlowKind::Tcp));
        let shaped = |is: fn(&Shape) -> bool| schedule.flows.iter().filter(|flow| is(&flow.shape)).count();
        assert_eq!(shaped(|shape| matches!(shape, Shape::Idle { .. })), 160);
        assert_eq!(shaped(|shape| matches!(shape, Shape::HalfClosed { .. })), 160);
        assert_eq!(shaped(|shape| matches!(shape, Shape::SlowHandshake { .. })), 80);
        let tuples: BTreeSet<Flow> = schedule.flows.iter().map(|flow| flow.forward).collect();
        assert_eq!(tuples.len(), 2_032);
        let of = |end: fn(&Flow) -> IpAddr| tuples.iter().map(end).collect::<BTreeSet<_>>().len();
        assert!(of(|flow| flow.src) > 2_020 && of(|flow| flow.dst) > 2_020, "addresses are distinct");
    }

    #[test]
    fn probes_never_fall_due_together() {
        let schedule = profile(&small(3));
        let firsts: BTreeSet<u64> = schedule.flows[..32].iter().map(|flow| flow.first).collect();
        assert_eq!(firsts.len(), 32);
        assert_eq!(firsts.last().unwrap() - firsts.first().unwrap(), 31 * 5_000_000 / 32);
    }

    #[test]
    fn every_seed_deals_otherwise_and_the_same_again() {
        assert_eq!(profile(&small(3)), profile(&small(3)));
        assert_ne!(profile(&small(3)).flows, profile(&small(4)).flows);
        assert_ne!(profile(&small(3)).key, profile(&small(4)).key);
    }

    proptest! {
        #[test]
        fn any_profile_has_distinct_tuples_in_their_prefixes_and_times_in_the_run(
            seed: u64, probes in 0u32..20, population in 0u32..200, young_percent in 0u32..101,
            states_percent in 0u32..101, event in 0u64..30_000_000_000, length in 20u8..31,
        ) {
            let mut wanted = small(seed);
            wanted.traffic = Traffic { probes, probe_rate: 100, population, population_rate: 2, young_percent, states_percent, denied: probes / 2 };
            wanted.event = event;
            wanted.clients.behind[0].length = length;
            let schedule = profile(&wanted);
            let tuples: BTreeSet<Flow> = schedule.flows.iter().map(|flow| flow.forward).collect();
            prop_assert_eq!(tuples.len(), schedule.flows.len());
            for flow in &schedule.flows {
                let IpAddr::V4(src) = flow.forward.src else { panic!("{src}", src = flow.forward.src) };
                prop_assert!(wanted.clients.behind[0].contains(src) || wanted.clients.on_link.contains(&src));
                prop_assert!(flow.first >= LEAD_IN && flow.first < flow.last && flow.last == wanted.length);
            }
        }
    }
}
