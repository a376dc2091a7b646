//! Address translation as the outside sees it. It is of IPv4 alone: what IPv6 sends arrives as it was sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use scalebed_frame::Flow;
use scalebed_record::{FlowKind, Verdict};
use scalebed_topologies::lab::{HideNat, Network, NetworkRole, Prefix};

use super::{SHOWN, Said};
use crate::Checker;
use crate::evidence::Evidence;

/// No inside address leaks, bindings are stable, unique (S10) and reversed exactly.
pub struct Nat;

impl Checker for Nat {
    fn name(&self) -> &'static str {
        "nat"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let mut verdicts = Leak.check(evidence);
        verdicts.extend(bindings(evidence, nat(evidence)));
        verdicts
    }
}

/// No inside address leaks, whatever happens.
pub struct Leak;

impl Checker for Leak {
    fn name(&self) -> &'static str {
        "nat-leak"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        nat(evidence).map(|nat| leak(evidence, nat)).into_iter().collect()
    }
}

/// S10 alone: no two live flows under one tuple.
pub(crate) fn unique(evidence: &Evidence<'_>) -> Verdict {
    let nat = nat(evidence);
    let mut all: Vec<Binding> =
        evidence.flows().flat_map(|(flow, _)| of_flow(evidence, flow, nat, &mut Vec::new())).collect();
    if nat.is_some() {
        // A port of the pool is one connection's, whatever it talks to.
        for binding in all.iter_mut().filter(|binding| binding.tuple.is_ipv4()) {
            let Flow { protocol, src, src_port, .. } = binding.tuple;
            binding.tuple = Flow { protocol, src, src_port, dst: src, dst_port: 0 };
        }
    }
    let mut wrong = Vec::new();
    collide(all, &mut wrong);
    Said::of("s10-nat-unique", "no two live connections behind one port").fail_if(wrong).done()
}

fn nat<'a>(evidence: &Evidence<'a>) -> Option<&'a HideNat> {
    let lab = evidence.lab();
    let outside = lab.role(NetworkRole::Outside)?.id;
    lab.group.nat.iter().find(|nat| nat.to == outside)
}

fn leak(evidence: &Evidence<'_>, nat: &HideNat) -> Verdict {
    let lab = evidence.lab();
    let inside: Vec<Prefix> = lab.network(nat.from).into_iter().flat_map(Network::prefixes).collect();
    let hidden = |address: IpAddr| inside.iter().any(|prefix| prefix.contains(address));
    let (mut packets, mut leaks) = (0u64, Vec::new());
    let outside = evidence.observations().iter().filter(|seen| evidence.places.at(seen.tap).network == Some(nat.to));
    for seen in outside {
        let Some(flow) = seen.flow.filter(|flow| flow.is_ipv4() && !super::is_control(seen)) else { continue };
        packets += 1;
        if (hidden(flow.src) || hidden(flow.dst)) && leaks.len() <= SHOWN {
            leaks.push(format!("{flow} on the outside at {:.1} ms", evidence.ms(seen.at)));
        }
    }
    let vacuous = (packets == 0).then(|| "no IPv4 packet was seen outside".to_owned());
    let value = format!("{packets} IPv4 packets on outside cables");
    Said::of("nat-leak", "no inside address outside").value(value).fail_if(leaks).invalid_if(vacuous).done()
}

/// The tuple of a flow at the servers, and the span in which it was seen.
struct Binding {
    flow: usize,
    tuple: Flow,
    from: u64,
    to: u64,
}

