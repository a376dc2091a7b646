//! Same seed, same inputs: every engine's outputs are byte-identical, and so is the history.

use std::path::Path;
use std::process::Command;

use scalebed_fabric::Keep;
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::rundir::RunDir;
use scalebed_harness::seeds::{self, Batch};
use scalebed_harness::world::sim::Sim;
use scalebed_tests::programs;

/// Digests of every node's outputs, and the history, of one run.
fn run(scenario: &str, seed: u64) -> (Vec<u64>, String) {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let mut world = Sim::new(&loaded.lab, seed);
    world.fabric().keep(Keep { digests: true, ..Keep::default() });
    let settings = Settings { seed, ..Settings::default() };
    let ran = driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {}).expect("a run");
    let history = serde_json::to_string(&ran.evidence.history).expect("a history");
    (world.fabric().outputs_digest(), history)
}

#[test]
fn outputs_and_history_repeat_byte_for_byte() {
    for scenario in ["maestro/smo-kill", "elasticxl/pivot-kill"] {
        let (first, second) = (run(scenario, 1), run(scenario, 1));
        assert_eq!(first.0, second.0, "{scenario}: outputs");
        assert!(first.1 == second.1, "{scenario}: history");
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(run("maestro/hang-1-unit", 1).0, run("maestro/hang-1-unit", 2).0);
}

/// Tests are built with debug assertions and little optimisation, users' programs as releases.
#[test]
fn twenty_seeds_give_the_same_history_in_debug_and_release() {
    const NAMES: [&str; 2] = ["maestro/smo-kill", "elasticxl/member-kill"];
    const SEEDS: u64 = 10;
    let place = tempfile::tempdir().expect("a temporary directory");
    let (debug, release) = (place.path().join("debug"), place.path().join("release"));
    let scenarios = NAMES.map(|name| (name.to_owned(), files::scenario(name).expect("a shipped scenario"))).into();
    let batch = Batch { scenarios, first: 1, seeds: SEEDS, jobs: None, flows: Some(240), as_written: false };
    let dir = RunDir::create(Some(&debug), "seeds", 1).expect("a directory");
    seeds::simulate(&batch, &dir).expect("runs");
    let status = Command::new(programs().join("scalebed"))
        .arg("sim")
        .args(NAMES)
        .args(["--seeds", "10", "--flows", "240", "--out"])
        .arg(&release)
        .status()
        .expect("target/release/scalebed: run `make build`");
    assert!(status.success());
    let history = |root: &Path, name: &str, seed: u64| {
        let file = root.join(name.replace('/', "-")).join(format!("seed-{seed}")).join("history.jsonl");
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    for name in NAMES {
        for seed in 1..=SEEDS {
            let (one, other) = (history(&debug, name, seed), history(&release, name, seed));
            assert!(!one.is_empty() && one == other, "{name}, seed {seed}");
        }
    }
}
