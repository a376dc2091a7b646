//! The judge, judged: a perfect run passes, and each mutant is caught by the checker that is there for it.

use std::collections::BTreeMap;

use scalebed_frame::{Generation, Incarnation, Kind, NodeId};
use scalebed_record::history::Heard;
use scalebed_record::traffic::TcpReport;
use scalebed_record::{Entry, Fact, Outcome, Shape, Verdict};
use scalebed_topologies::fault;
use scalebed_topologies::scenario::{Action, CableFault, HostTask};

use crate::Judgement;
use crate::evidence::MS;

mod cluster;
mod decided;
mod explored;
mod families;
mod hosts;
mod owners;
mod tester;
mod units;
mod wire;

use cluster::{Mutant, Run, START, WARM_UP, run, stray};

/// When the member is killed.
const EVENT: u64 = START + WARM_UP + 5_500 * MS;

fn outcomes(judgement: &Judgement) -> BTreeMap<&str, &Outcome> {
    judgement.verdicts.iter().map(|verdict| (verdict.check.as_str(), &verdict.outcome)).collect()
}

fn failed(judgement: &Judgement) -> Vec<&str> {
    let fails = |verdict: &&Verdict| matches!(verdict.outcome, Outcome::Fail(_));
    judgement.verdicts.iter().filter(fails).map(|verdict| verdict.check.as_str()).collect()
}

#[track_caller]
fn passes(run: &Run) -> Judgement {
    let judgement = run.judge();
    let bad: Vec<_> = judgement.verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Pass).collect();
    assert!(bad.is_empty(), "{}: {bad:#?}", run.scenario.name);
    assert_eq!(judgement.record.outcome(), "pass");
    judgement
}

#[track_caller]
fn caught(judgement: &Judgement, check: &str) {
    assert!(matches!(outcomes(judgement).get(check), Some(Outcome::Fail(_))), "{check} in {:#?}", judgement.verdicts);
}

#[track_caller]
fn invalid(judgement: &Judgement, check: &str) {
    assert!(
        matches!(outcomes(judgement).get(check), Some(Outcome::Invalid(_))),
        "{check} in {:#?}",
        judgement.verdicts
    );
    assert_eq!(judgement.record.outcome(), "invalid");
}

#[test]
fn perfect_maestro_runs_pass() {
    let names = [
        "steady",
        "general-hide-nat",
        "member-kill",
        "smo-kill",
        "scale-out",
        "hang-5-units",
        "hang-1-unit",
        "mho-power-off",
        "downlink-down",
    ];
    for name in names {
        passes(&run(&format!("maestro/{name}"), Mutant::None));
    }
}

#[test]
fn perfect_elasticxl_runs_pass() {
    for name in ["steady", "general-hide-nat", "member-kill", "pivot-kill", "scale-out", "hang-5-units"] {
        passes(&run(&format!("elasticxl/{name}"), Mutant::None));
    }
}

#[test]
fn every_checker_says_something() {
    let mut said: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
    for name in ["maestro/member-kill", "elasticxl/general-hide-nat"] {
        let mut run = run(name, Mutant::None);
        run.lab.group.rules.retain(|rule| !rule.accept);
        run.scenario.kernel_transfers = true;
        run.scenario.hosts = vec![HostTask::Session];
        if let Some(event) = run.scenario.events.last_mut() {
            let kinds = vec![fault::Kind::Unplug, fault::Kind::Loss(1)];
            event.action = Action::Fault(CableFault { node: None, cables: vec![0], kinds, for_ms: 1_000 });
        }
        let input = crate::Input { world: "netns", ..run.input() };
        let evidence = crate::Evidence::of(&input).unwrap();
        let checkers = crate::checks::all();
        let speaks = checkers.iter().filter(|checker| !checker.check(&evidence).is_empty());
        said.extend(speaks.map(|checker| checker.name()));
    }
    let all: Vec<&str> = crate::checks::all().iter().map(|checker| checker.name()).collect();
    assert_eq!(said.len(), all.len(), "{said:?} of {all:?}");
}

#[test]
fn denied_flows_that_arrive_fail() {
    let mut run = run("maestro/steady", Mutant::None);
    run.lab.group.rules.retain(|rule| !rule.accept);
    caught(&run.judge(), "s18-denied-is-never-forwarded");
}

