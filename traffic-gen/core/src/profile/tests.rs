use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn small(seed: u64) -> Profile {
    let addresses = |third: u8, behind: [u8; 4], length| Addresses {
        on_link: (16..32).map(|host| [198, 18, third, host].into()).collect(),
        behind: vec![Prefix { address: IpAddr::from(behind), length }],
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

/// The same with IPv6 on both sides.
fn dual(seed: u64) -> Profile {
    let mut wanted = small(seed);
    wanted.traffic.ipv6_percent = 50;
    for (network, behind, length, side) in [(0, 0x40, 58, &mut wanted.clients), (1, 0x80, 57, &mut wanted.servers)] {
        let address = |network, host| IpAddr::from([0x2001, 2, 0, network, 0, 0, 0, host]);
        side.on_link.extend((0x10..0x20).map(|host| address(network, host)));
        side.behind.push(Prefix { address: address(behind, 0), length });
    }
    wanted
}

#[test]
fn what_was_dealt_before_ipv6_is_dealt_still() {
    use std::hash::Hasher as _;
    let hash = |wanted: &Profile| {
        let mut hasher = siphasher::sip::SipHasher24::new();
        hasher.write(format!("{:?}", profile(wanted)).as_bytes());
        hasher.finish()
    };
    let mut short = small(8);
    short.traffic = Traffic { probes: 18, population: 250, denied: 10, young_percent: 30, ..Traffic::SMALL };
    short.clients.behind[0].length = 26;
    let on_link = Profile { servers: Addresses { behind: vec![], ..small(1).servers }, ..small(1) };
    // By the code of commit 15297a1, which knew no IPv6.
    let before = [0x4e60_22ea_5577_3a13, 0xd5ec_36a5_e712_7dc4, 0xae78_4f57_1368_5a7f];
    assert_eq!([&small(3), &short, &on_link].map(hash), before);
    // A lab that has IPv6 and a scenario that does not ask for it: the same.
    let mut unasked = dual(3);
    unasked.traffic.ipv6_percent = 0;
    assert_eq!(hash(&unasked), before[0]);
}

#[test]
fn half_of_every_kind_is_of_ipv6() {
    let schedule = profile(&dual(3));
    let share = |what: &str, is: &dyn Fn(&FlowSpec) -> bool| {
        let all: Vec<bool> = schedule.flows.iter().filter(|flow| is(flow)).map(|flow| flow.forward.is_ipv4()).collect();
        let v4 = all.iter().filter(|&&v4| v4).count();
        assert!(v4 > 0 && v4.abs_diff(all.len() - v4) <= 1, "{what}: {v4} of {}", all.len());
    };
    share("probes", &|flow| flow.class == Class::Probe);
    share("population by UDP", &|flow| flow.class == Class::Population && flow.kind == FlowKind::Udp);
    share("population by TCP", &|flow| flow.kind == FlowKind::Tcp);
    // 100 of both kinds are young and start later than all others do; a few at the beginning of their even share.
    share("idle", &|flow| matches!(flow.shape, Shape::Idle { .. }));
    share("half closed", &|flow| matches!(flow.shape, Shape::HalfClosed { .. }));
    share("handshaking", &|flow| matches!(flow.shape, Shape::SlowHandshake { .. }));
    let late = |flow: &FlowSpec| flow.shape == Shape::Steady && flow.first > 700_000_000;
    share("young by UDP", &|flow| flow.kind == FlowKind::Udp && late(flow));
    share("young by TCP", &|flow| flow.kind == FlowKind::Tcp && late(flow));
    // Stations on link of both families on either side.
    let probes = &schedule.flows[..32];
    let (inside, outside) = (dual(3).clients.on_link, dual(3).servers.on_link);
    for v4 in [true, false] {
        let of = |flow: &&FlowSpec| flow.forward.is_ipv4() == v4;
        assert_eq!(probes.iter().filter(of).filter(|flow| inside.contains(&flow.forward.src)).count(), 4);
        assert_eq!(probes.iter().filter(of).filter(|flow| outside.contains(&flow.forward.dst)).count(), 4);
    }
}

#[test]
fn shares_that_meet_do_not_cancel() {
    // Every second pair is young, and every second flow of IPv6: not the same ones.
    let mut wanted = dual(3);
    wanted.traffic = Traffic { young_percent: 50, denied: 3, ..wanted.traffic };
    let schedule = profile(&wanted);
    let of = |young: bool, v4: bool| {
        let is = |flow: &&FlowSpec| (flow.first > 700_000_000) == young && flow.forward.is_ipv4() == v4;
        schedule.flows.iter().filter(|flow| flow.shape == Shape::Steady).filter(is).count()
    };
    assert!([(true, true), (true, false), (false, true), (false, false)].iter().all(|&(y, f)| of(y, f) > 200));
    let denied = schedule.flows.iter().filter(|flow| flow.forward.dst_port == Traffic::DENIED_PORT);
    assert_eq!(denied.map(|flow| flow.forward.is_ipv4()).collect::<Vec<_>>(), [true, false, true]);
    wanted.traffic.ipv6_percent = 100;
    assert!(profile(&wanted).flows.iter().all(|flow| !flow.forward.is_ipv4()));
}

proptest! {
    #[test]
    fn any_profile_has_distinct_tuples_in_their_prefixes_and_times_in_the_run(
        seed: u64, probes in 0u32..20, population in 0u32..200, young_percent in 0u32..101,
        states_percent in 0u32..101, event in 0u64..30_000_000_000, length in 20u8..31, ipv6_percent in 0u32..101,
    ) {
        let mut wanted = dual(seed);
        wanted.traffic = Traffic {
            probes,
            probe_rate: 100,
            population,
            population_rate: 2,
            young_percent,
            states_percent,
            denied: probes / 2,
            ipv6_percent,
        };
        wanted.event = event;
        wanted.clients.behind[0].length = length;
        wanted.clients.behind[1].length = 96 + length;
        let schedule = profile(&wanted);
        let tuples: BTreeSet<Flow> = schedule.flows.iter().map(|flow| flow.forward).collect();
        prop_assert_eq!(tuples.len(), schedule.flows.len());
        for flow in &schedule.flows {
            for (end, side) in [(flow.forward.src, &wanted.clients), (flow.forward.dst, &wanted.servers)] {
                let host = |prefix: &Prefix| prefix.contains(end) && end != prefix.network() && end != prefix.last();
                prop_assert!(side.behind.iter().any(host) || side.on_link.contains(&end), "{}", end);
            }
            prop_assert_eq!(flow.forward.src.is_ipv4(), flow.forward.dst.is_ipv4());
            prop_assert!(flow.first >= LEAD_IN && flow.first < flow.last && flow.last == wanted.length);
        }
    }
}
