//! Records as a run makes them, for tests and for looking at the pages: plausible numbers, the same every time.

use std::collections::BTreeMap;

use scalebed_record::comparison::{Cell, Comparison, Row};
use scalebed_record::record::{
    FaultRow, LedgerRow, MemberRow, Outage, Record, SCHEMA, Shares, SurvivalRow, SymmetryRow, Throughput,
    TimelineEvent, Topology, TopologyNode,
};
use scalebed_record::verdict::{Outcome, Verdict};

/// A number that looks random: the same for the same input.
fn noise(seed: u32, most: u32) -> u32 {
    let mixed = seed.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    (mixed >> 8) % most.max(1)
}

fn verdict(check: &str, value: &str, accuracy: &str, limit: &str) -> Verdict {
    Verdict {
        check: check.to_owned(),
        outcome: Outcome::Pass,
        value: value.to_owned(),
        accuracy: accuracy.to_owned(),
        limit: limit.to_owned(),
    }
}

fn node(name: &str, kind: &str, detail: &str) -> TopologyNode {
    TopologyNode { name: name.to_owned(), kind: kind.to_owned(), detail: detail.to_owned() }
}

/// Names of the members of an architecture.
pub fn members(architecture: &str) -> Vec<String> {
    match architecture {
        "maestro" => (1..=4).map(|n| format!("sgm-1-0{n}")).collect(),
        _ => (1..=3).map(|n| format!("member-1-0{n}")).collect(),
    }
}

pub fn topology(architecture: &str) -> Topology {
    let maestro = architecture == "maestro";
    let mut nodes = Vec::new();
    if maestro {
        nodes.extend([node("mho1", "mho", "MHO-140"), node("mho2", "mho", "MHO-140")]);
    }
    for (index, name) in members(architecture).iter().enumerate() {
        let role = match (index, maestro) {
            (0, true) => "SMO, 1_01",
            (0, false) => "pivot, 1_01",
            _ => "",
        };
        nodes.push(node(name, "member", if role.is_empty() { &name[name.len() - 4..] } else { role }));
    }
    nodes.extend([
        node("sw-inside", "switch", "198.18.0.0/24"),
        node("sw-outside", "switch", "198.18.1.0/24"),
        node("sw-mgmt", "switch", "198.18.2.0/24"),
    ]);
    if !maestro {
        nodes.push(node("sw-sync", "switch", "192.0.2.0/24"));
    }
    nodes.extend([
        node("inside-1", "host", "198.18.0.101"),
        node("inside-2", "host", "198.18.0.102"),
        node("outside-1", "host", "198.18.1.101"),
        node("outside-2", "host", "198.18.1.102"),
        node("mgmt-1", "host", "198.18.2.101"),
        node("generator", "generator", "both sides"),
    ]);
    let at = |name: &str| nodes.iter().position(|node| node.name == name).unwrap();
    let networks = ["sw-inside", "sw-outside", "sw-mgmt"];
    let mut cables = Vec::new();
    for member in members(architecture) {
        if maestro {
            cables.extend([(at("mho1"), at(&member)), (at("mho2"), at(&member))]);
        } else {
            cables.extend(networks.iter().chain(&["sw-sync"]).map(|switch| (at(&member), at(switch))));
        }
    }
    if maestro {
        cables.extend(networks.iter().flat_map(|switch| [(at("mho1"), at(switch)), (at("mho2"), at(switch))]));
        cables.push((at("mho1"), at("mho2")));
    }
    for (station, switch) in [
        ("inside-1", "sw-inside"),
        ("inside-2", "sw-inside"),
        ("outside-1", "sw-outside"),
        ("outside-2", "sw-outside"),
        ("mgmt-1", "sw-mgmt"),
        ("generator", "sw-inside"),
        ("generator", "sw-outside"),
    ] {
        cables.push((at(station), at(switch)));
    }
    Topology { nodes, cables }
}

