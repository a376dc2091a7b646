//! The measured parts of the record: what a report shows beside the verdicts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use scalebed_record::history::{Declared, Heard};
use scalebed_record::record::{
    FaultRow, LedgerRow, MemberRow, Outage, OwnersRow, Record, SCHEMA, Shares, Throughput, TimelineEvent, Topology,
    TopologyNode,
};
use scalebed_record::{Fact, FlowKind};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{Architecture, Network, NodeKind};
use scalebed_topologies::scenario::{Action, Outcome};

use crate::Input;
use crate::checks::{corrections, is_control, matrices, measure, nat, spread, survival, symmetry};
use crate::events::{Happening, Victim};
use crate::evidence::{Evidence, MS};
use crate::journey::NOBODY;
use crate::numbers::{share, tolerance};

/// Width of a throughput bin, ns.
const BIN: u64 = 10 * MS;
/// At most so many bins: a run of 10 minutes.
const BINS: u64 = 60_000;

/// What is known without evidence.
pub fn empty(input: &Input<'_>) -> Record {
    let lab = input.lab;
    Record {
        schema: SCHEMA,
        scenario: input.scenario.name.clone(),
        about: input.scenario.about.clone(),
        lab: lab.name.clone(),
        architecture: lab.architecture.title().to_lowercase(),
        world: input.world.to_owned(),
        seed: input.seed,
        topology: topology(input.lab),
        ..Record::default()
    }
}

/// Everything that was measured.
pub fn record(evidence: &Evidence<'_>) -> Record {
    let (faults, survival) = evidence.happenings.iter().fold((Vec::new(), Vec::new()), |(mut rows, mut fates), one| {
        rows.push(fault(evidence, one));
        if one.victim != Victim::Nobody {
            fates.extend(survival::rows(evidence, one).0);
        }
        (rows, fates)
    });
    Record {
        timeline: timeline(evidence),
        throughput: throughput(evidence),
        outages: outages(evidence),
        members: members(evidence),
        faults,
        symmetry: symmetry::rows(evidence),
        survival,
        owners: owners(evidence),
        shares: shares(evidence),
        ledger: ledger(evidence),
        latency_us: latency(evidence),
        notes: notes(evidence),
        ..empty(&evidence.input)
    }
}

/// A lab as a drawing needs it.
#[must_use]
pub fn topology(lab: &Lab) -> Topology {
    let node = |node: &scalebed_topologies::lab::Node| {
        let (kind, detail) = match &node.kind {
            NodeKind::Mho(mho) => ("mho", format!("orchestrator {}", mho.0)),
            NodeKind::Member(member) => ("member", member.to_string()),
            NodeKind::Switch(id) => {
                let network = lab.network(*id);
                let subnets =
                    |network: &Network| network.subnets().map(|subnet| format!(" {subnet}")).collect::<String>();
                ("switch", network.map_or("sync".to_owned(), |network| network.name.clone() + &subnets(network)))
            }
            NodeKind::Host(host) => ("host", host.address.to_string()),
            NodeKind::Generator => ("generator", "clients and servers".to_owned()),
        };
        TopologyNode { name: node.name.clone(), kind: kind.to_owned(), detail }
    };
    let cables = lab.cables.iter().map(|cable| (usize::from(cable.a.node), usize::from(cable.b.node)));
    Topology { nodes: lab.nodes.iter().map(node).collect(), cables: cables.collect() }
}

fn timeline(evidence: &Evidence<'_>) -> Vec<TimelineEvent> {
    let mut claims = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in &evidence.input.history.entries {
        let (lane, kind, text) = match &entry.fact {
            Fact::Phase(name) => ("run".to_owned(), "phase", name.clone()),
            Fact::Operation { text, node, event, .. } => {
                let action = event.and_then(|event| evidence.scenario().events.get(event as usize));
                // What is no event of the scenario ends one, or is a turn of a cable that flaps, or the lab's own.
                let ends = ["mend ", "wake ", "start "].iter().any(|verb| text.starts_with(verb));
                let heals =
                    action.map_or(ends, |event| matches!(event.action, Action::Start(_) | Action::DownlinkUp { .. }));
                (node.clone(), if heals { "heal" } else { "fault" }, text.clone())
            }
            Fact::Declared { node, text, what } if *what != Declared::Other => (node.clone(), "declared", text.clone()),
            Fact::Heard(Heard::Heartbeat { from, accepted, state, smo, .. }) => {
                let shown = (*accepted, state.clone(), *smo);
                if claims.insert(*from, shown.clone()) == Some(shown) {
                    continue;
                }
                let lane = evidence.lab().by_id(*from).map_or(from.to_string(), |(_, node)| node.name.clone());
                let role = if *smo { ", holds the role" } else { "" };
                (lane, "heard", format!("{state}, generation {accepted}{role}"))
            }
            Fact::Stall { who, late } => (who.clone(), "stall", format!("ran {:.1} ms late", *late as f64 / MS as f64)),
            _ => continue,
        };
        lines.push(TimelineEvent { at_ms: evidence.ms(entry.at), lane, kind: kind.to_owned(), text });
    }
    lines.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    lines
}

