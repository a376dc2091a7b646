//! Same seed, same inputs: every engine's outputs are byte-identical, and so is the history.

use scalebed_fabric::Keep;
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;

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