/// What must hold whatever happens, and that a flow keeps its tuple, which a takeover that nobody predicted may change.
fn bindings(evidence: &Evidence<'_>, nat: Option<&HideNat>) -> [Verdict; 2] {
    let (mut wrong, mut unstable) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    let mut moved = 0u32;
    for (flow, spec) in evidence.flows() {
        let bindings = of_flow(evidence, flow, nat, &mut wrong);
        // A UDP client whose state died with its owner opens again, under another port; a TCP connection never does.
        let reopened = spec.kind == FlowKind::Udp && evidence.happenings.iter().any(|h| h.predictions[flow].hurt);
        if bindings.len() > 1 {
            moved += 1;
            if !reopened {
                let tuples: Vec<String> = bindings.iter().map(|binding| binding.tuple.to_string()).collect();
                unstable.push(format!("flow {flow} changed its tuple: {}", tuples.join(", then ")));
            }
        }
        all.extend(bindings);
    }
    let count = all.len();
    collide(all, &mut wrong);
    let flows = evidence.schedule.flows.len();
    let vacuous = || (count == 0).then(|| "no packet reached a server".to_owned());
    let said =
        |check, limit, value, wrong| Said::of(check, limit).value(value).fail_if(wrong).invalid_if(vacuous()).done();
    let right = "from the pool, unique among live flows, reversed exactly";
    [
        said("nat-bindings", right, format!("{count} bindings of {flows} flows"), wrong),
        said("nat-stable", "one a flow, but of UDP that lost its state", format!("{moved} opened again"), unstable),
    ]
}

fn of_flow(evidence: &Evidence<'_>, flow: usize, nat: Option<&HideNat>, wrong: &mut Vec<String>) -> Vec<Binding> {
    let forward = evidence.schedule.flows[flow].forward;
    let nat = nat.filter(|_| forward.is_ipv4());
    let mut bindings: Vec<Binding> = Vec::new();
    for journey in evidence.journeys(flow, 0).iter().filter(|journey| journey.delivered != 0) {
        let Some(tuple) = evidence.observations()[journey.arrival as usize].flow else { continue };
        if let Some(binding) = bindings.iter_mut().find(|binding| binding.tuple == tuple) {
            binding.to = binding.to.max(journey.delivered);
            continue;
        }
        let right = match nat {
            None => tuple == forward,
            Some(nat) => {
                let pool = (nat.ports.0..=nat.ports.1).contains(&tuple.src_port);
                let same = (tuple.protocol, tuple.dst, tuple.dst_port);
                let meant = (forward.protocol, forward.dst, forward.dst_port);
                pool && tuple.src == IpAddr::V4(nat.address) && same == meant
            }
        };
        if !right {
            wrong.push(format!("flow {flow}: {forward} arrived as {tuple}"));
        }
        bindings.push(Binding { flow, tuple, from: journey.delivered, to: journey.delivered });
    }
    for journey in evidence.journeys(flow, 1).iter().filter(|journey| journey.delivered != 0) {
        let tuple = evidence.observations()[journey.arrival as usize].flow;
        if tuple != Some(forward.reversed()) {
            let tuple = tuple.map_or_else(String::new, |tuple| tuple.to_string());
            wrong.push(format!("flow {flow}: the answer to {forward} arrived as {tuple}"));
            break;
        }
    }
    bindings
}

/// Two live flows under one tuple.
fn collide(mut all: Vec<Binding>, wrong: &mut Vec<String>) {
    all.sort_by_key(|binding| (binding.tuple, binding.from));
    let mut latest: BTreeMap<Flow, (usize, u64)> = BTreeMap::new();
    for binding in &all {
        if let Some((flow, to)) = latest.get(&binding.tuple)
            && *to >= binding.from
            && *flow != binding.flow
        {
            wrong.push(format!("flows {flow} and {} share {}", binding.flow, binding.tuple));
        }
        let entry = latest.entry(binding.tuple).or_insert((binding.flow, binding.to));
        *entry = (binding.flow, binding.to.max(entry.1));
    }
}

/// Public addresses that IPv4 clients were seen under at the servers.
pub(crate) fn public_addresses(evidence: &Evidence<'_>) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    for (flow, _) in evidence.flows().filter(|(_, spec)| spec.forward.is_ipv4()) {
        for journey in evidence.journeys(flow, 0).iter().filter(|journey| journey.delivered != 0) {
            seen.extend(evidence.observations()[journey.arrival as usize].flow.map(|tuple| tuple.src));
        }
    }
    seen.len()
}