#[test]
fn a_transfer_with_other_bytes_fails_and_none_is_invalid() {
    let mut run = run("maestro/steady", Mutant::None);
    // One family alone proves nothing of the other.
    run.history.entries.retain(|entry| !matches!(entry.fact, Fact::Transfer { ipv6: true, .. }));
    let judge = |run: &Run| crate::judge(&crate::Input { world: "netns", ..run.input() });
    invalid(&judge(&run), "kernel-transfers");
    let (from, to) = ("inside-1".to_owned(), "outside-1".to_owned());
    let fact = Fact::Transfer { from, to, ipv6: true, bytes: 1_000_000, intact: false, took: MS, error: None };
    run.history.entries.push(Entry { at: START, fact });
    caught(&judge(&run), "kernel-transfers");
}

#[test]
fn data_on_the_sync_network_fails() {
    let mut run = run("elasticxl/steady", Mutant::None);
    let handover = run.observations.iter_mut().filter_map(|seen| seen.shim.as_mut());
    let mut handover = handover.filter(|shim| shim.kind == Kind::Handover);
    handover.next().unwrap().kind = Kind::Data;
    caught(&run.judge(), "s23-sync-carries-no-data");
}

/// What nobody can read is no excuse where no cable was to alter frames.
#[test]
fn an_unreadable_frame_on_the_sync_network_fails() {
    let mut run = run("elasticxl/steady", Mutant::None);
    let seen = run.observations.iter_mut().find(|seen| seen.shim.is_some_and(|shim| shim.kind == Kind::Handover));
    let seen = seen.unwrap();
    (seen.shim, seen.flow, seen.probe) = (None, None, None);
    caught(&run.judge(), "s23-sync-carries-no-data");
}

#[test]
fn a_known_gap_reads_true() {
    let judgement = passes(&run("maestro/member-kill", Mutant::None));
    let fault = &judgement.record.faults[0];
    // 100 probes a second: each number is within one interval of the true 350 ms.
    let gap = cluster::GAP as f64 / MS as f64;
    assert!((fault.full_ms.unwrap() - gap).abs() <= 10.0, "{fault:?}");
    let (median, max) = fault.loss_derived_ms.unwrap();
    assert!((median - gap).abs() <= 10.0 && (max - gap).abs() <= 10.0, "{fault:?}");
    assert!((fault.gap_ms.unwrap().1 - gap).abs() <= 20.0, "{fault:?}");
    let verdict = judgement.verdicts.iter().find(|verdict| verdict.check == "convergence-1").unwrap();
    assert!(verdict.value.ends_with("rate-derived 350 ms"), "{}", verdict.value);
    assert_eq!(verdict.accuracy, "+-10.0 ms");
    assert!(fault.hurt_flows > 0 && fault.hurt_flows <= fault.predicted_flows);
}

#[test]
fn a_slow_convergence_breaks_its_bar() {
    let good = run("maestro/member-kill", Mutant::None);
    passes(&good);
    let mut tight = run("maestro/member-kill", Mutant::None);
    tight.scenario.expect.convergence_units = Some(3.0);
    caught(&tight.judge(), "convergence-bar");
    let stall = Fact::Stall { who: "sgm-1-01".to_owned(), late: 26 * MS };
    tight.history.entries.push(Entry { at: EVENT + 100 * MS, fact: stall });
    invalid(&tight.judge(), "convergence-bar");
}

#[test]
fn an_asymmetric_hash_fails_symmetry() {
    let judgement = run("maestro/steady", Mutant::AsymmetricHash).judge();
    caught(&judgement, "symmetry-l2");
    caught(&judgement, "dealing");
}

#[test]
fn one_hard_wired_member_fails_dealing_and_evenness() {
    for lab in ["maestro", "elasticxl"] {
        let judgement = run(&format!("{lab}/steady"), Mutant::HardWired).judge();
        caught(&judgement, "dealing");
        caught(&judgement, "evenness");
    }
}

#[test]
fn a_nat_leak_fails() {
    let judgement = run("elasticxl/steady", Mutant::NatLeak).judge();
    caught(&judgement, "nat-leak");
    caught(&judgement, "nat-bindings");
    assert!(!failed(&judgement).contains(&"loss"));
}

#[test]
fn one_drop_in_ten_thousand_fails() {
    for scenario in ["maestro/steady", "elasticxl/steady"] {
        let judgement = run(scenario, Mutant::DropOneIn(10_000)).judge();
        assert_eq!(failed(&judgement), ["loss"]);
    }
}

