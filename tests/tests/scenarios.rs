//! Every shipped scenario in both worlds: in virtual time as a library, in namespaces as users run it. Those
//! with an @ have a twin that is run in namespaces, and are run in virtual time alone.

use std::path::Path;
use std::process::Command;

use scalebed_tests::worlds::{self, Ran};
use scalebed_tests::{needs_root, programs};

/// A scenario passes in the simulated world.
fn sim(scenario: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let ran = simulated(scenario, 1, place.path());
    assert_eq!(ran.record.outcome(), "pass", "{scenario}");
}

/// A scenario passes in namespaces: real processes, taps, kernel stamps.
fn netns(scenario: &str) {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let out = place.path().join("run");
    let ran = Command::new(programs().join("scalebed"))
        .args(["run", scenario, "--out"])
        .arg(&out)
        .output()
        .expect("target/release/scalebed, which `make build` makes");
    print!("{}", String::from_utf8_lossy(&ran.stdout));
    assert!(ran.status.success(), "{scenario}: {}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    let differences = worlds::differences(&Ran::load(&out), &simulated(scenario, 1, place.path()), unit_ms(scenario));
    assert!(differences.is_empty(), "{scenario}: the worlds differ\n{}", differences.join("\n"));
}

/// The same in virtual time, as users run it.
fn simulated(scenario: &str, seed: u64, place: &Path) -> Ran {
    let out = place.join(format!("sim-{}-{seed}", scenario.replace('/', "-")));
    let ran = Command::new(programs().join("scalebed"))
        .args(["run", scenario, "--world", "sim", "--seed", &seed.to_string(), "--out"])
        .arg(&out)
        .output()
        .expect("target/release/scalebed, which `make build` makes");
    assert!(ran.status.success(), "{scenario}: {}\n{}", ran.status, String::from_utf8_lossy(&ran.stdout));
    Ran::load(&out)
}

fn unit_ms(scenario: &str) -> f64 {
    f64::from(scalebed_harness::files::scenario(scenario).expect("a shipped scenario").lab.group.unit_ms)
}

/// What holds the worlds against each other sees another seed, another fault and another convergence.
#[test]
fn runs_that_are_not_the_same_differ() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let run = |scenario: &str, seed: u64| simulated(scenario, seed, place.path());
    let differ = |a: &Ran, b: &Ran| worlds::differences(a, b, 100.0);
    let kill = run("maestro/member-kill", 1);
    assert!(differ(&kill, &kill).is_empty());
    let has = |found: &[String], words: &str| found.iter().any(|line| line.contains(words));
    let seed = differ(&kill, &run("maestro/member-kill", 2));
    assert!(has(&seed, "flow 7 before kill sgm-1-03: owner"), "{seed:?}");
    let other = differ(&kill, &run("maestro/smo-kill", 1));
    assert!(has(&other, "generations:") && has(&other, "event kill sgm-1-03"), "{other:?}");
    let mut late = Ran::load(&place.path().join("sim-maestro-member-kill-1"));
    late.record.faults[0].full_ms = late.record.faults[0].full_ms.map(|ms| ms + 151.0);
    late.record.faults[0].moved_without += 1;
    late.record.survival[0].survived -= 15;
    late.record.verdicts.remove(0);
    let found = differ(&kill, &late);
    for words in ["full convergence", "buckets moved", "lost", "verdict"] {
        assert!(has(&found, words), "{words}: {found:?}");
    }
}

macro_rules! scenarios {
    ($($sim:ident $netns:ident $name:literal;)* $(@ $alone:ident $only:literal;)*) => {
        $(
            #[test]
            fn $sim() {
                sim($name);
            }

            #[test]
            fn $netns() {
                netns($name);
            }
        )*

        $(
            #[test]
            fn $alone() {
                sim($only);
            }
        )*

        #[test]
        fn every_shipped_scenario_is_here() {
            let here = [$($name,)* $($only),*];
            for name in scalebed_topologies::catalogue::scenario_names() {
                assert!(here.contains(&name), "{name} is shipped and not tested");
            }
        }
    };
}

