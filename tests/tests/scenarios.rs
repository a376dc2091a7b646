//! Every shipped scenario in both worlds: in virtual time as a library, in namespaces as users run it.

use std::process::Command;

use scalebed_tests::{complaints, needs_root, programs, simulate};

/// A scenario passes in the simulated world.
fn sim(scenario: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let judged = simulate(scenario, &place.path().join("run"));
    assert_eq!(judged.record.outcome(), "pass", "{scenario}\n{}", complaints(&judged.record));
}

/// A scenario passes in namespaces: real processes, taps, kernel stamps.
fn netns(scenario: &str) {
    if needs_root(scenario) {
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
}

macro_rules! scenarios {
    ($($sim:ident $netns:ident $name:literal;)*) => {
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

        #[test]
        fn every_shipped_scenario_is_here() {
            let here = [$($name),*];
            for name in scalebed_topologies::catalogue::scenario_names() {
                assert!(here.contains(&name), "{name} is shipped and not tested");
            }
        }
    };
}

scenarios! {
    sim_maestro_steady netns_maestro_steady "maestro/steady";
    sim_maestro_member_kill netns_maestro_member_kill "maestro/member-kill";
    sim_maestro_smo_kill netns_maestro_smo_kill "maestro/smo-kill";
    sim_maestro_hang_5_units netns_maestro_hang_5_units "maestro/hang-5-units";
    sim_maestro_hang_1_unit netns_maestro_hang_1_unit "maestro/hang-1-unit";
    sim_maestro_scale_out netns_maestro_scale_out "maestro/scale-out";
    sim_maestro_general_hide_nat netns_maestro_general_hide_nat "maestro/general-hide-nat";
    sim_maestro_mho_power_off netns_maestro_mho_power_off "maestro/mho-power-off";
    sim_maestro_timing_kill timing_maestro_kill "maestro/timing-kill";
    sim_maestro_timing_downlink timing_maestro_downlink "maestro/timing-downlink";
    sim_elasticxl_timing_kill timing_elasticxl_kill "elasticxl/timing-kill";
    sim_maestro_downlink_down netns_maestro_downlink_down "maestro/downlink-down";
    sim_elasticxl_steady netns_elasticxl_steady "elasticxl/steady";
    sim_elasticxl_member_kill netns_elasticxl_member_kill "elasticxl/member-kill";
    sim_elasticxl_pivot_kill netns_elasticxl_pivot_kill "elasticxl/pivot-kill";
    sim_elasticxl_hang_5_units netns_elasticxl_hang_5_units "elasticxl/hang-5-units";
    sim_elasticxl_hang_1_unit netns_elasticxl_hang_1_unit "elasticxl/hang-1-unit";
    sim_elasticxl_scale_out netns_elasticxl_scale_out "elasticxl/scale-out";
    sim_elasticxl_general_hide_nat netns_elasticxl_general_hide_nat "elasticxl/general-hide-nat";
}