fn throughput(evidence: &Evidence<'_>) -> Throughput {
    let bins = (evidence.schedule.end.div_ceil(BIN)).clamp(1, BINS) as usize;
    let start = evidence.schedule.start;
    let bin = |at: u64| at.checked_sub(start).map(|since| (since / BIN) as usize).filter(|bin| *bin < bins);
    let names = evidence.places.members.iter();
    let mut shown = Throughput {
        bin_ms: BIN as f64 / MS as f64,
        start_ms: 0.0,
        offered: vec![0; bins],
        members: names.map(|member| (member.to_string(), vec![0; bins])).collect(),
        lost: vec![0; bins],
    };
    // What the policy denies is to be lost.
    let all = evidence.flows().flat_map(|(flow, _)| (0..2).flat_map(move |side| evidence.journeys(flow, side)));
    for journey in all.filter(|journey| journey.offered != 0) {
        if let Some(bin) = bin(journey.offered) {
            shown.offered[bin] += 1;
            shown.lost[bin] += u32::from(journey.lost());
        }
        let member = shown.members.get_mut(usize::from(journey.owner));
        if let (Some((_, bins)), Some(bin)) = (member, bin(journey.delivered)) {
            bins[bin] += 1;
        }
    }
    shown
}

fn outages(evidence: &Evidence<'_>) -> Vec<Outage> {
    let mut by_flow: BTreeMap<usize, Outage> = BTreeMap::new();
    for loss in &evidence.losses {
        let at = evidence.ms(loss.at);
        let row = by_flow.entry(loss.flow).or_insert_with(|| {
            let owner = evidence.owner_before(loss.flow, loss.at);
            Outage {
                flow: u32::try_from(loss.flow).unwrap_or(u32::MAX),
                owner: owner.map_or_else(String::new, |owner| evidence.places.name(owner)),
                class: if evidence.is_probe(loss.flow) { "probe" } else { "population" }.to_owned(),
                from_ms: at,
                to_ms: at,
                lost: 0,
                predicted: true,
            }
        });
        row.from_ms = row.from_ms.min(at);
        row.to_ms = row.to_ms.max(at);
        row.lost += 1;
        row.predicted &= loss.excuse.is_some();
    }
    let mut rows: Vec<Outage> = by_flow.into_values().collect();
    rows.sort_by(|a, b| (&a.owner, a.flow).cmp(&(&b.owner, b.flow)));
    rows
}

/// Over the steady part: before the first event.
fn members(evidence: &Evidence<'_>) -> Vec<MemberRow> {
    let steady = evidence.happenings.first().map_or(u64::MAX, |happening| happening.at);
    let mut ingress = vec![0u64; evidence.places.members.len()];
    let mut processed = ingress.clone();
    let mut all = 0;
    for journey in evidence.journeys.iter().filter(|one| one.delivered != 0 && one.offered < steady) {
        all += 1;
        for (counts, member) in [(&mut ingress, journey.ingress), (&mut processed, journey.owner)] {
            if let Some(count) = counts.get_mut(usize::from(member)).filter(|_| member != NOBODY) {
                *count += 1;
            }
        }
    }
    let spread = spread(evidence);
    let keys: u64 = spread.keys.values().sum();
    let n = spread.members.len().max(1) as f64;
    let rows = evidence.places.members.iter().enumerate().map(|(index, member)| {
        let place = u8::try_from(index).unwrap_or(NOBODY);
        let takes_part = spread.members.contains(&place);
        let expected = if takes_part { keys as f64 / n } else { 0.0 };
        MemberRow {
            member: member.to_string(),
            ingress_share: share(ingress[index], all),
            processed_share: share(processed[index], all),
            keys: spread.keys.get(&place).copied().unwrap_or(0),
            expected_keys: expected,
            tolerance_keys: tolerance(expected, 1.0 / n),
            buckets: spread.buckets.get(&place).copied().unwrap_or(0),
        }
    });
    rows.collect()
}