/// 16.5 s in bins of 10 ms; member 3 is gone from 6.5 s, its share lost until 6.83 s, back by a join at 11 s.
fn throughput(architecture: &str, kill: bool) -> Throughput {
    let names = members(architecture);
    let count = u32::try_from(names.len()).unwrap();
    let pivot_dies = architecture != "maestro";
    let mut members: Vec<(String, Vec<u32>)> = names.into_iter().map(|name| (name, Vec::new())).collect();
    let (mut offered, mut lost) = (Vec::new(), Vec::new());
    for bin in 0..1_650_u32 {
        let base = if bin < 60 { 40 + bin * 3 } else { 212 };
        let due = base + noise(bin, 9);
        let gap = kill && (650..683).contains(&bin);
        let gone = kill && (650..1_100).contains(&bin);
        let mut left = due;
        let mut missing = 0;
        for (index, (_, bins)) in members.iter_mut().enumerate() {
            let victim = index == 2;
            let share = due / count + noise(bin * 7 + u32::try_from(index).unwrap(), 7);
            let value = match (gap, gone, victim) {
                (true, _, _) if pivot_dies => 0,
                (true, _, true) | (false, true, true) => 0,
                (false, true, false) => share * count / (count - 1),
                _ => share,
            };
            if gap && (victim || pivot_dies) {
                missing += share;
            }
            bins.push(value.min(left));
            left -= value.min(left);
        }
        if !gap {
            members[0].1[usize::try_from(bin).unwrap()] += left;
        }
        offered.push(due);
        lost.push(if gap { missing.min(due) } else { 0 });
    }
    Throughput { bin_ms: 10.0, start_ms: 0.0, offered, members, lost }
}

fn event(at_ms: f64, lane: &str, kind: &str, text: &str) -> TimelineEvent {
    TimelineEvent { at_ms, lane: lane.to_owned(), kind: kind.to_owned(), text: text.to_owned() }
}

fn timeline(architecture: &str, kill: bool) -> Vec<TimelineEvent> {
    let names = members(architecture);
    let mut events = vec![
        event(-3_200.0, "run", "phase", "boot"),
        event(-1_000.0, "run", "phase", "warm-up"),
        event(1_000.0, "run", "phase", "baseline"),
        event(11_500.0, "run", "phase", "settle"),
        event(16_500.0, "run", "phase", "drain"),
        event(18_500.0, "run", "phase", "end"),
    ];
    for (index, name) in names.iter().enumerate() {
        let late = f64::from(u32::try_from(index).unwrap()) * 37.0;
        events.push(event(-2_900.0 + late, name, "declared", "ready"));
        events.push(event(-2_200.0 + late, name, "declared", "ready -> active: generation 1 is active"));
    }
    if kill {
        let victim = names[2].as_str();
        events.push(event(6_500.0, victim, "fault", &format!("kill {victim}")));
        for (index, name) in names.iter().enumerate().filter(|(index, _)| *index != 2) {
            let late = f64::from(u32::try_from(index).unwrap());
            events.push(event(6_806.0 + late, name, "declared", "declares 1_03 dead: silent on both paths"));
            events.push(event(6_815.0 + late, name, "declared", "accepts generation 2.1_01#256"));
            events.push(event(6_829.0 + late, name, "heard", "generation 2.1_01#256 in a heartbeat"));
        }
        events.push(event(10_500.0, victim, "heal", &format!("start {victim}")));
        events.push(event(10_900.0, victim, "declared", "syncing -> ready: digests are equal"));
        events.push(event(11_000.0, victim, "declared", "ready -> active: generation 3 is active"));
        if architecture == "maestro" {
            events.push(event(6_814.0, "mho1", "declared", "accepts generation 2.1_01#256"));
            events.push(event(6_814.4, "mho2", "declared", "accepts generation 2.1_01#256"));
            events.push(event(10_960.0, "mho1", "declared", "accepts generation 3.1_01#256"));
            events.push(event(10_960.3, "mho2", "declared", "accepts generation 3.1_01#256"));
        }
    }
    events.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    events
}