scenarios! {
    sim_maestro_steady netns_maestro_steady "maestro/steady";
    sim_maestro_member_kill timing_maestro_member_kill "maestro/member-kill";
    sim_maestro_hosts_kill netns_maestro_hosts_kill "maestro/hosts-kill";
    sim_elasticxl_hosts_kill netns_elasticxl_hosts_kill "elasticxl/hosts-kill";
    sim_elasticxl_hosts_pivot_kill netns_elasticxl_hosts_pivot_kill "elasticxl/hosts-pivot-kill";
    sim_maestro_smo_kill timing_maestro_smo_kill "maestro/smo-kill";
    sim_maestro_hang_5_units netns_maestro_hang_5_units "maestro/hang-5-units";
    sim_maestro_hang_1_unit netns_maestro_hang_1_unit "maestro/hang-1-unit";
    sim_maestro_scale_out netns_maestro_scale_out "maestro/scale-out";
    sim_maestro_general_hide_nat netns_maestro_general_hide_nat "maestro/general-hide-nat";
    sim_maestro_mho_power_off netns_maestro_mho_power_off "maestro/mho-power-off";
    sim_maestro_downlink_down timing_maestro_downlink_down "maestro/downlink-down";
    sim_elasticxl_steady netns_elasticxl_steady "elasticxl/steady";
    sim_elasticxl_member_kill timing_elasticxl_member_kill "elasticxl/member-kill";
    sim_elasticxl_pivot_kill timing_elasticxl_pivot_kill "elasticxl/pivot-kill";
    sim_elasticxl_hang_5_units netns_elasticxl_hang_5_units "elasticxl/hang-5-units";
    sim_elasticxl_hang_1_unit netns_elasticxl_hang_1_unit "elasticxl/hang-1-unit";
    sim_elasticxl_scale_out netns_elasticxl_scale_out "elasticxl/scale-out";
    sim_elasticxl_general_hide_nat netns_elasticxl_general_hide_nat "elasticxl/general-hide-nat";
    sim_elasticxl_data_cable_down netns_elasticxl_data_cable_down "elasticxl/data-cable-down";
    sim_elasticxl_pivot_data_cable_down netns_elasticxl_pivot_data_cable_down "elasticxl/pivot-data-cable-down";
    sim_elasticxl_sync_cable_down netns_elasticxl_sync_cable_down "elasticxl/sync-cable-down";
    sim_elasticxl_sync_lossy netns_elasticxl_sync_lossy "elasticxl/sync-lossy";
    sim_maestro_downlink_one_way netns_maestro_downlink_one_way "maestro/downlink-one-way";
    sim_elasticxl_data_cable_flap netns_elasticxl_data_cable_flap "elasticxl/data-cable-flap";
    sim_elasticxl_data_cable_one_way netns_elasticxl_data_cable_one_way "elasticxl/data-cable-one-way";
    sim_elasticxl_data_cable_black_hole netns_elasticxl_data_cable_black_hole "elasticxl/data-cable-black-hole";
    sim_elasticxl_pivot_data_cable_rate netns_elasticxl_pivot_data_cable_rate "elasticxl/pivot-data-cable-rate";
    sim_elasticxl_sync_corrupt netns_elasticxl_sync_corrupt "elasticxl/sync-corrupt";
    sim_elasticxl_sync_disorder netns_elasticxl_sync_disorder "elasticxl/sync-disorder";
    sim_elasticxl_sync_cut_short netns_elasticxl_sync_cut_short "elasticxl/sync-cut-short";
    sim_elasticxl_data_cable_corrupt netns_elasticxl_data_cable_corrupt "elasticxl/data-cable-corrupt";
    sim_elasticxl_sync_jitter netns_elasticxl_sync_jitter "elasticxl/sync-jitter";
    sim_elasticxl_sync_network_down netns_elasticxl_sync_network_down "elasticxl/sync-network-down";
    sim_maestro_downlink_black_hole netns_maestro_downlink_black_hole "maestro/downlink-black-hole";
    sim_maestro_downlink_burst netns_maestro_downlink_burst "maestro/downlink-burst";
    sim_maestro_downlink_corrupt netns_maestro_downlink_corrupt "maestro/downlink-corrupt";
    sim_maestro_downlink_disorder netns_maestro_downlink_disorder "maestro/downlink-disorder";
    sim_maestro_downlink_flap netns_maestro_downlink_flap "maestro/downlink-flap";
    sim_maestro_downlink_lossy netns_maestro_downlink_lossy "maestro/downlink-lossy";
    sim_maestro_pair_cable_down netns_maestro_pair_cable_down "maestro/pair-cable-down";
    sim_maestro_uplink_leg_down netns_maestro_uplink_leg_down "maestro/uplink-leg-down";
    sim_maestro_uplink_rate netns_maestro_uplink_rate "maestro/uplink-rate";
    sim_maestro_member_isolated netns_maestro_member_isolated "maestro/member-isolated";
    @ sim_maestro_member_mute "maestro/member-mute";
    @ sim_elasticxl_member_deaf "elasticxl/member-deaf";
}
