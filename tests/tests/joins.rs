//! What joins ask of those who serve already: a joiner may be sent to before its own Prepare has come, and one that served
//! alone must not take it for company that does not hear it.

use scalebed_cluster::Ablations;
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::explore::cases::Case;
use scalebed_harness::explore::trial;
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_record::history::Declared;
use scalebed_record::{Fact, Outcome};
use scalebed_topologies::fault::{Fault, Kind};

/// Of two cables one is slow, so that one orchestrator sends what the Prepare that goes by the other one says.
#[test]
fn fabric_a_joiner_lets_wait_what_comes_before_its_prepare() {
    let loaded = files::scenario("maestro/scale-out").expect("a shipped scenario");
    for slow in ["mho1--sgm-1-04", "mho2--sgm-1-04"] {
        let delay = Fault { at_ms: 4_000, for_ms: 6_000, kind: Kind::Delay(20), target: slow.to_owned() };
        let mut world = Sim::new(&loaded.lab, 1);
        let settings = Settings { seed: 1, ..Settings::default() };
        let ran = driver::drive_with(&mut world, &loaded.lab, &loaded.scenario, &[delay], settings, &mut |_| {});
        let ran = ran.expect("a run");
        let judgement = scalebed_checkers::judge(&ran.input(&loaded.lab, &loaded.scenario, "sim", 1));
        let complaints: Vec<_> = judgement.verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Pass).collect();
        assert!(complaints.is_empty(), "{slow}: {complaints:#?}");
    }
}

#[test]
fn fabric_a_pivot_that_served_alone_goes_on_when_others_join() {
    let loaded = files::scenario("elasticxl/steady").expect("a shipped scenario");
    let killed = |target: &str, for_ms| Fault { at_ms: 1_500, for_ms, kind: Kind::Kill, target: target.to_owned() };
    let case = Case::of(vec![killed("member-1-02", 3_000), killed("member-1-03", 4_000)]);
    let trial = trial::run(&loaded.lab, &case, Ablations::default()).expect("a run");
    assert!(trial.violations.is_empty(), "{:#?}", trial.violations);
    let of_pivot = trial.history.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Declared { node, text, .. } if node == "member-1-01" => Some(text.as_str()),
        _ => None,
    });
    let said: Vec<&str> = of_pivot.collect();
    assert!(said.iter().any(|text| text.ends_with("1_03 joins")), "{said:#?}");
    assert!(!said.iter().any(|text| text.starts_with("fences itself")), "{said:#?}");
}

/// It asked while nobody heard it, and asks again: it does not sit out the time that a join may take (5 s).
#[test]
fn fabric_a_joiner_that_was_not_heard_is_back_soon_after_it_is() {
    for (scenario, member) in [("maestro/steady", "sgm-1-02"), ("elasticxl/steady", "member-1-02")] {
        let loaded = files::scenario(scenario).expect("a shipped scenario");
        for for_ms in [2_400, 3_000, 4_500] {
            let mute = Fault { at_ms: 1_500, for_ms, kind: Kind::Mute, target: member.to_owned() };
            let trial = trial::run(&loaded.lab, &Case::of(vec![mute]), Ablations::default()).expect("a run");
            assert!(trial.violations.is_empty(), "{:#?}", trial.violations);
            let healed = trial.history.entries.iter().filter_map(|entry| match &entry.fact {
                Fact::Operation { after, .. } => Some(*after),
                _ => None,
            });
            let healed = healed.max().expect("an operation");
            let active = trial.history.entries.iter().find_map(|entry| match &entry.fact {
                Fact::Declared { node, what: Declared::State(state), .. } if node == member && state == "active" => {
                    (entry.at > healed).then_some(entry.at)
                }
                _ => None,
            });
            let after = (active.expect("it joins") - healed) / 1_000_000;
            assert!(after <= 1_000, "{member}, mute for {for_ms} ms: active {after} ms after it was heard again");
        }
    }
}
