//! What is made of cables that did not do as they were told.

use scalebed_record::history::{Decided, Reordered};
use scalebed_record::{Entry, Fact, Outcome};
use scalebed_topologies::fault::Kind;
use scalebed_topologies::scenario::CableFault;

use super::cluster::{Mutant, Run, run};
use super::{EVENT, outcomes};

const CHECK: &str = "cable-decisions";

/// Words of the reason, and what was said otherwise.
type Edit = (&'static str, fn(&mut Decided));

/// A run whose lab impairs cable 0, with what its two ways were to do.
fn told(edit: impl Fn(&mut Decided)) -> Run {
    impaired(Kind::Loss(1), edit)
}

fn impaired(kind: Kind, edit: impl Fn(&mut Decided)) -> Run {
    let mut run = run("maestro/steady", Mutant::None);
    run.lab.impairments.push(CableFault { node: None, cables: vec![0], kinds: vec![kind], for_ms: 0 });
    let ledger = run.history.entries.iter().find_map(|entry| match entry.fact {
        Fact::Ledger { cable: 0, put_in_a, put_in_b, .. } => Some([put_in_a, put_in_b]),
        _ => None,
    });
    for (to_b, put_in) in [true, false].into_iter().zip(ledger.expect("a ledger")) {
        let mut said = Decided { to_b, put_in, ..Decided::default() };
        edit(&mut said);
        run.history.entries.push(Entry { at: 0, fact: Fact::Decided(said) });
    }
    run
}

#[test]
fn cables_that_did_as_they_were_told_pass() {
    let judgement = told(|_| {}).judge();
    assert_eq!(outcomes(&judgement).get(CHECK), Some(&&Outcome::Pass));
    let judgement = run("maestro/steady", Mutant::None).judge();
    assert_eq!(outcomes(&judgement).get(CHECK), None, "nothing is impaired");
}

#[test]
fn a_cable_that_did_anything_else_makes_a_run_invalid() {
    let edits: [Edit; 4] = [
        ("frame 7 did not come", |said| {
            (said.deviates, said.first) = (1, vec!["frame 7 did not come".to_owned()]);
        }),
        ("frames were put in", |said| said.put_in += 1),
        ("a frame came 0.0 ms late", |said| said.late = [0, 1]),
        ("nobody knows what it did", |said| said.cable = 1),
    ];
    for (words, edit) in edits {
        let judgement = told(edit).judge();
        let said = outcomes(&judgement);
        let Some(Outcome::Invalid(reason)) = said.get(CHECK) else { panic!("{words}: {said:?}") };
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // Whoever carries the rules out took one more than they say.
    let mut run = told(|_| {});
    let fact = Fact::Taken { cable: 0, a_to_b: 1, b_to_a: 0, doubled_a_to_b: 0, doubled_b_to_a: 0 };
    run.history.entries.push(Entry { at: 0, fact });
    assert!(matches!(outcomes(&run.judge()).get(CHECK), Some(Outcome::Invalid(_))));
}

/// How many frames were held back is counted where it was decided, as long as that was the rule for all that passed.
#[test]
fn the_share_that_was_held_back_is_judged() {
    let judged = |counts: &[(u32, [u64; 2])]| {
        let judgement = impaired(Kind::Reorder(5), |said| {
            let time = |(per_million, [passed, held_back]): &(u32, [u64; 2])| Reordered {
                per_million: *per_million,
                times: (EVENT, EVENT + 1),
                passed: *passed,
                held_back: *held_back,
            };
            said.reordered = counts.iter().map(time).collect();
        })
        .judge();
        let found =
            judgement.verdicts.iter().find(|verdict| verdict.check == "lab-cable-1").expect("a verdict").clone();
        (found.outcome, found.value)
    };
    let (outcome, value) = judged(&[(50_000, [4_000_000, 200_400]), (20_000, [4_000, 0])]);
    assert_eq!(outcome, Outcome::Pass);
    assert!(value.contains("200400 of 4000000 held back"), "{value}");
    let (outcome, _) = judged(&[(50_000, [2_000_000, 100_000]), (50_000, [2_000_000, 100_400])]);
    assert_eq!(outcome, Outcome::Pass, "told twice");
    for (what, counts) in [
        ("too few", &[(50_000, [4_000_000, 40_000])][..]),
        ("another share", &[(20_000, [4_000_000, 80_000])]),
        ("nobody was told", &[]),
        ("it did not stand for long", &[(50_000, [400, 20])]),
    ] {
        assert!(matches!(judged(counts).0, Outcome::Fail(_)), "{what}");
    }
}
