//! `scalebed explain` says where packets land before they do: held against what taps saw of random flows.

use std::collections::BTreeMap;

use scalebed_frame::signature::Direction;
use scalebed_frame::{DistributionMode, Flow, Kind, MemberId};
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::explain::{self, Way};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_record::Observation;
use scalebed_topologies::Lab;
use scalebed_topologies::lab::NodeKind;
use scalebed_topologies::scenario::Overrides;

/// Flows of a mode and a family; `SCALEBED_TIER=soak` takes 10,000.
fn flows() -> u32 {
    if scalebed_tests::soak() { 10_000 } else { 2_000 }
}

/// The member that a tap sits at, if it is one.
fn member(lab: &Lab, tap: scalebed_record::TapId) -> Option<MemberId> {
    let cable = &lab.cables[usize::from(tap.cable())];
    let end = if tap.at_b() { cable.b } else { cable.a };
    match lab.nodes[usize::from(end.node)].kind {
        NodeKind::Member(member) => Some(member),
        _ => None,
    }
}

/// What taps saw of many flows in a steady lab.
fn observed(scenario: &str, overrides: &Overrides) -> (Lab, Vec<Observation>) {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let lab = loaded.lab.with(overrides);
    let mut scenario = loaded.scenario;
    (scenario.traffic.population, scenario.traffic.probes) = (2 * flows(), 16);
    scenario.traffic.ipv6_percent = 50;
    (scenario.baseline_ms, scenario.settle_ms, scenario.kernel_transfers) = (1_000, 500, false);
    let mut world = Sim::new(&lab, 1);
    let settings = Settings { seed: 1, ..Settings::default() };
    let ran = driver::drive(&mut world, &lab, &scenario, settings, &mut |_| {}).expect("a run");
    (lab, ran.evidence.observations)
}

/// Every packet of every flow lands, both ways, on the member that was told.
fn agrees(mode: DistributionMode, l4: bool, nat: bool) {
    let overrides = Overrides { distribution: Some(mode), l4: Some(l4), hide_nat: Some(nat), ..Overrides::default() };
    let (lab, observations) = observed("maestro/steady", &overrides);
    let matrix = explain::first_matrix(&lab);
    let mut ways: BTreeMap<u32, (Flow, Way)> = BTreeMap::new();
    let (mut there, mut back) = (0u32, 0u32);
    for seen in &observations {
        let (Some(shim), Some(flow), Some(probe)) = (seen.shim, seen.flow, seen.probe) else { continue };
        let Some(lands) = member(&lab, seen.tap) else { continue };
        if shim.kind != Kind::Data {
            continue;
        }
        match probe.direction {
            Direction::Forward => {
                let entry = ways.entry(probe.flow);
                let (_, way) = entry.or_insert_with(|| (flow, explain::way(&lab, &matrix, &flow).expect("explained")));
                assert_eq!(way.forward.owner, Some(lands), "{way}");
                there += 1;
            }
            Direction::Reverse => {
                let (_, way) = &ways[&probe.flow];
                let Some(told) = &way.back else { continue };
                assert_eq!(told.owner, Some(lands), "back: {way}");
                assert_eq!(way.corrected, Some(way.forward.owner != Some(lands)), "{way}");
                back += 1;
            }
        }
    }
    let all = u32::try_from(ways.len()).expect("few");
    let v4 = u32::try_from(ways.values().filter(|(flow, _)| flow.is_ipv4()).count()).expect("few");
    assert!(v4 >= flows() && all - v4 >= flows() && there >= all, "{all} flows, {v4} of IPv4, {there} packets");
    // Where NAT takes a port that the key needs, nothing can be told before.
    let open = ways.values().filter(|(_, way)| way.back.is_none()).count();
    assert!(ways.values().all(|(flow, way)| way.back.is_some() || flow.is_ipv4()), "IPv6 is not translated");
    assert!(open > 0 || back >= all, "{back} packets back of {all} flows");
    assert_eq!(open > 0, l4 && nat, "{open} flows are open");
}

#[test]
fn auto_topology_lands_where_it_is_told() {
    agrees(DistributionMode::AutoTopology, false, true);
}

#[test]
fn auto_topology_with_ports_lands_where_it_is_told() {
    agrees(DistributionMode::AutoTopology, true, false);
}

#[test]
fn general_lands_where_it_is_told() {
    agrees(DistributionMode::General, false, true);
}

#[test]
fn general_with_ports_lands_where_it_is_told() {
    agrees(DistributionMode::General, true, true);
}

#[test]
fn user_lands_where_it_is_told() {
    agrees(DistributionMode::User, false, false);
}

#[test]
fn network_lands_where_it_is_told() {
    agrees(DistributionMode::Network, false, true);
}

/// What the pivot hands over goes to the owner that was told; what it owns itself it keeps.
#[test]
fn the_pivot_hands_over_where_it_is_told() {
    let (lab, observations) = observed("elasticxl/steady", &Overrides::default());
    let matrix = explain::first_matrix(&lab);
    let mut handed = BTreeMap::new();
    let mut all = BTreeMap::new();
    for seen in &observations {
        let (Some(flow), Some(probe)) = (seen.flow, seen.probe) else { continue };
        let Some(lands) = member(&lab, seen.tap) else { continue };
        if probe.direction != Direction::Forward {
            continue;
        }
        match seen.shim.map(|shim| shim.kind) {
            None => {
                all.entry(probe.flow).or_insert(flow);
            }
            Some(Kind::Handover) => {
                handed.insert(probe.flow, lands);
            }
            Some(_) => {}
        }
    }
    let owners = all.iter().map(|(id, flow)| {
        let way = explain::way(&lab, &matrix, flow).expect("explained");
        assert!(way.pivot && way.corrected == Some(false), "{way}");
        (*id, way.forward.owner.expect("an owner"))
    });
    let owners: BTreeMap<u32, MemberId> = owners.collect();
    let pivot = MemberId::new(1, 1);
    let v4 = all.values().filter(|flow| flow.is_ipv4()).count();
    assert!(v4.min(owners.len() - v4) >= flows() as usize, "{} flows, {v4} of IPv4", owners.len());
    let expected: BTreeMap<u32, MemberId> = owners.into_iter().filter(|(_, owner)| *owner != pivot).collect();
    assert!(expected.len() > flows() as usize / 2);
    assert_eq!(handed, expected);
}
