//! The shipped labs, resolved: what a person would check by eye, and what must hold of every lab.

use std::collections::BTreeSet;

use scalebed_topologies::lab::{Architecture, Lab, NodeKind, PortRole};
use scalebed_topologies::scenario::Overrides;
use scalebed_topologies::{catalogue, load_lab};

fn shipped(name: &str) -> Lab {
    catalogue::lab(name).unwrap().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_maestro_lab() {
    insta::assert_snapshot!(shipped("maestro-single-site").describe());
}

#[test]
fn the_elasticxl_lab() {
    insta::assert_snapshot!(shipped("elasticxl-single-site").describe());
}

#[test]
fn what_is_emulated_and_warned_of() {
    let text: String = catalogue::lab_names()
        .into_iter()
        .map(shipped)
        .map(|lab| {
            format!("{}\n  {}\n  warning: {}\n", lab.name, lab.emulated.join("\n  "), lab.warnings().join("\n  "))
        })
        .collect();
    insta::assert_snapshot!(text);
}

#[test]
fn cables_and_ports_point_at_each_other() {
    for lab in catalogue::lab_names().into_iter().map(shipped) {
        for (index, cable) in lab.cables.iter().enumerate() {
            for end in [cable.a, cable.b] {
                let port = &lab.nodes[usize::from(end.node)].ports[usize::from(end.port)];
                assert_eq!(usize::from(port.cable), index, "{}", cable.name);
            }
        }
        let ends: usize = lab.nodes.iter().map(|node| node.ports.len()).sum();
        assert_eq!(ends, 2 * lab.cables.len());
    }
}

#[test]
fn names_are_unique_and_fit_the_kernel() {
    for lab in catalogue::lab_names().into_iter().map(shipped) {
        let nodes: BTreeSet<_> = lab.nodes.iter().map(|node| &node.name).collect();
        assert_eq!(nodes.len(), lab.nodes.len());
        let cables: BTreeSet<_> = lab.cables.iter().map(|cable| &cable.name).collect();
        assert_eq!(cables.len(), lab.cables.len());
        for node in &lab.nodes {
            let ports: BTreeSet<_> = node.ports.iter().map(|port| &port.name).collect();
            assert_eq!(ports.len(), node.ports.len(), "{}", node.name);
            assert!(node.ports.iter().all(|port| port.name.len() <= 15), "{}", node.name);
        }
    }
}

#[test]
fn stations_and_members_share_no_mac() {
    for lab in catalogue::lab_names().into_iter().map(shipped) {
        let mut seen = BTreeSet::new();
        for network in &lab.networks {
            assert!(seen.insert(network.cluster_mac));
        }
        for node in lab.nodes.iter().filter(|node| !matches!(node.kind, NodeKind::Mho(_))) {
            for port in &node.ports {
                assert!(seen.insert(port.mac), "{}/{} {}", node.name, port.name, port.mac);
            }
        }
    }
}

#[test]
fn frames_with_a_shim_fit_exactly_where_they_travel() {
    for lab in catalogue::lab_names().into_iter().map(shipped) {
        for node in &lab.nodes {
            for port in &node.ports {
                let shim = match port.role {
                    PortRole::DownlinkTo(_) | PortRole::Pair | PortRole::Downlink(_) | PortRole::Sync => true,
                    PortRole::Access => node.name == "sw-sync",
                    PortRole::Uplink(_) | PortRole::Data(_) | PortRole::BondLeg | PortRole::Station(_) => false,
                };
                assert_eq!(port.mtu, if shim { 1_600 } else { 1_500 }, "{}/{}", node.name, port.name);
            }
        }
    }
}

#[test]
fn a_member_has_a_downlink_to_each_orchestrator_or_a_port_on_each_network() {
    let maestro = shipped("maestro-single-site");
    for member in maestro.members() {
        let (_, node) = maestro.by_id(member.into()).unwrap();
        let roles: Vec<_> = node.ports.iter().map(|port| port.role).collect();
        let expected: Vec<_> = maestro.orchestrators().into_iter().map(PortRole::Downlink).collect();
        assert_eq!(roles, expected);
    }
    let elasticxl = shipped("elasticxl-single-site");
    for member in elasticxl.members() {
        let (_, node) = elasticxl.by_id(member.into()).unwrap();
        let names: Vec<_> = node.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["Mgmt", "Sync", "inside", "outside"]);
    }
}

#[test]
fn a_scenario_changes_the_group_and_nothing_else() {
    let lab = shipped("maestro-single-site");
    assert_eq!(lab.with(&Overrides::default()), lab);
    let overrides = Overrides { hide_nat: Some(false), l4: Some(true), ..Overrides::default() };
    let changed = lab.with(&overrides);
    assert!(changed.group.nat.is_empty() && changed.group.l4);
    assert_eq!(Lab { group: lab.group.clone(), ..changed }, lab);
}

#[test]
fn a_lab_with_one_orchestrator_has_no_pair_cable() {
    let text = catalogue::lab_text("maestro-single-site").unwrap().replace("orchestrators: 2", "orchestrators: 1");
    let lab = load_lab("one.yaml", &text).unwrap();
    assert_eq!(lab.orchestrators().len(), 1);
    assert!(lab.nodes.iter().flat_map(|node| &node.ports).all(|port| port.role != PortRole::Pair));
}

#[test]
fn every_shipped_scenario_loads_and_is_named_as_its_file() {
    for name in catalogue::scenario_names() {
        let (lab, scenario) = catalogue::scenario(name).unwrap().unwrap_or_else(|error| panic!("{error}"));
        let folder = if lab.architecture == Architecture::Maestro { "maestro" } else { "elasticxl" };
        assert_eq!(format!("{folder}/{}", scenario.name), name);
        let last = scenario.events.last().map_or(scenario.baseline_ms, |event| event.at_ms);
        assert!(last + scenario.settle_ms <= 16_000, "{name} takes too long");
        // Probes start with the schedule, a second before the phase clock: older than the sync delay + 1 s.
        let first = scenario.events.first().map_or(u64::MAX, |event| event.at_ms);
        assert!(first >= u64::from(lab.group.sync_delay_ms) + 2_000, "{name} breaks something too early");
    }
}

#[test]
fn the_sets_name_shipped_scenarios_of_their_own_lab() {
    for architecture in [Architecture::Maestro, Architecture::ElasticXl] {
        for set in [catalogue::demo(architecture), catalogue::compare(architecture)] {
            for name in set {
                let (lab, _) = catalogue::scenario(name).unwrap().unwrap();
                assert_eq!(lab.architecture, architecture);
            }
        }
        assert!(catalogue::demo(architecture).iter().all(|name| catalogue::compare(architecture).contains(name)));
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_make_no_difference() {
    for name in catalogue::lab_names() {
        let text = catalogue::lab_text(name).unwrap();
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(load_lab("lab.yaml", &windows).unwrap(), shipped(name));
    }
}
