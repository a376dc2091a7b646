//! What is made of cables that did not do as they were told.

use scalebed_record::history::Decided;
use scalebed_record::{Entry, Fact, Outcome};
use scalebed_topologies::fault::Kind;
use scalebed_topologies::scenario::CableFault;

use super::cluster::{Mutant, Run, run};
use super::outcomes;

const CHECK: &str = "cable-decisions";

/// Words of the reason, and what was said otherwise.
type Edit = (&'static str, fn(&mut Decided));

/// A run whose lab impairs cable 0, with what its two ways were to do.
fn told(edit: impl Fn(&mut Decided)) -> Run {
    let mut run = run("maestro/steady", Mutant::None);
    run.lab.impairments.push(CableFault { node: None, cables: vec![0], kinds: vec![Kind::Loss(1)], for_ms: 0 });
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