#[test]
fn a_lost_segment_is_a_loss_though_it_is_sent_again() {
    assert_eq!(failed(&run("maestro/steady", Mutant::DropSegment).judge()), ["loss"]);
}

#[test]
fn a_drop_in_a_window_of_another_flow_fails() {
    let judgement = run("maestro/member-kill", Mutant::HurtOther).judge();
    caught(&judgement, "loss");
    caught(&judgement, "convergence-1");
}

#[test]
fn processing_twice_looping_and_careless_routers_fail() {
    caught(&run("maestro/steady", Mutant::ProcessTwice).judge(), "s03-processed-once");
    caught(&run("maestro/steady", Mutant::Loop).judge(), "s15-no-loop");
    assert_eq!(failed(&run("maestro/steady", Mutant::TtlKept).judge()), ["processed-as-a-router"]);
    assert_eq!(failed(&run("maestro/general-hide-nat", Mutant::AlteredOnTheWay).judge()), ["processed-as-a-router"]);
}

#[test]
fn colliding_bindings_fail() {
    assert_eq!(failed(&run("maestro/steady", Mutant::CollidingPorts).judge()), ["nat-bindings"]);
}

#[test]
fn a_woken_member_without_self_fence_fails() {
    for (lab, member) in [("maestro", "sgm-1-03"), ("elasticxl", "member-1-03")] {
        let mut run = run(&format!("{lab}/hang-5-units"), Mutant::None);
        let woken = START + WARM_UP + 6_001 * MS;
        run.observations.push(stray(&run, member, woken));
        run.observations.sort_by_key(|seen| seen.at);
        assert_eq!(failed(&run.judge()), ["s19-self-fence"]);
    }
}

fn extra(run: &mut Run, from: NodeId, at: u64, change: impl Fn(&mut Generation, &mut u64, &mut bool)) {
    let last = run.history.entries.iter().rev().find_map(|entry| match &entry.fact {
        Fact::Heard(beat @ Heard::Heartbeat { from: sender, .. }) if *sender == from && entry.at < at => {
            Some(beat.clone())
        }
        _ => None,
    });
    let Some(Heard::Heartbeat { from, incarnation, mut accepted, activated, mut digest, state, mut smo, .. }) = last
    else {
        panic!("{from} was never heard");
    };
    change(&mut accepted, &mut digest, &mut smo);
    let fact = Fact::Heard(Heard::Heartbeat { from, incarnation, sent: at, accepted, activated, digest, state, smo });
    run.history.entries.push(Entry { at, fact });
}

#[test]
fn an_extra_generation_fails() {
    let mut run = run("maestro/steady", Mutant::None);
    for mho in run.lab.orchestrators() {
        extra(&mut run, mho.into(), START + 8_500 * MS, |accepted, digest, _| {
            accepted.counter += 1;
            *digest += 1;
        });
    }
    let judgement = run.judge();
    caught(&judgement, "generations");
    caught(&judgement, "l09-quiet-tail");
}

#[test]
fn two_holders_two_digests_and_a_step_back_fail() {
    let steady = || run("maestro/steady", Mutant::None);
    let second = |run: &Run| NodeId::from(run.lab.members()[1]);
    let at = START + 3_050 * MS;
    let mut two = steady();
    extra(&mut two, second(&steady()), at, |_, _, smo| *smo = true);
    assert_eq!(failed(&two.judge()), ["s05-one-smo"]);
    let mut digests = steady();
    extra(&mut digests, second(&steady()), at, |_, digest, _| *digest += 1);
    assert_eq!(failed(&digests.judge()), ["s07-equal-digests"]);
    let mut back = steady();
    let was = Generation { incarnation: Incarnation(0), ..first_generation(&back) };
    extra(&mut back, second(&steady()), at, |accepted, _, _| *accepted = was);
    assert_eq!(failed(&back.judge()), ["s04-generation-never-goes-back"]);
}

fn first_generation(run: &Run) -> Generation {
    let generation = run.history.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Heard(Heard::Matrix(matrix)) => Some(matrix.generation),
        _ => None,
    });
    generation.unwrap()
}

