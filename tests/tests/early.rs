//! A joiner that is sent to before its own Prepare has come: what admitted it takes another way to the orchestrators.

use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_record::Outcome;
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