fn outages(architecture: &str) -> Vec<Outage> {
    let names = members(architecture);
    let all = architecture != "maestro";
    (0..480)
        .map(|flow| {
            let owner = if all { usize::try_from(flow % 3).unwrap() } else { 2 };
            let probe = flow < 9;
            let from = 6_500.0 + f64::from(noise(flow, if probe { 5 } else { 240 }));
            let length = if probe { 318.0 } else { f64::from(noise(flow + 9, 300)).min(6_829.0 - from) };
            Outage {
                flow,
                owner: names[owner].clone(),
                class: if probe { "probe" } else { "population" }.to_owned(),
                from_ms: from,
                to_ms: from + length.max(0.0),
                lost: if probe { 64 } else { 1 },
                predicted: true,
            }
        })
        .collect()
}

fn member_rows(architecture: &str) -> Vec<MemberRow> {
    let names = members(architecture);
    let count = u32::try_from(names.len()).unwrap();
    let expected = 2_032.0 / f64::from(count);
    let row = |(index, name): (usize, &String)| {
        let index = u32::try_from(index).unwrap();
        let wobble = f64::from(noise(index + 3, 40)) / 2_000.0;
        let share = 1.0 / f64::from(count) - 0.01 + wobble;
        MemberRow {
            member: name.clone(),
            ingress_share: if architecture == "maestro" { share } else { f64::from(u32::from(index == 0)) },
            processed_share: share,
            keys: u64::from(2_032 / count - 14 + noise(index + 3, 40)),
            expected_keys: expected,
            tolerance_keys: 0.05 * expected + 3.5 * (expected * (1.0 - 1.0 / f64::from(count))).sqrt(),
            buckets: 512 / count + u32::from(index < 512 % count),
        }
    };
    names.iter().enumerate().map(row).collect()
}

fn symmetry(kill: bool) -> Vec<SymmetryRow> {
    let row = |generation: &str, from_ms, to_ms, eligible| SymmetryRow {
        generation: generation.to_owned(),
        from_ms,
        to_ms,
        eligible,
        flows: 2_032,
        l1: eligible,
        l2: eligible,
        ..SymmetryRow::default()
    };
    if kill {
        vec![
            row("1.1_01#256", 0.0, 6_814.0, 2_032),
            row("2.1_01#256", 6_814.0, 10_960.0, 1_996),
            row("3.1_01#256", 10_960.0, 16_500.0, 2_021),
        ]
    } else {
        vec![row("1.1_01#256", 0.0, 9_000.0, 2_032)]
    }
}

fn faults(architecture: &str) -> Vec<FaultRow> {
    let victim = &members(architecture)[2];
    let maestro = architecture == "maestro";
    let parts = [("detect", 304.0), ("decide", 2.1), ("barrier", 8.4), ("announce", 0.9)];
    let parts_ms: BTreeMap<String, f64> = parts.into_iter().map(|(name, ms)| (name.to_owned(), ms)).collect();
    vec![
        FaultRow {
            text: format!("kill {victim}"),
            at_ms: 6_500.0,
            bracket_ms: 0.3,
            outcome: "young-lost".to_owned(),
            hurt_flows: if maestro { 507 } else { 1_980 },
            flows: 2_032,
            predicted_flows: if maestro { 507 } else { 1_984 },
            first_ms: Some(316.0),
            full_ms: Some(if maestro { 329.4 } else { 412.8 }),
            loss_derived_ms: Some((320.0, 330.0)),
            gap_ms: Some((318.2, 331.0)),
            parts_ms,
            moved_of_need: 128,
            moved_without: 0,
            lost_packets: 1_749,
            ..FaultRow::default()
        },
        FaultRow {
            text: format!("start {victim}"),
            at_ms: 10_500.0,
            bracket_ms: 1.2,
            outcome: "no-loss".to_owned(),
            flows: 2_032,
            moved_of_need: 128,
            join_ms: Some(500.0),
            ..FaultRow::default()
        },
    ]
}

