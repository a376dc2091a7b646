//! A tester that stands still (F32) may make a run invalid. It never makes one fail, it never makes a mutant pass,
//! and a run that passes all the same comes to what its twin comes to whose tester was fit.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rayon::prelude::*;
use scalebed_harness::driver::Settings;
use scalebed_harness::files;
use scalebed_harness::world::sim::{Sim, Wrap};
use scalebed_record::Outcome;
use scalebed_tests::mutants::{Fault, around, as_it_is};
use scalebed_tests::worlds::{Ran, differences};
use scalebed_tests::{complaints, soak};

const MS: u64 = 1_000_000;
/// No scenario here is longer.
const LENGTH: u64 = 25_000 * MS;

/// Stalls as a shared machine has them: of 2 to 60 ms, up to seventy in a run; and one longer, anywhere.
fn stalls() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let short = prop::collection::vec((0..LENGTH, 2 * MS..60 * MS), 5..70);
    (short, 0..LENGTH, 10 * MS..800 * MS).prop_map(|(mut all, from, long)| {
        all.push((from, long));
        all.into_iter().map(|(from, long)| (from, from + long)).collect()
    })
}

fn judged(scenario: &str, seed: u64, wrap: Wrap, stalls: Vec<(u64, u64)>) -> Ran {
    judged_of(240, scenario, seed, wrap, stalls)
}

fn judged_of(connections: u32, scenario: &str, seed: u64, wrap: Wrap, stalls: Vec<(u64, u64)>) -> Ran {
    let mut loaded = files::scenario(scenario).expect("a shipped scenario");
    loaded.scenario.traffic.population = connections;
    let mut world = Sim::with(&loaded.lab, seed, wrap).with_stalls(stalls);
    let settings = Settings { seed, ..Settings::default() };
    scalebed_tests::judged(&mut world, &loaded.lab, &loaded, settings)
}

/// So many lists of stalls, the same ones each time.
fn drawn(count: usize) -> Vec<Vec<(u64, u64)>> {
    let always_the_same = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), always_the_same);
    (0..count).map(|_| stalls().new_tree(&mut runner).expect("stalls").current()).collect()
}

#[test]
fn a_tester_that_stalls_never_makes_a_run_fail() {
    let scenarios = [
        "maestro/member-kill",
        "elasticxl/member-kill",
        "elasticxl/pivot-kill",
        "maestro/downlink-down",
        "maestro/hang-1-unit",
        "maestro/general-hide-nat",
    ];
    // More of them in tier soak.
    let drawn = drawn(if soak() { 24 } else { 1 });
    let cases: Vec<_> =
        scenarios.iter().flat_map(|name| (1u64..).zip(&drawn).map(move |(seed, list)| (*name, seed, list))).collect();
    let outcomes: Vec<String> = cases
        .into_par_iter()
        .map(|(name, seed, list)| {
            let stalled = judged(name, seed, as_it_is(), list.clone());
            let record = &stalled.record;
            assert_ne!(record.outcome(), "fail", "{name}, seed {seed}, {list:?}:\n{}", complaints(record));
            let tester =
                record.verdicts.iter().find(|verdict| verdict.check == "tester").expect("a verdict on the tester");
            assert!(!tester.value.contains(" 0 skipped"), "nothing was skipped: {}", tester.value);
            if record.outcome() == "pass" {
                // As a run in namespaces that passed is held against its twin in virtual time.
                let differ = differences(&stalled, &judged(name, seed, as_it_is(), Vec::new()), 100.0);
                assert!(differ.is_empty(), "{name}, seed {seed}, {list:?}:\n{}", differ.join("\n"));
            }
            println!("{name}, seed {seed}: {}, {}", record.outcome(), tester.value);
            record.outcome().to_owned()
        })
        .collect();
    // Stalls that spoil every run would say nothing.
    let passed = outcomes.iter().filter(|outcome| *outcome == "pass").count();
    println!("{passed} of {} runs pass all the same, the others are invalid", outcomes.len());
    assert!(passed > 0);
}

#[test]
fn a_tester_that_stalls_never_makes_a_mutant_pass() {
    let drawn = drawn(3);
    drawn.into_par_iter().for_each(|list| {
        let drops = around("sgm-1-03", |_| Fault::DropOneIn(2_000));
        let record = judged("maestro/steady", 1, drops, list.clone()).record;
        let loss = record.verdicts.iter().find(|verdict| verdict.check == "loss").expect("a verdict on loss");
        assert!(matches!(loss.outcome, Outcome::Fail(_)), "{list:?}:\n{}", complaints(&record));
    });
}

/// Seen once: the generator skipped the only thing that two clients said before they closed their half. In the other world
/// that told where the connections had been, long before the pivot died.
#[test]
fn where_a_connection_is_is_told_by_its_newest_packet() {
    let run = |stalls| judged_of(2_000, "elasticxl/pivot-kill", 1, as_it_is(), stalls);
    // When the first packets are due.
    let (stalled, fit) = (run(vec![(300 * MS, 500 * MS)]), run(Vec::new()));
    let differ = differences(&stalled, &fit, 100.0);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
