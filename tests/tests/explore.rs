//! Exploration in virtual time: what was once found stays mended, what is switched off is found, and seeds repeat.

use std::path::Path;
use std::process::Command;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use scalebed_checkers::last_man;
use scalebed_cluster::Ablations;
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::explore::cases::{self, Case};
use scalebed_harness::explore::repro::Repro;
use scalebed_harness::explore::{self, shrink, trial};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_record::Fact;
use scalebed_record::history::Declared;
use scalebed_tests::programs;
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{Fault, Kind};

const LABS: [&str; 2] = ["maestro-single-site", "elasticxl-single-site"];
/// Random cases in which the absence of a safeguard must show.
const SEEDS: u64 = 200;

fn lab(name: &str) -> Lab {
    files::lab(name).expect("a shipped lab").0
}

/// Every file of the corpus: found once, mended since.
#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files: Vec<_> =
        std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("a file").path()).collect();
    assert!(!files.is_empty());
    files.into_par_iter().for_each(|path| {
        let repro = Repro::load(&path).expect("a repro");
        let trial = repro.replay().expect("a run");
        assert!(trial.violations.is_empty(), "{}: {:#?}", path.display(), trial.violations);
    });
}

/// Each fault alone on each role; every fifth case here, all of them in tier soak and in `scalebed explore`.
#[test]
fn no_single_fault_violates_an_invariant() {
    for name in LABS {
        let lab = lab(name);
        let alone = cases::systematic(&lab).into_iter().filter(|case| case.stage == "alone");
        let some: Vec<Case> = alone.step_by(if scalebed_tests::soak() { 1 } else { 5 }).collect();
        some.into_par_iter().for_each(|case| {
            let trial = trial::run(&lab, &case, Ablations::default()).expect("a run");
            assert!(trial.violations.is_empty(), "{name} {:?}: {:#?}", case.faults, trial.violations);
        });
    }
}

/// The invariant that catches the absence of a safeguard, in the first of [`SEEDS`] random cases that shows it. All runs
/// end: nothing here is caught by a crash.
fn caught(safeguard: &str, lab_name: &str, invariant: &str) -> (Case, Ablations) {
    let lab = lab(lab_name);
    let ablations = explore::ablations(&[safeguard.to_owned()]).expect("a safeguard");
    let case = explore::hunt(&lab, ablations, invariant, SEEDS).expect("runs that end");
    let case = case.unwrap_or_else(|| panic!("{invariant} misses that there is no {safeguard}"));
    // With the safeguard the same case is harmless.
    let trial = trial::run(&lab, &case, Ablations::default()).expect("a run");
    assert!(!trial.violated().contains(&invariant), "{invariant} fails with {safeguard} too: {:?}", case.faults);
    (case, ablations)
}

macro_rules! ablations {
    ($($name:ident: $safeguard:literal on $lab:literal by $invariant:literal;)*) => {
        $(#[test]
        fn $name() {
            caught($safeguard, $lab, $invariant);
        })*
    };
}

ablations! {
    no_fence_is_caught: "fence" on "maestro-single-site" by "s02-one-carrier";
    no_barrier_is_caught: "barrier" on "maestro-single-site" by "s02-one-carrier";
    no_self_fence_is_caught: "self-fence" on "maestro-single-site" by "s19-self-fence";
    no_lease_is_caught: "lease" on "elasticxl-single-site" by "s02-one-carrier";
    no_minimal_move_is_caught: "minimal-move" on "maestro-single-site" by "s09-minimal-disruption";
    no_backup_sync_is_caught: "backup-sync" on "maestro-single-site" by "l05-connections";
    no_backup_sync_leaves_connections_alone: "backup-sync" on "elasticxl-single-site" by "l03-backups";
    no_sync_at_once_is_caught: "sync-at-once" on "maestro-single-site" by "s17-known-at-once";
    no_port_ranges_are_caught: "port-ranges" on "maestro-single-site" by "s10-nat-unique";
    no_port_learning_is_caught: "port-learning" on "maestro-single-site" by "s10-nat-unique";
    no_read_is_caught: "read" on "maestro-single-site" by "l01-one-view";
    no_incarnation_is_caught: "incarnation" on "maestro-single-site" by "s22-left-out-stays-out";
    no_previous_owner_is_caught: "previous-owner" on "maestro-single-site" by "l05-binding";
    no_echo_guard_is_caught: "echo-guard" on "elasticxl-single-site" by "s16-no-echo";
}