fn fault(evidence: &Evidence<'_>, happening: &Happening) -> FaultRow {
    let measured = measure(evidence, happening);
    let changes = matrices::changes(evidence);
    let mine = || changes.iter().filter(|change| (happening.at..happening.until).contains(&change.at));
    let outcome = match happening.outcome {
        Outcome::NoLoss => "no-loss",
        Outcome::BoundedLoss => "bounded-loss",
        Outcome::YoungLost => "young-lost",
    };
    let due = evidence.flows().filter(|(flow, _)| {
        (0..2).any(|side| {
            evidence.journeys(*flow, side).iter().any(|one| (happening.at..happening.until).contains(&one.offered))
        })
    });
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    FaultRow {
        text: happening.text.clone(),
        at_ms: evidence.ms(happening.at),
        bracket_ms: happening.after.saturating_sub(happening.at) as f64 / MS as f64,
        outcome: outcome.to_owned(),
        hurt_flows: count(measured.hurt.len()),
        flows: count(due.count()),
        predicted_flows: count(measured.predicted),
        first_ms: measured.first_ms,
        full_ms: measured.full_ms,
        loss_derived_ms: measured.loss_ms,
        gap_ms: measured.gap_ms,
        parts_ms: parts(evidence, happening),
        moved_of_need: mine().map(|change| change.of_need).sum(),
        moved_without: mine().map(|change| change.without).sum(),
        join_ms: join(evidence, happening),
        lost_packets: measured.lost,
    }
}

/// Failover time as detect, decide, barrier, announce: from the event to the first "dead", to the first Prepare, to the
/// first Activated, to the first announcement. What was not declared is left out.
fn parts(evidence: &Evidence<'_>, happening: &Happening) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    if happening.victim == Victim::Nobody {
        return parts;
    }
    let declared = |from: u64, what: fn(&Declared) -> bool| {
        evidence.input.history.entries.iter().find_map(|entry| match &entry.fact {
            Fact::Declared { what: said, .. } if what(said) => {
                (from..happening.until).contains(&entry.at).then_some(entry.at)
            }
            _ => None,
        })
    };
    type Said = fn(&Declared) -> bool;
    let steps: [(&str, Said); 4] = [
        ("detect", |said| matches!(said, Declared::Dead(_))),
        ("decide", |said| matches!(said, Declared::Prepared(_))),
        ("barrier", |said| matches!(said, Declared::Activated(_))),
        ("announce", |said| matches!(said, Declared::Announced)),
    ];
    // Announcements go on for 10 s after each takeover: without one, those that are heard belong to an earlier one.
    let takeover = declared(happening.at, |said| matches!(said, Declared::Smo(true))).is_some();
    let mut from = happening.at;
    for (name, what) in steps.into_iter().filter(|(name, _)| takeover || *name != "announce") {
        let Some(at) = declared(from, what) else { continue };
        parts.insert(name.to_owned(), (at - from) as f64 / MS as f64);
        from = at;
    }
    parts
}

/// Of a start: until the node declares itself Active.
fn join(evidence: &Evidence<'_>, happening: &Happening) -> Option<f64> {
    if !matches!(happening.action, Action::Start(_)) {
        return None;
    }
    evidence.input.history.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Declared { node, what: Declared::State(state), .. }
            if *node == happening.node && state == "active" && entry.at >= happening.at =>
        {
            Some((entry.at - happening.at) as f64 / MS as f64)
        }
        _ => None,
    })
}

fn owners(evidence: &Evidence<'_>) -> Vec<OwnersRow> {
    let at = |when: String, at: u64| {
        let owner = |flow: usize| evidence.owner_before(flow, at).map_or(-1, i16::from);
        OwnersRow { when, members: (0..evidence.schedule.flows.len()).map(owner).collect() }
    };
    let end = evidence.schedule.start + evidence.schedule.end;
    let before = evidence.happenings.iter().map(|one| at(format!("before {}", one.text), one.at));
    before.chain([at("at the end".to_owned(), end)]).collect()
}