fn survival(architecture: &str) -> Vec<SurvivalRow> {
    let row = |owner: &str,
               age: &str,
               state: &str,
               [connections, survived, predicted, either]: [u32; 4],
               interval_percent| {
        SurvivalRow {
            event: format!("kill {}", members(architecture)[2]),
            owner: owner.to_owned(),
            age: age.to_owned(),
            state: state.to_owned(),
            connections,
            survived,
            predicted,
            either,
            interval_percent,
        }
    };
    vec![
        row("owner failed", "older", "active", [212, 212, 212, 0], (98.2, 100.0)),
        row("owner failed", "older", "half-closed", [0, 0, 0, 0], (0.0, 100.0)),
        row("owner failed", "younger", "active", [31, 9, 0, 12], (16.1, 46.6)),
        row("owner failed", "younger", "handshaking", [24, 24, 24, 0], (86.2, 100.0)),
        row("other", "older", "active", [630, 630, 630, 0], (99.4, 100.0)),
        row("other", "younger", "idle", [96, 96, 96, 0], (96.2, 100.0)),
    ]
}

fn ledger(architecture: &str) -> Vec<LedgerRow> {
    let lab = topology(architecture);
    let row = |(index, (a, b)): (usize, &(usize, usize))| {
        let count = |salt: u32| u64::from(20_000 + noise(u32::try_from(index).unwrap() * 3 + salt, 90_000));
        LedgerRow {
            cable: format!("{}--{}", lab.nodes[*a].name, lab.nodes[*b].name),
            a_to_b: (count(0), count(0)),
            b_to_a: (count(1), count(1)),
        }
    };
    lab.cables.iter().enumerate().map(row).collect()
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What the head of a page says.
fn header(architecture: &str, kill: bool) -> Record {
    let scenario = if kill { "member-kill" } else { "steady" };
    let about = match kill {
        true => "A member that owns flows dies, and comes back by join.",
        false => "Nothing happens. Every packet arrives, and every number of the tester itself is checked.",
    };
    Record {
        schema: SCHEMA,
        scenario: scenario.to_owned(),
        about: about.to_owned(),
        lab: format!("{architecture}-single-site"),
        architecture: architecture.to_owned(),
        world: "netns".to_owned(),
        seed: 7,
        started: "2026-11-25T03:00:00Z".to_owned(),
        command: format!("scalebed run {architecture}/{scenario} --seed 7"),
        ..Record::default()
    }
}

/// A run of an architecture: steady, or with a member killed and started again.
pub fn record(architecture: &str, kill: bool) -> Record {
    Record {
        verdicts: vec![
            verdict("symmetry-l2", "100 % of 6,049 flows in 3 epochs", "", "100 %"),
            verdict("convergence", "329 ms full, 316 ms first", "± 5 ms", "450 ms"),
            verdict("evenness", "CV 2.1 % (ideal 3.8 %), Jain 0.9996", "", "5 % + 3.5 sigma"),
            verdict("hurt-flows", "507 of 507 predicted", "± 20 ms at the edges", "flow by flow"),
            verdict("survival", "212 of 212 older than the delay", "Wilson 98.2 to 100 %", "100 %"),
            verdict("nat", "1,003 mappings, all unique and stable", "", "no inside address outside"),
            verdict("corrections", "0.0 % of return packets", "± 0.1 %", "0 of 1"),
            verdict("tester-lateness", "p99 0.31 ms, worst 4.2 ms, 0 skipped", "", "25 ms"),
            verdict("ledger", "22 cables closed to the last frame", "exact", "0 missing"),
            verdict("tap-drops", "0 of 1,412,033 frames", "exact", "0"),
        ],
        environment: strings(&[
            ("kernel", "6.12.0"),
            ("cpus", "2"),
            ("scheduling", "SCHED_FIFO permitted"),
            ("scalebed", "0.1.0"),
            ("lab hash", "4f9e1c2a77b0d3e1"),
            ("scenario hash", "91c03ab2f6d4e850"),
        ]),
        topology: topology(architecture),
        timeline: timeline(architecture, kill),
        throughput: throughput(architecture, kill),
        outages: if kill { outages(architecture) } else { Vec::new() },
        members: member_rows(architecture),
        faults: if kill { faults(architecture) } else { Vec::new() },
        symmetry: symmetry(kill),
        survival: if kill { survival(architecture) } else { Vec::new() },
        shares: Shares {
            corrections_by_cause: if kill { [("planned-move".to_owned(), 412)].into() } else { BTreeMap::new() },
            handover: if architecture == "maestro" { 0.0 } else { 0.664 },
            sync_bytes: 1_203_441,
            connections: 2_032,
            public_ips: 1,
            ..Shares::default()
        },
        ledger: ledger(architecture),
        latency_us: [("forward p50", 212.0), ("forward p99", 740.0), ("reverse p50", 218.0), ("reverse p99", 1_310.0)]
            .into_iter()
            .map(|(name, us)| (name.to_owned(), us))
            .collect(),
        notes: vec![
            "emulated: re-deal on a change: minimal-move".to_owned(),
            "emulated: hide NAT gives each cabled member its own range of ports".to_owned(),
        ],
        ..header(architecture, kill)
    }
}

/// Both architectures side by side.
pub fn comparison() -> Comparison {
    let records =
        vec![record("elasticxl", false), record("elasticxl", true), record("maestro", false), record("maestro", true)];
    let row = |aspect: &str, elasticxl: (&str, &str), maestro: (&str, &str)| Row {
        aspect: aspect.to_owned(),
        elasticxl: Cell { value: elasticxl.0.to_owned(), evidence: elasticxl.1.to_owned() },
        maestro: Cell { value: maestro.0.to_owned(), evidence: maestro.1.to_owned() },
    };
    let (es, ms) = ("elasticxl-steady/report.html", "maestro-steady/report.html");
    let (ek, mk) = ("elasticxl-member-kill/report.html", "maestro-member-kill/report.html");
    Comparison {
        seed: 7,
        command: "scalebed compare --seed 7".to_owned(),
        rows: vec![
            row("members", ("3", es), ("4", ms)),
            row("load-balancing layer", ("none: the pivot", es), ("2 MHOs, active/active", ms)),
            row("share of ingress packets a member", ("100 % / 0 % / 0 %", es), ("25 % / 25 % / 25 % / 25 %", ms)),
            row("handover share (pivot to member)", ("66.4 %", es), ("0.0 %", ms)),
            row(
                "loss of a plain member: affected flows, gap",
                ("33.1 % of flows, 413 ms", ek),
                ("25.0 % of flows, 329 ms", mk),
            ),
            row(
                "loss of an orchestrator: affected flows, gap",
                ("no orchestrators", ""),
                ("47.9 % of flows, 12 ms", mk),
            ),
            row("join time (process start to Active)", ("520 ms", ek), ("500 ms", mk)),
            row("public addresses used", ("1", es), ("1", ms)),
            row("dual site", ("not built yet", ""), ("not built yet", "")),
        ],
        reports: [es, ek, ms, mk].map(str::to_owned).to_vec(),
        records,
    }
}

/// What would run, load or break out if it were not escaped.
pub const HOSTILE: &str = "\"'><script>document.title='owned'</script><img src=http://203.0.113.9/x onerror=alert(1)>\
                           </title></style></svg>{{ 7 * 7 }}|`[a](javascript:alert(2))";

/// The record with every text replaced or prefixed by a hostile one; kinds and outcomes stay what they are.
pub fn hostile(record: &Record) -> Record {
    let mut value = serde_json::to_value(record).unwrap();
    poison(&mut value, "");
    serde_json::from_value(value).unwrap()
}

fn poison(value: &mut serde_json::Value, key: &str) {
    match value {
        serde_json::Value::String(text) if !["kind", "outcome"].contains(&key) => *text = format!("{HOSTILE}{text}"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| poison(item, key)),
        serde_json::Value::Object(map) => {
            let names = ["environment", "latency_us", "corrections_by_cause", "parts_ms"];
            if names.contains(&key) {
                *map = std::mem::take(map).into_iter().map(|(name, v)| (format!("{HOSTILE}{name}"), v)).collect();
            }
            map.iter_mut().for_each(|(name, item)| poison(item, name));
        }
        _ => {}
    }
}