#[test]
fn a_find_is_made_small_and_replays() {
    let (case, ablations) = caught("echo-guard", "maestro-single-site", "s16-no-echo");
    let lab = lab("maestro-single-site");
    let shrunk = shrink::shrink(&lab, &case, "s16-no-echo", ablations).expect("runs that end");
    assert_eq!(shrunk.case.faults.len(), 1, "an echo needs no fault but the one that a case must have");
    let repro = Repro {
        invariant: "s16-no-echo".to_owned(),
        lab: lab.name.clone(),
        seed: shrunk.case.seed,
        general: shrunk.case.general,
        quirks: Vec::new(),
        ipv6_percent: shrunk.case.ipv6_percent,
        full: None,
        commit: "test".to_owned(),
        ablate: vec!["echo-guard".to_owned()],
        faults: shrunk.case.faults,
    };
    let again = Repro::parse("again", &repro.to_yaml().expect("yaml")).expect("a repro");
    assert_eq!(again, repro);
    assert!(again.replay().expect("a run").violated().contains(&"s16-no-echo"));
}

/// S14 is judged by the reasons that members give: they are still the engine's words.
#[test]
fn soft_reasons_are_said_in_the_words_that_the_judge_knows() {
    let lab = lab("elasticxl-single-site");
    for (cable, words) in ["member-1-02--sw-outside", "member-1-02--sw-sync"].into_iter().zip(last_man::SOFT) {
        let fault = Fault { at_ms: 1_500, for_ms: 1_500, kind: Kind::Unplug, target: cable.to_owned() };
        let case = Case { faults: vec![fault], ..cases::systematic(&lab).swap_remove(0) };
        let trial = trial::run(&lab, &case, Ablations::default()).expect("a run");
        let said = trial.history.entries.iter().filter_map(|entry| match &entry.fact {
            Fact::Declared { node, what: Declared::Fenced(reason), .. } if node == "member-1-02" => Some(reason),
            _ => None,
        });
        let said: Vec<&String> = said.collect();
        assert!(said.iter().any(|reason| reason.starts_with(words)), "{cable}: {said:?}");
    }
}

#[test]
fn bad_repros_are_refused() {
    let bad = |text: &str| Repro::parse("x.yaml", text).expect_err("must refuse").to_string();
    let head = "invariant: s10\nlab: maestro-single-site\nseed: 1\ncommit: c\n";
    let text = bad(&format!("{head}faults:\n- {{at-ms: 1, for-ms: 1, kind: kill, target: sgm-9-99}}\n"));
    assert!(text.contains("`sgm-9-99` is no member or orchestrator"), "{text}");
    let text = bad(&format!("{head}faults:\n- {{at-ms: 1, for-ms: 1, kind: explode, target: sgm-1-01}}\n"));
    assert!(text.contains("explode") && text.contains("line 6"), "{text}");
    let text = bad(&format!("{head}ablate: [brakes]\nfaults: []\n"));
    assert!(text.contains("no safeguard is named `brakes`"), "{text}");
}

/// 60 seeds of the failover scenarios, 200 flows and more, as users run them.
#[test]
fn sixty_seeds_of_failover_pass() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let ran = Command::new(programs().join("scalebed"))
        .args(["sim", "maestro/member-kill", "maestro/smo-kill", "maestro/mho-power-off", "maestro/hang-5-units"])
        .args(["elasticxl/member-kill", "elasticxl/pivot-kill", "--seeds", "10", "--flows", "240", "--out"])
        .arg(place.path().join("seeds"))
        .output()
        .expect("target/release/scalebed, which `make build` makes");
    assert!(ran.status.success(), "{}\n{}", ran.status, String::from_utf8_lossy(&ran.stdout));
    let runs = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.join("verdicts.json").exists()).count()
    };
    let folders = std::fs::read_dir(place.path().join("seeds")).expect("a run directory");
    let folders = folders.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    assert_eq!(folders.map(|folder| runs(&folder)).sum::<usize>(), 60);
}

/// 20 seeds twice: every byte of the history is the same.
#[test]
fn twenty_seeds_repeat_byte_for_byte() {
    let loaded = files::scenario("maestro/member-kill").expect("a shipped scenario");
    let history = |seed: u64| {
        let mut scenario = loaded.scenario.clone();
        scenario.traffic.population = 120;
        scenario.traffic.probe_rate = 20;
        let mut world = Sim::new(&loaded.lab, seed);
        let settings = Settings { seed, ..Settings::default() };
        let ran = driver::drive(&mut world, &loaded.lab, &scenario, settings, &mut |_| {}).expect("a run");
        serde_json::to_vec(&ran.evidence.history).expect("json")
    };
    let outcomes: Vec<bool> = (1..=20u64).into_par_iter().map(|seed| history(seed) == history(seed)).collect();
    assert!(outcomes.into_iter().all(|same| same));
    assert_ne!(history(1), history(2), "the seed matters");
}
