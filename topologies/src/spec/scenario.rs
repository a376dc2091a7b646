//! Scenario files: reading, and what they must fit together with on their lab.

use std::net::IpAddr;

use scalebed_frame::{Flow, MemberId, MhoId, Protocol};

use crate::error::{Problems, quoted, suggestion};
use crate::lab::{self, Architecture, GeneratorSide, Lab, NetworkRole, NodeKind};
use crate::reader::{self, At, Shape, fields};
use crate::scenario::{Event, Expect, HostTask, Overrides, Scenario, Share, Traffic};
use crate::spec::{self, DISTRIBUTIONS};
use crate::yaml::Node;

pub(crate) mod cables;
mod events;

/// Longest schedule, ms.
const LONGEST: u32 = 600_000;

const SCENARIO: Shape = Shape {
    what: "a scenario",
    keys: &[
        "name",
        "about",
        "lab",
        "traffic",
        "group",
        "absent",
        "baseline",
        "settle",
        "events",
        "expect",
        "kernel_transfers",
        "hosts",
    ],
    later: &["requires", "seed", "cloning"],
};
const TRAFFIC: Shape = Shape {
    what: "`traffic`",
    keys: &[
        "probes",
        "probe_rate",
        "population",
        "population_rate",
        "young_percent",
        "states_percent",
        "denied",
        "ipv6_percent",
    ],
    later: &["mix", "sizes", "fragments", "icmp", "ramp", "elephants", "syn_flood"],
};
const GROUP: Shape = Shape {
    what: "the changes to the group",
    keys: &["distribution", "l4", "hide_nat", "unit", "sync_delay"],
    later: &["redeal", "sticky", "pivot_forward", "weights", "rules", "buckets"],
};
const EXPECT: Shape = Shape {
    what: "`expect`",
    keys: &["corrected_return_share", "corrected_return_share6", "moved_share", "convergence"],
    later: &["sync_bytes"],
};

/// The lab that a scenario's tree names.
pub(crate) fn lab_name(root: &Node, problems: &mut Problems<'_>) -> Option<String> {
    let map = fields(root, &SCENARIO, &mut Problems::of(""))?;
    let at = map.require("lab", problems).and_then(|node| reader::scalar(node, "lab", problems))?;
    reader::name(at.value, at.place, problems).map(|at| at.value)
}

