//! The judge of explored cases.

use std::collections::BTreeMap;

use scalebed_frame::Flow;
use scalebed_frame::signature::Direction;
use scalebed_record::history::Declared;
use scalebed_record::{Entry, Fact, FlowKind};
use scalebed_topologies::lab::{NodeKind, Prefix, Rule};

use super::cluster::{Mutant, Run, run};
use crate::evidence::MS;
use crate::invariants;
use crate::places::{Places, Role};

const SPAN: invariants::Span = invariants::Span {
    deaths: false,
    first_ms: 2_000,
    healed_ms: 2_000,
    single: true,
    delay_ms: 0,
    full: None,
    takes_frames: false,
    doubles_frames: false,
    alters_frames: false,
};

fn violated(run: &Run) -> Vec<String> {
    invariants::violations(&run.input(), SPAN).into_iter().map(|verdict| verdict.check).collect()
}

fn flows(run: &Run) -> &[scalebed_record::FlowSpec] {
    let schedule = run.history.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Schedule(schedule) => Some(schedule.flows.as_slice()),
        _ => None,
    });
    schedule.expect("a schedule")
}

/// A quiet run as exploration makes one: a flow is denied, and members tell of their insides. Gives the denied flow too.
fn explored() -> (Run, u32) {
    let mut run = run("maestro/steady", Mutant::None);
    let (denied, flow) = last_udp(&run);
    let host = |address: std::net::IpAddr| Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } };
    let rule = Rule {
        src: Some(host(flow.src)),
        dst: Some(host(flow.dst)),
        protocol: Some(flow.protocol.0),
        dst_ports: Some((flow.dst_port, flow.dst_port)),
        accept: false,
    };
    run.lab.group.rules.insert(0, rule);
    // It comes as far as the first switch.
    let places = Places::of(&run.lab);
    run.observations.retain(|seen| {
        let forward = |probe: scalebed_record::Probe| probe.flow != denied || probe.direction == Direction::Forward;
        let first = matches!(places.at(seen.tap).from, Role::Generator(0));
        seen.probe.is_none_or(|probe| probe.flow != denied || forward(probe) && first)
    });
    let members: Vec<(String, String)> = run
        .lab
        .nodes
        .iter()
        .filter_map(|node| match node.kind {
            NodeKind::Member(id) => Some((node.name.clone(), id.to_string())),
            _ => None,
        })
        .collect();
    for (name, id) in &members {
        let zeros = ["frames_stuck", "items_stuck", "half_bindings", "without_backup"].map(|what| (what.to_owned(), 0));
        let mut counters: BTreeMap<String, u64> = zeros.into();
        for (_, other) in members.iter().filter(|(_, other)| other != id) {
            counters.insert(format!("must_be_at {other}"), 3);
            counters.insert(format!("copies_of {other}"), 4);
        }
        let at = run.history.entries.last().map_or(0, |entry| entry.at);
        let fact = Fact::Counters { node: name.clone(), drops: BTreeMap::new(), counters };
        run.history.entries.push(Entry { at, fact });
    }
    (run, denied)
}

fn last_udp(run: &Run) -> (u32, Flow) {
    let found = (0u32..).zip(flows(run)).filter(|(_, spec)| spec.kind == FlowKind::Udp).last();
    let (flow, spec) = found.expect("a UDP flow");
    (flow, spec.forward)
}

/// Sets a gauge of one member.
fn gauge(run: &mut Run, what: &str, value: u64) {
    let told = run.history.entries.iter_mut().find_map(|entry| match &mut entry.fact {
        Fact::Counters { counters, .. } if counters.contains_key(what) => Some(counters),
        _ => None,
    });
    told.expect("a member that tells of it").insert(what.to_owned(), value);
}

#[test]
fn nothing_seen_violates_an_invariant() {
    let (mut run, _) = explored();
    assert!(violated(&run).is_empty(), "{:#?}", invariants::violations(&run.input(), SPAN));
    run.observations.clear();
    assert!(violated(&run).contains(&"l05-flowing".to_owned()), "{:?}", violated(&run));
    run.history.entries.clear();
    assert_eq!(violated(&run), ["evidence"]);
}

