//! Whoever takes the SMO (pivot) role over announces the cluster's addresses, of both families, on every network: seen on
//! hosts' cables, not told by nodes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use scalebed_frame::view::Network as Layer3;
use scalebed_frame::{Frame, Mac, Ndp, View};
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_topologies::fault::{Fault, Kind};
use scalebed_topologies::lab::{End, NodeKind};
use scalebed_topologies::scenario::Traffic;

/// Little traffic: what is looked for is announcements.
const TRAFFIC: Traffic = Traffic { probes: 16, probe_rate: 10, population: 0, denied: 0, ..Traffic::SMALL };
/// The announcements of the boot are over (the last comes 10 s after the first).
const KILL_MS: u64 = 12_000;
/// Time and address of an announcement, and the MAC that it says.
type Told = (u64, IpAddr, Mac);

/// What a frame announces without being asked.
fn announced(frame: &Frame) -> Option<(IpAddr, Mac)> {
    let view = View::parse(frame.bytes())?;
    match view.network {
        Layer3::Arp(arp) => (arp.sender_ip == arp.target_ip).then(|| (arp.sender_ip.into(), arp.sender_mac)),
        _ => match Ndp::read(frame.bytes(), &view)? {
            Ndp::Advertisement { target, link, solicited: false } => Some((target.into(), link)),
            Ndp::Advertisement { .. } | Ndp::Solicitation { .. } => None,
        },
    }
}

fn announces(scenario: &str, smo: &str) {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let lab = loaded.lab.clone();
    let scenario = scalebed_topologies::Scenario {
        traffic: TRAFFIC,
        baseline_ms: KILL_MS,
        settle_ms: 12_000,
        ..loaded.scenario.clone()
    };
    let faults = [Fault { at_ms: KILL_MS, for_ms: 20_000, kind: Kind::Kill, target: smo.to_owned() }];
    let heard = Rc::new(RefCell::new(BTreeMap::<String, Vec<Told>>::new()));
    let sink = Rc::clone(&heard);
    // By cable: the host at its end.
    let host = |end: End| -> Option<String> {
        let node = &lab.nodes[usize::from(end.node)];
        matches!(node.kind, NodeKind::Host(_)).then(|| node.name.clone())
    };
    let ends: Vec<[Option<String>; 2]> = lab.cables.iter().map(|cable| [host(cable.a), host(cable.b)]).collect();
    let mut world = Sim::new(&lab, 1);
    world.fabric().on_deliver(Box::new(move |at, cable, at_b, frame| {
        let host = ends[cable.0][usize::from(at_b)].clone();
        if let (Some(host), Some((address, mac))) = (host, announced(frame)) {
            sink.borrow_mut().entry(host).or_default().push((at.0, address, mac));
        }
    }));
    let ran = driver::drive_with(&mut world, &lab, &scenario, &faults, Settings::default(), &mut |_| {});
    let history = ran.expect("a run").evidence.history;
    let killed = history.entries.iter().find_map(|entry| match &entry.fact {
        scalebed_record::Fact::Operation { after, text, .. } if text.contains("kill") => Some(*after),
        _ => None,
    });
    let killed = killed.expect("the kill");
    drop(world);
    let heard = heard.borrow();
    for network in &lab.networks {
        for cluster in network.cluster_ips() {
            let host = format!("{}-1", network.name);
            let told: Vec<&Told> = heard[&host].iter().filter(|(_, address, _)| *address == cluster).collect();
            assert!(told.iter().all(|(.., mac)| *mac == network.cluster_mac), "{cluster}: {told:?}");
            let after: Vec<u64> =
                told.iter().filter(|(at, ..)| *at > killed).map(|(at, ..)| (at - killed) / 1_000_000).collect();
            // Quiet before it, then in one bar of convergence, and 1, 2, 5 and 10 s later.
            let quiet = told.iter().filter(|(at, ..)| (killed - 1_500_000_000..=killed).contains(at)).count();
            assert_eq!((quiet, after.len()), (0, 5), "{cluster} on {host}: {after:?}");
            assert!(after[0] <= 450, "{cluster} on {host}: first after {} ms", after[0]);
            let steps: Vec<u64> = after.iter().map(|at| (at - after[0] + 5) / 1_000).collect();
            assert_eq!(steps, [0, 1, 2, 5, 10], "{cluster} on {host}: {after:?}");
        }
    }
}

#[test]
fn fabric_a_new_smo_announces_both_families_on_every_network() {
    announces("maestro/steady", "sgm-1-01");
}

#[test]
fn fabric_a_new_pivot_announces_both_families_on_every_network() {
    announces("elasticxl/steady", "member-1-01");
}
