//! Two cables that pass one way only, of a group of two: the SMO hears neither the other member nor an orchestrator that
//! the other member still uses. The model found what came of it: two members carried the same flows.

use scalebed_cluster::Ablations;
use scalebed_frame::Generation;
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::explore::cases::Case;
use scalebed_harness::explore::trial::{self, Trial};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_record::history::Declared;
use scalebed_record::{Fact, Outcome};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{Fault, Kind};

const MS: u64 = 1_000_000;

fn lab() -> Lab {
    let shipped = include_str!("../../topologies/labs/maestro-single-site.yaml");
    let text = shipped.replace("\nmembers: 4", "\nmembers: 2");
    scalebed_topologies::load_lab("two members", &text).expect("a lab")
}

/// When `node` declared something first that fits.
fn first(trial: &Trial, node: &str, fits: impl Fn(&Declared) -> Option<Generation>) -> u64 {
    let declared = |fact: &Fact| match fact {
        Fact::Declared { node: who, what, .. } if who == node => fits(what),
        _ => None,
    };
    let second = |generation: Generation| generation.counter == 2;
    let found = trial.history.entries.iter().find(|entry| declared(&entry.fact).is_some_and(second));
    found.unwrap_or_else(|| panic!("{node} says nothing of generation 2")).at
}

fn accepted(what: &Declared) -> Option<Generation> {
    match what {
        Declared::Accepted { generation, .. } => Some(*generation),
        _ => None,
    }
}

fn activated(what: &Declared) -> Option<Generation> {
    match what {
        Declared::Activated(generation) => Some(*generation),
        _ => None,
    }
}

/// The SMO's frames come late to whom it does not hear, so that nothing but the barrier holds it back.
#[test]
fn fabric_an_orchestrator_that_only_the_other_one_hears_is_waited_for() {
    let lab = lab();
    let fault = |kind, target: &str, at_ms| Fault { at_ms, for_ms: 2_000, kind, target: target.to_owned() };
    let case = Case::of(vec![
        fault(Kind::Delay(80), "mho1--sgm-1-01", 1_990),
        fault(Kind::Delay(80), "mho2--sgm-1-02", 1_990),
        fault(Kind::Delay(80), "mho1--mho2", 1_990),
        fault(Kind::CutToB, "mho1--sgm-1-01", 2_000),
        fault(Kind::CutToA, "mho2--sgm-1-02", 2_000),
    ]);
    let trial = trial::run(&lab, &case, Ablations::default()).expect("a run");
    assert!(trial.violations.is_empty(), "{:#?}", trial.violations);
    let fenced_off = first(&trial, "mho1", accepted);
    let taken_over = first(&trial, "sgm-1-01", activated);
    assert!(fenced_off < taken_over, "the new owner began {} ns too early", fenced_off - taken_over);
    // The answer comes the way the Prepare went: over the pair cable there and back, 80 ms each.
    assert!(taken_over < fenced_off + 100 * MS, "{} ns", taken_over - fenced_off);
}

/// Nobody on the management network says anything: that nothing comes from there proves no cut. What goes there can be seen to
/// end, as long as the SMO announces its addresses.
#[test]
fn fabric_silence_proves_nothing_where_nothing_was_said_before() {
    let (lab, _) = files::lab("maestro-single-site").expect("a shipped lab");
    for (kind, proved) in [("cut-to-a", false), ("cut-to-b", true)] {
        let text = format!(
            "name: quiet\nabout: a quiet cable\nlab: maestro-single-site\ntraffic: small\nbaseline: 4s\nsettle: 4s\nevents:\n  \
             - at: 4s\n    fault: {{cables: [mho1--sw-mgmt], kinds: [{kind}], for: 3s}}\n    outcome: no-loss\n    \
             generations: 0\n"
        );
        let scenario = scalebed_topologies::load_scenario("quiet.yaml", &text, &lab).expect("a scenario");
        let mut world = Sim::new(&lab, 1);
        let settings = Settings { seed: 1, ..Settings::default() };
        let ran = driver::drive(&mut world, &lab, &scenario, settings, &mut |_| {}).expect("a run");
        let judgement = scalebed_checkers::judge(&ran.input(&lab, &scenario, "sim", 1));
        let verdict = judgement.verdicts.iter().find(|verdict| verdict.check == "cable-1").expect("a verdict");
        assert_eq!(verdict.outcome == Outcome::Pass, proved, "{kind}: {verdict:#?}");
        assert_eq!(matches!(verdict.outcome, Outcome::Invalid(_)), !proved, "{kind}: {verdict:#?}");
    }
}