#[test]
fn collateral_moves_fail() {
    let mut run = run("maestro/member-kill", Mutant::None);
    let mut matrices = run.history.entries.iter_mut().filter_map(|entry| match &mut entry.fact {
        Fact::Heard(Heard::Matrix(matrix)) => Some(matrix),
        _ => None,
    });
    let after = matrices.nth(1).unwrap();
    let (from, to) = (after.admitted[0].member, after.admitted[1].member);
    let bucket = after.buckets.iter_mut().find(|bucket| bucket.owner == from && bucket.backup == Some(to)).unwrap();
    (bucket.owner, bucket.backup) = (to, Some(from));
    caught(&run.judge(), "s09-minimal-disruption");
}

#[test]
fn a_tester_that_was_not_fit_makes_the_run_invalid() {
    let change = |of: fn(&mut Fact)| {
        let mut run = run("maestro/steady", Mutant::None);
        run.history.entries.iter_mut().for_each(|entry| of(&mut entry.fact));
        run.judge()
    };
    let dropped = change(|fact| {
        if let Fact::TapDrops { frames } = fact {
            *frames = 1;
        }
    });
    invalid(&dropped, "ledger");
    let open = change(|fact| {
        if let Fact::Ledger { cable: 3, put_in_a, .. } = fact {
            *put_in_a += 1;
        }
    });
    invalid(&open, "ledger");
    let skipped = change(|fact| {
        if let Fact::Generator(report) = fact {
            report.skipped = report.sent / 15;
        }
    });
    invalid(&skipped, "tester");
    let late = change(|fact| {
        if let Fact::Generator(report) = fact {
            report.p99_late = 8 * MS;
        }
    });
    invalid(&late, "tester");
}

#[test]
fn an_event_that_was_not_sharp_or_did_not_happen_is_invalid() {
    let mut run = run("maestro/member-kill", Mutant::None);
    for entry in &mut run.history.entries {
        if let Fact::Operation { event: Some(0), before, after, .. } = &mut entry.fact {
            *after = *before + 6 * MS;
        }
    }
    invalid(&run.judge(), "events");
    run.history.entries.retain(|entry| !matches!(entry.fact, Fact::Operation { event: Some(1), .. }));
    invalid(&run.judge(), "events");
}

#[test]
fn nothing_seen_is_never_green() {
    let mut run = run("maestro/steady", Mutant::None);
    run.observations.clear();
    let judgement = run.judge();
    assert_eq!(judgement.record.outcome(), "invalid");
    run.history.entries.clear();
    invalid(&run.judge(), "evidence");
}

#[test]
fn a_connection_that_should_live_and_does_not_fails() {
    let mut run = run("maestro/member-kill", Mutant::None);
    for entry in &mut run.history.entries {
        if let Fact::Generator(report) = &mut entry.fact {
            // Some old one: flow 27 is an odd, old TCP flow.
            let tcp = report.tcp.iter_mut().find(|tcp| tcp.flow == 27).unwrap();
            tcp.reset = START + WARM_UP + 5_600 * MS;
        }
    }
    caught(&run.judge(), "survival-1");
}

/// A run whose connections are all steady, with one of them as if in a state when the member was killed.
fn one_in_state(flow: u32, change: impl Fn(&mut TcpReport)) -> Run {
    let mut run = run("maestro/member-kill", Mutant::None);
    for entry in &mut run.history.entries {
        if let Fact::Generator(report) = &mut entry.fact {
            change(report.tcp.iter_mut().find(|tcp| tcp.flow == flow).unwrap());
        }
    }
    run
}

/// Takes what taps saw of a flow within a time, ms after the event.
fn take(run: &mut Run, flow: u32, from: i64, to: i64) {
    let event = i64::try_from(START + WARM_UP + 5_500 * MS).unwrap();
    let ms = i64::try_from(MS).unwrap();
    let within = |at: u64| (event + from * ms..event + to * ms).contains(&i64::try_from(at).unwrap());
    run.observations.retain(|seen| seen.probe.is_none_or(|probe| probe.flow != flow) || !within(seen.at));
}

fn survivors(judgement: &Judgement, state: &str) -> (u32, u32) {
    let rows = judgement.record.survival.iter().filter(|row| row.state == state);
    rows.fold((0, 0), |(kept, all), row| (kept + row.survived, all + row.connections))
}

#[track_caller]
fn says(judgement: &Judgement, words: &str) {
    let Some(Outcome::Fail(evidence)) = outcomes(judgement).get("survival-1").copied() else {
        panic!("{:#?}", judgement.verdicts)
    };
    assert!(evidence.iter().any(|line| line.contains(words)), "{words} in {evidence:?}");
}

