//! What is made of a tester that stood still.

use scalebed_record::{Entry, Fact, Outcome};

use super::cluster::{GAP, Mutant, Run, START, run};
use super::{EVENT, caught, extra, invalid, outcomes, passes};
use crate::evidence::MS;

#[test]
fn a_stall_outside_of_the_repair_does_not_touch_the_bar() {
    let mut run = run("maestro/member-kill", Mutant::None);
    let late = |at| Entry { at, fact: Fact::Stall { who: "sgm-1-01".to_owned(), late: 40 * MS } };
    run.history.entries.extend([late(EVENT - 400 * MS), late(EVENT + 600 * MS)]);
    passes(&run);
    run.history.entries.push(late(EVENT + 480 * MS));
    invalid(&run.judge(), "convergence-bar");
}

#[test]
fn what_a_generator_skipped_is_neither_lost_nor_repaired() {
    let silent =
        |from: u64, ms: u64| run("maestro/member-kill", Mutant::Silent(EVENT + from * MS, EVENT + (from + ms) * MS));
    let row = |run: &Run| passes(run).record.faults[0].clone();
    // Inside of the gap these packets would have been lost: the gap reads as it is.
    let (loss, gap) = (row(&silent(100, 60)).loss_derived_ms.unwrap(), GAP as f64 / MS as f64);
    assert!((loss.0 - gap).abs() <= 10.0 && (loss.1 - gap).abs() <= 10.0, "{loss:?}");
    // At its end nobody knows when it ended: at the latest when the generator was back, and the accuracy says so.
    let late = silent(340, 60);
    let full = row(&late).full_ms.unwrap();
    assert!((400.0..=411.0).contains(&full), "{full}");
    let judgement = late.judge();
    let bar = judgement.verdicts.iter().find(|verdict| verdict.check == "convergence-bar").unwrap();
    assert!(["+-60.0 ms", "+-70.0 ms"].contains(&bar.accuracy.as_str()), "{bar:?}");
    // Over the bar, but perhaps for that alone.
    invalid(&silent(340, 130).judge(), "convergence-bar");
    // Before the event: nothing.
    assert!(row(&silent(0, 0)).full_ms.unwrap() <= 360.0);
    passes(&silent(1_000, 200));
}

/// A takeover that nobody predicted is the machine's if nodes had stood still for long enough, and the cluster's if not.
#[test]
fn a_takeover_that_the_machine_made_is_no_fail() {
    let with = |mutant: Mutant, stalls: &[(&str, u64, u64)]| {
        let mut run = run("maestro/steady", mutant);
        let at = START + 8_500 * MS;
        for mho in run.lab.orchestrators() {
            extra(&mut run, mho.into(), at, |accepted, digest, _| {
                accepted.counter += 1;
                *digest += 1;
            });
        }
        let stall = |(who, before, late): &(&str, u64, u64)| {
            let fact = Fact::Stall { who: (*who).to_owned(), late: late * MS };
            Entry { at: at - before * MS, fact }
        };
        run.history.entries.extend(stalls.iter().map(stall));
        run.judge()
    };
    let starved = [("sgm-1-01", 300, 30), ("sgm-1-02", 200, 40), ("mho1", 100, 35)];
    // It is noticed when it is over, which may be after the others have acted.
    for stalls in [&starved[..], &[("sgm-1-01", 0, 130)]] {
        let judgement = with(Mutant::None, stalls);
        let outcomes = outcomes(&judgement);
        for check in ["generations", "l09-quiet-tail"] {
            let Some(Outcome::Invalid(reason)) = outcomes.get(check) else { panic!("{check}: {:?}", outcomes[check]) };
            assert!(reason.contains("was not predicted") && reason.contains("else it would fail: "), "{reason}");
        }
    }
    // Too short, too long ago, all at one instant, or the generator, which nodes don't wait for.
    let at_once = ["sgm-1-01", "sgm-1-02", "sgm-1-03", "sgm-1-04", "mho1"].map(|who| (who, 100, 30));
    for others in [&starved[..2], &[("sgm-1-01", 600, 200)], &at_once, &[("generator", 100, 200)]] {
        caught(&with(Mutant::None, others), "generations");
    }
    // What must hold whatever happens is not excused.
    caught(&with(Mutant::AsymmetricHash, &starved), "symmetry-l2");
}

/// Nodes that stood still before a takeover that was predicted excuse none that was not.
#[test]
fn a_stall_before_another_takeover_excuses_nothing() {
    let with = |at: u64| {
        let mut run = run("maestro/member-kill", Mutant::None);
        let late = START + 14_000 * MS;
        for mho in run.lab.orchestrators() {
            extra(&mut run, mho.into(), late, |accepted, digest, _| {
                accepted.counter += 1;
                *digest += 1;
            });
        }
        run.history.entries.push(Entry { at, fact: Fact::Stall { who: "mho1".to_owned(), late: 150 * MS } });
        run.judge()
    };
    caught(&with(EVENT + 100 * MS), "generations");
    let judgement = with(START + 13_800 * MS);
    assert!(
        matches!(outcomes(&judgement)["generations"], Outcome::Invalid(_)),
        "{:?}",
        outcomes(&judgement)["generations"]
    );
}