/// Reads a scenario's tree and holds it against its lab.
pub(crate) fn scenario(root: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Scenario> {
    let map = fields(root, &SCENARIO, problems)?;
    let name = map.require("name", problems).and_then(|node| spec::name(node, problems));
    let about = map.require("about", problems).and_then(|node| reader::sentence(node, "about", problems));
    let for_lab = map.require("lab", problems).and_then(|node| reader::scalar(node, "lab", problems));
    if let Some(at) = for_lab.filter(|at| at.value != lab.name) {
        let what = format!("the scenario is for {}, not for `{}`", quoted(at.value), lab.name);
        problems.add(at.place, what, suggestion("value", at.value, &[&lab.name]));
    }
    let traffic = map.get("traffic").map_or(Some(Traffic::small(lab)), |node| traffic(node, lab, problems));
    let overrides = map.get("group").map_or_else(Overrides::default, |node| overrides(node, lab, problems));
    let absent = map.get("absent").map_or_else(|| lab.absent.clone(), |node| absent(node, lab, problems));
    let mut time = |key, range| {
        let node = map.require(key, problems)?;
        reader::millis(node, key, range, problems)
    };
    let baseline = time("baseline", 500..=LONGEST);
    let settle = time("settle", 1_000..=LONGEST);
    let events = map.get("events").map_or_else(Vec::new, |node| events::read(node, lab, &absent, baseline, problems));
    let expect = map.get("expect").map_or_else(Expect::default, |node| expect(node, problems));
    if expect.corrected_return_share6.is_some() && traffic.is_some_and(|traffic| traffic.ipv6_percent == 0) {
        let what = "`corrected_return_share6` is of IPv6 flows, and there are none";
        problems.add(
            map.place("expect"),
            what,
            "remove `corrected_return_share6`, or let `traffic` have `ipv6_percent`",
        );
    }
    if events.is_empty() && (expect.convergence_ms.is_some() || expect.convergence_units.is_some()) {
        problems.add(map.place("expect"), "convergence without an event", "remove `convergence`, or add an event");
    }
    let transfers = map.get("kernel_transfers");
    let kernel_transfers = transfers.map_or(Some(false), |node| reader::switch(node, "kernel_transfers", problems));
    let hosts = map.get("hosts").map_or_else(Vec::new, |node| hosts(node, lab, problems));
    if hosts.iter().all(|task| *task == HostTask::Requests) && events.iter().any(Event::is_at_hosts_owner) {
        let what = "`hosts-owner` is who carries a long connection of hosts, and there is none";
        problems.add(map.place("events"), what, "add `hosts: [download]`");
    }
    Some(Scenario {
        name: name?,
        about: about?,
        lab: lab.name.clone(),
        overrides,
        absent,
        traffic: traffic?,
        baseline_ms: u64::from(baseline?.value),
        settle_ms: u64::from(settle?.value),
        events,
        expect,
        kernel_transfers: kernel_transfers?,
        hosts,
    })
}

fn traffic(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Traffic> {
    if !matches!(node.value, crate::yaml::Value::Map(_)) {
        return reader::choice(node, "traffic", &[("small", Traffic::small(lab))], &["default", "imix"], problems)
            .map(|at| at.value);
    }
    let map = fields(node, &TRAFFIC, problems)?;
    let mut number = |key, least, most| {
        let node = map.require(key, problems)?;
        reader::number(node, key, least..=most, problems).map(|at| at.value)
    };
    let probes = number("probes", 16, 10_000);
    let probe_rate = number("probe_rate", 1, 10_000);
    let population = number("population", 0, 100_000);
    let population_rate = number("population_rate", 1, 1_000);
    let young_percent = number("young_percent", 0, 100);
    let states = map.get("states_percent");
    let states_percent =
        states.map_or(Some(0), |node| reader::number(node, "states_percent", 0..=100, problems).map(|at| at.value));
    let denied = map.get("denied").map_or(Some(0), |node| denied(node, lab, problems));
    let share = map.get("ipv6_percent");
    let ipv6_percent =
        share.map_or_else(|| Some(Traffic::usual_ipv6_percent(lab)), |node| ipv6_percent(node, lab, problems));
    Some(Traffic {
        probes: probes?,
        probe_rate: probe_rate?,
        population: population?,
        population_rate: population_rate?,
        young_percent: young_percent?,
        states_percent: states_percent?,
        denied: denied?,
        ipv6_percent: ipv6_percent?,
    })
}

/// Flows of IPv6 need stations and next hops of IPv6.
fn ipv6_percent(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<u32> {
    let at = reader::number(node, "ipv6_percent", 0..=100, problems)?;
    if at.value > 0 && !lab.has_ipv6() {
        let what = format!("the generator of `{}` has no IPv6 on both of its sides", lab.name);
        problems.add(at.place, what, "write `ipv6_percent: 0`, or remove `ipv6_percent`");
        return None;
    }
    Some(at.value)
}

fn hosts(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Vec<HostTask> {
    let mut tasks = Vec::new();
    for item in reader::list(node, "hosts", problems) {
        let Some(at) = reader::choice(item, "hosts", &HostTask::ALL, &[], problems) else { continue };
        if tasks.contains(&at.value) {
            problems.add(at.place, format!("`{}` is named twice", at.value.word()), "name it once");
        } else {
            tasks.push(at.value);
        }
    }
    let is_on = |node: &lab::Node, id| matches!(&node.kind, NodeKind::Host(host) if host.network == id);
    let on = |role| lab.role(role).is_some_and(|network| lab.nodes.iter().any(|node| is_on(node, network.id)));
    for (role, word) in [(NetworkRole::Inside, "inside"), (NetworkRole::Outside, "outside")] {
        if !on(role) {
            problems.add(node.place, format!("`{}` has no host {word}", lab.name), format!("add a host to `{word}`"));
        }
    }
    tasks
}

/// Flows that the lab's policy must drop, wherever they come from and go to.
fn denied(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<u32> {
    let at = reader::number(node, "denied", 0..=1_000, problems)?;
    if at.value > 0 && denied_flows(lab).any(|flow| lab.group.accepts(&flow)) {
        let what = format!("the policy of `{}` does not drop UDP to port {}", lab.name, Traffic::DENIED_PORT);
        let instead = format!(
            "add `{{from: inside, to: any, protocol: udp, ports: {}, action: drop}}` before the lab's other rules, or \
             remove `denied`",
            Traffic::DENIED_PORT
        );
        problems.add(at.place, what, instead);
        return None;
    }
    Some(at.value)
}

/// Flows between corners of what the generator plays.
fn denied_flows(lab: &Lab) -> impl Iterator<Item = Flow> + '_ {
    let corners = |side: Option<&GeneratorSide>| -> Vec<IpAddr> {
        let behind = side.into_iter().flat_map(|side| &side.behind);
        let on_link = side.into_iter().flat_map(|side| side.on_link.iter().copied());
        behind.flat_map(|prefix| [prefix.network(), prefix.last()]).chain(on_link).collect()
    };
    let servers = corners(lab.generator.get(1));
    let between = |src: IpAddr, dst: IpAddr| {
        let (protocol, src_port, dst_port) = (Protocol::UDP, 50_000, Traffic::DENIED_PORT);
        (src.is_ipv4() == dst.is_ipv4()).then_some(Flow { protocol, src, dst, src_port, dst_port })
    };
    let clients = corners(lab.generator.first()).into_iter();
    clients.flat_map(move |client| servers.clone().into_iter().filter_map(move |server| between(client, server)))
}

fn overrides(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Overrides {
    let Some(map) = fields(node, &GROUP, problems) else { return Overrides::default() };
    let distribution = map.get("distribution");
    let distribution =
        distribution.and_then(|node| reader::choice(node, "distribution", &DISTRIBUTIONS, &[], problems));
    let l4 = map.get("l4").and_then(|node| reader::switch(node, "l4", problems));
    let hide_nat = map.get("hide_nat").and_then(|node| reader::switch(node, "hide_nat", problems));
    if hide_nat == Some(true) && lab.group.nat.is_empty() {
        let what = format!("lab `{}` describes no hide NAT to switch on", lab.name);
        problems.add(map.place("hide_nat"), what, "add `hide_nat` to the lab's group");
    }
    let unit = map.get("unit").and_then(|node| reader::millis(node, "unit", 10..=1_000, problems));
    let delay = map.get("sync_delay").and_then(|node| reader::millis(node, "sync_delay", 0..=60_000, problems));
    Overrides {
        distribution: distribution.map(|at| at.value),
        l4,
        hide_nat,
        unit_ms: unit.map(|at| at.value),
        sync_delay_ms: delay.map(|at| at.value),
    }
}

/// Members that do not run from the start, those of the lab among them.
pub(crate) fn absent(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Vec<MemberId> {
    let mut found: Vec<MemberId> = Vec::new();
    for item in reader::list(node, "absent", problems) {
        let Some(at) = member(item, lab, problems) else { continue };
        if found.contains(&at.value) {
            problems.add(at.place, format!("{} is named twice", at.value), "remove one");
        } else {
            found.push(at.value);
        }
    }
    found.extend(&lab.absent);
    found.sort();
    found.dedup();
    if found.len() == lab.members().len() {
        problems.add(node.place, "every member is absent", "leave at least one to start with");
    }
    found
}

/// A member of the lab.
fn member(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<At<MemberId>> {
    let At { value: text, place } = reader::scalar(node, "member", problems)?;
    let members = lab.members();
    if let Some(id) = text.parse().ok().filter(|id| members.contains(id)) {
        return Some(At { value: id, place });
    }
    let names: Vec<String> = members.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let what = format!("no member of `{}` is {}", lab.name, quoted(text));
    problems.add(place, what, suggestion("value", text, &names));
    None
}

/// An orchestrator of the lab.
fn orchestrator(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<At<MhoId>> {
    if lab.architecture == Architecture::ElasticXl {
        problems.add(node.place, "ElasticXL has no orchestrators", "name a member, as in `member: 1_02`");
        return None;
    }
    let most = u8::try_from(lab.orchestrators().len()).unwrap_or(u8::MAX);
    let at = reader::number(node, "mho", 1..=most, problems)?;
    Some(At { value: MhoId(at.value), place: at.place })
}

fn expect(node: &Node, problems: &mut Problems<'_>) -> Expect {
    let Some(map) = fields(node, &EXPECT, problems) else { return Expect::default() };
    let mut share = |key| map.get(key).and_then(|node| share(node, key, problems));
    let corrected_return_share = share("corrected_return_share");
    let corrected_return_share6 = share("corrected_return_share6");
    let moved_share = share("moved_share");
    let (units, ms) = map.get("convergence").map_or((None, None), |node| convergence(node, problems));
    Expect {
        corrected_return_share,
        corrected_return_share6,
        moved_share,
        convergence_units: units,
        convergence_ms: ms,
    }
}

/// `3/4`.
fn share(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Share> {
    let At { value: text, place } = reader::scalar(node, key, problems)?;
    let parsed = text.split_once('/').and_then(|(of, total)| Some((of.parse().ok()?, total.parse().ok()?)));
    match parsed {
        Some((of, total)) if of <= total && (1..=127).contains(&total) => Some(Share { of, total }),
        _ => {
            problems.add(place, format!("{} is not a share", quoted(text)), "write a fraction, as in `3/4` or `0/1`");
            None
        }
    }
}

/// `4.5 units` or `40ms`.
fn convergence(node: &Node, problems: &mut Problems<'_>) -> (Option<f64>, Option<f64>) {
    let Some(At { value: text, place }) = reader::scalar(node, "convergence", problems) else { return (None, None) };
    let Some(units) = text.strip_suffix("units") else {
        let ms = reader::millis(node, "convergence", 1..=LONGEST, problems);
        return (None, ms.map(|at| f64::from(at.value)));
    };
    let parsed = units.trim().parse::<f64>().ok().filter(|units| (0.5..=1_000.0).contains(units));
    if parsed.is_none() {
        problems.add(place, format!("{} is not a bar", quoted(text)), "write `4.5 units` or `40ms`");
    }
    (parsed, None)
}