#[test]
fn what_members_tell_of_their_insides_is_judged() {
    for (what, value, check) in [
        ("half_bindings", 1, "s11-one-binding"),
        ("frames_stuck", 1, "l08-queues"),
        ("items_stuck", 1, "l08-queues"),
        ("without_backup", 1, "l03-backups"),
        ("copies_of 1_02", 2, "l03-backups"),
        ("must_be_at 1_02", 5, "l03-backups"),
    ] {
        let (mut run, _) = explored();
        gauge(&mut run, what, value);
        assert_eq!(violated(&run), [check], "{what}");
    }
    let (mut run, _) = explored();
    run.history.entries.retain(|entry| !matches!(entry.fact, Fact::Counters { .. }));
    assert_eq!(violated(&run), ["s11-one-binding", "l08-queues", "l03-backups"]);
}

#[test]
fn a_denied_flow_that_arrives_and_a_run_without_one_are_violations() {
    let (mut run, _) = explored();
    run.lab.group.rules.remove(0);
    assert!(violated(&run).contains(&"s18-denied-is-never-forwarded".to_owned()), "nothing was denied");
    let whole = super::run("maestro/steady", Mutant::None);
    let (mut run, denied) = explored();
    run.observations = whole.observations;
    assert_eq!(violated(&run), ["s18-denied-is-never-forwarded"], "flow {denied}");
}

/// Facts that the history ends with: at so many ms after its last, of a member, what.
fn and_then(run: &mut Run, facts: &[(u64, &str, &str)]) {
    let end = run.history.entries.last().map_or(0, |entry| entry.at);
    for (ms, node, what) in facts {
        let (node, at) = ((*node).to_owned(), end + ms * MS);
        let declared = |what| Fact::Declared { node: node.clone(), text: String::new(), what };
        let fact = match *what {
            "active" => declared(Declared::State("active".to_owned())),
            text if text.contains(" ms: ") => {
                let proof = String::new();
                Fact::Operation { event: None, text: text.to_owned(), node, before: at, after: at, proof }
            }
            reason => declared(Declared::Fenced(reason.to_owned())),
        };
        run.history.entries.push(Entry { at, fact });
    }
}

/// S14.
#[test]
fn the_last_one_that_serves_does_not_leave_for_a_soft_reason() {
    const PORT: &str = "interface inside is down";
    const SYNC: &str = "Sync brings nothing while data cables do";
    const HARD: &str = "no carrier on any data path";
    const KILLED: &str = "9 ms: poweroff sgm-1-02 for 9 ms";
    let last = |facts: &[(u64, &str, &str)]| {
        let (mut run, _) = explored();
        // What the run itself says of them is not about this.
        run.history.entries.retain(|entry| {
            !matches!(&entry.fact, Fact::Declared { what: Declared::State(_) | Declared::Fenced(_), .. })
        });
        and_then(&mut run, facts);
        violated(&run).contains(&"s14-last-man".to_owned())
    };
    let (one, two) = ("sgm-1-01", "sgm-1-02");
    let both = [(0, one, "active"), (0, two, "active")];
    let with = |more: &[(u64, &'static str, &'static str)]| [&both[..], more].concat();
    assert!(!last(&with(&[(5, one, PORT)])), "another one serves");
    for (first, second) in [(PORT, PORT), (SYNC, PORT), (PORT, SYNC)] {
        assert!(last(&with(&[(5, one, first), (5, two, second)])), "the second one is the last");
    }
    assert!(!last(&with(&[(5, one, PORT), (5, two, HARD)])), "it could not serve");
    assert!(!last(&with(&[(5, one, PORT), (9, one, "active"), (12, two, PORT)])), "it is back");
    // The death of another is heard of late, but not for ever: the unit is 100 ms.
    for how in [HARD, KILLED] {
        for (after, wrong) in [(390, false), (420, true)] {
            assert_eq!(last(&with(&[(5, two, how), (5 + after, one, PORT)])), wrong, "{after} ms after {how}");
        }
    }
}