#[test]
fn idle_half_closed_and_handshaking_connections_that_stop_fail_by_their_state() {
    const FOREVER: i64 = 60_000;
    // Idle: silent for the last second.
    let mut idle = one_in_state(27, |_| ());
    take(&mut idle, 27, -1_050, 600);
    assert_eq!(survivors(&idle.judge(), "idle"), (1, 1));
    take(&mut idle, 27, 600, FOREVER);
    says(&idle.judge(), ", idle, its owner");
    // Unless the tester is why: then nothing is known.
    for entry in &mut idle.history.entries {
        if let Fact::Generator(report) = &mut entry.fact {
            report.skipped = report.sent / 5;
        }
    }
    let judgement = idle.judge();
    assert!(matches!(outcomes(&judgement)["survival-1"], Outcome::Invalid(why) if why.contains("stands still, but")));
    // Half closed: the server's segments must arrive, and it must hear so.
    let half = one_in_state(27, |tcp| {
        tcp.half_closed = EVENT - 100 * MS;
        tcp.acknowledged = EVENT + 3_000 * MS;
    });
    assert_eq!(survivors(&half.judge(), "half-closed"), (1, 1));
    let deaf = one_in_state(27, |tcp| {
        tcp.half_closed = EVENT - 100 * MS;
        tcp.acknowledged = EVENT + 300 * MS;
    });
    says(&deaf.judge(), ", half-closed, its owner");
    // A handshake: comes to its end afterwards, or not.
    let begun = |tcp: &mut TcpReport| {
        tcp.opened = EVENT - 50 * MS;
        tcp.established = EVENT + 500 * MS;
    };
    let mut handshake = one_in_state(27, begun);
    assert_eq!(survivors(&handshake.judge(), "handshaking"), (1, 1));
    take(&mut handshake, 27, 0, FOREVER);
    says(&handshake.judge(), ", handshaking, its owner");
}

#[test]
fn states_that_were_dealt_and_not_seen_are_invalid() {
    let mut run = run("maestro/member-kill", Mutant::None);
    for entry in &mut run.history.entries {
        if let Fact::Schedule(schedule) = &mut entry.fact {
            schedule.flows[27].shape = Shape::SlowHandshake { hold: 180 * MS };
        }
    }
    invalid(&run.judge(), "survival-1");
}

#[test]
fn duplicates_strays_and_packets_from_nowhere_fail() {
    let delivered = |run: &Run| {
        let sinks = run.lab.cables.iter().position(|cable| cable.name.contains("generator")).unwrap();
        let probe =
            |seen: &&scalebed_record::Observation| usize::from(seen.tap.cable()) == sinks && seen.probe.is_some();
        *run.observations.iter().filter(probe).nth(1_000).unwrap()
    };
    // The same frame again at the same tap: a duplicate at the receiver's, a second packet at the sender's.
    let mut twice = run("maestro/steady", Mutant::None);
    let seen = delivered(&twice);
    twice.observations.push(scalebed_record::Observation { at: seen.at + 1, ..seen });
    caught(&twice.judge(), "s15-no-loop");
    // A member that emits a packet it never got.
    let mut nowhere = run("maestro/steady", Mutant::None);
    let member = nowhere.lab.members()[0];
    let into = nowhere.observations.iter().position(|seen| {
        let place = crate::places::Places::of(&nowhere.lab).at(seen.tap);
        place.to == crate::places::Role::Member(0) && seen.probe.is_some()
    });
    nowhere.observations.remove(into.unwrap());
    let judgement = nowhere.judge();
    caught(&judgement, "processed-as-a-router");
    let Some(Outcome::Fail(evidence)) = outcomes(&judgement).get("processed-as-a-router").copied() else { panic!() };
    assert!(evidence[0].starts_with(&format!("{member} emitted what never entered it")), "{evidence:?}");
    // A packet that comes out where it went in.
    let mut back = run("elasticxl/steady", Mutant::None);
    let places = crate::places::Places::of(&back.lab);
    let sent = back.observations.iter().find(|seen| places.at(seen.tap).from == crate::places::Role::Generator(0));
    let sent = *sent.unwrap();
    let tap = scalebed_record::TapId::new(sent.tap.cable(), !sent.tap.at_b());
    back.observations.push(scalebed_record::Observation { at: sent.at + 1, tap, ..sent });
    caught(&back.judge(), "packet-classes");
}