fn shares(evidence: &Evidence<'_>) -> Shares {
    let counted = corrections(evidence);
    let (packets, corrected) = (counted.packets(), counted.corrected());
    // One copy a frame: what members and orchestrators put in, not what is switched on to others.
    let elastic = evidence.lab().architecture == Architecture::ElasticXl;
    let sync = evidence.observations().iter().filter(|seen| {
        let from_member = matches!(evidence.places.at(seen.tap).from, crate::places::Role::Member(_));
        is_control(seen) && from_member && (!elastic || evidence.places.at(seen.tap).network.is_some_and(|n| n.0 == 0))
    });
    let opened = |(flow, _): &(usize, &scalebed_record::FlowSpec)| {
        evidence.journeys(*flow, 0).iter().any(|journey| journey.delivered != 0)
    };
    Shares {
        corrected_forward: share(corrected[0], packets[0]),
        corrected_return: share(corrected[1], packets[1]),
        corrected_return4: counted.ipv4.corrected_return(),
        corrected_return6: counted.ipv6.corrected_return(),
        corrections_by_cause: counted.by_cause.iter().map(|(cause, n)| (cause.name().to_owned(), *n)).collect(),
        handover: share(counted.handed_over, packets.iter().sum()),
        sync_bytes: sync.map(|seen| u64::from(seen.length)).sum(),
        connections: evidence.flows().filter(opened).count() as u64,
        public_ips: u32::try_from(nat::public_addresses(evidence)).unwrap_or(u32::MAX),
    }
}

fn ledger(evidence: &Evidence<'_>) -> Vec<LedgerRow> {
    let rows = evidence.input.history.entries.iter().filter_map(|entry| match entry.fact {
        Fact::Ledger { cable, put_in_a, got_out_b, put_in_b, got_out_a } => Some(LedgerRow {
            cable: evidence.lab().cables.get(usize::from(cable)).map_or_else(String::new, |cable| cable.name.clone()),
            a_to_b: (put_in_a, got_out_b),
            b_to_a: (put_in_b, got_out_a),
        }),
        _ => None,
    });
    rows.collect()
}

/// One-way delay of UDP packets, from their actual and from their intended send time, probes and population alike.
fn latency(evidence: &Evidence<'_>) -> BTreeMap<String, f64> {
    let mut shown = BTreeMap::new();
    for (side, way) in ["forward", "return"].into_iter().enumerate() {
        // 3 digits, up to a minute, in ns: the constructor refuses only other bounds.
        let histograms = [0, 1].map(|_| Histogram::<u64>::new_with_bounds(1, 60_000 * MS, 3).ok());
        let [Some(mut actual), Some(mut intended)] = histograms else { continue };
        for (flow, _) in evidence.flows().filter(|(_, spec)| spec.kind == FlowKind::Udp) {
            for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                if journey.delivered != 0 && journey.offered != 0 {
                    actual.saturating_record(journey.delivered.saturating_sub(journey.offered).max(1));
                    let due = evidence.due(flow, side, sequence);
                    intended.saturating_record(journey.delivered.saturating_sub(due).max(1));
                }
            }
        }
        for (name, histogram) in [("", &actual), (" from intended", &intended)] {
            for (quantile, label) in [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (1.0, "max")] {
                if !histogram.is_empty() {
                    let value = histogram.value_at_quantile(quantile) as f64 / 1e3;
                    shown.insert(format!("{way}{name} {label}"), value);
                }
            }
        }
        if !actual.is_empty() {
            let pdv = actual.value_at_quantile(0.99).saturating_sub(actual.min()) as f64 / 1e3;
            shown.insert(format!("{way} pdv p99"), pdv);
        }
    }
    shown
}

fn notes(evidence: &Evidence<'_>) -> Vec<String> {
    let told = evidence.input.history.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Note(note) => Some(note.clone()),
        Fact::Transfer { from, to, ipv6, bytes, intact, error, .. } => {
            let end = error.as_deref().unwrap_or(if *intact { "intact" } else { "altered" });
            let family = crate::checks::family(*ipv6);
            Some(format!("TCP {from} to {to} over {family}, {bytes} bytes: {end}"))
        }
        _ => None,
    });
    told.collect()
}
