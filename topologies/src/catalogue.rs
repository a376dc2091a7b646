//! The labs and scenarios that are shipped, inside the binary.

use crate::error::Error;
use crate::lab::{Architecture, Lab};
use crate::scenario::Scenario;

/// Shipped labs: name and text.
const LABS: [(&str, &str); 3] = [
    ("elasticxl-single-site", include_str!("../labs/elasticxl-single-site.yaml")),
    ("maestro-31-members", include_str!("../labs/maestro-31-members.yaml")),
    ("maestro-single-site", include_str!("../labs/maestro-single-site.yaml")),
];

/// Shipped scenarios: name and text.
const SCENARIOS: [(&str, &str); 46] = [
    ("elasticxl/data-cable-black-hole", include_str!("../scenarios/elasticxl/data-cable-black-hole.yaml")),
    ("elasticxl/data-cable-corrupt", include_str!("../scenarios/elasticxl/data-cable-corrupt.yaml")),
    ("elasticxl/data-cable-down", include_str!("../scenarios/elasticxl/data-cable-down.yaml")),
    ("elasticxl/data-cable-flap", include_str!("../scenarios/elasticxl/data-cable-flap.yaml")),
    ("elasticxl/data-cable-one-way", include_str!("../scenarios/elasticxl/data-cable-one-way.yaml")),
    ("elasticxl/general-hide-nat", include_str!("../scenarios/elasticxl/general-hide-nat.yaml")),
    ("elasticxl/hang-1-unit", include_str!("../scenarios/elasticxl/hang-1-unit.yaml")),
    ("elasticxl/hang-5-units", include_str!("../scenarios/elasticxl/hang-5-units.yaml")),
    ("elasticxl/hosts-kill", include_str!("../scenarios/elasticxl/hosts-kill.yaml")),
    ("elasticxl/hosts-pivot-kill", include_str!("../scenarios/elasticxl/hosts-pivot-kill.yaml")),
    ("elasticxl/member-deaf", include_str!("../scenarios/elasticxl/member-deaf.yaml")),
    ("elasticxl/member-kill", include_str!("../scenarios/elasticxl/member-kill.yaml")),
    ("elasticxl/pivot-data-cable-down", include_str!("../scenarios/elasticxl/pivot-data-cable-down.yaml")),
    ("elasticxl/pivot-data-cable-rate", include_str!("../scenarios/elasticxl/pivot-data-cable-rate.yaml")),
    ("elasticxl/pivot-kill", include_str!("../scenarios/elasticxl/pivot-kill.yaml")),
    ("elasticxl/scale-out", include_str!("../scenarios/elasticxl/scale-out.yaml")),
    ("elasticxl/steady", include_str!("../scenarios/elasticxl/steady.yaml")),
    ("elasticxl/sync-cable-down", include_str!("../scenarios/elasticxl/sync-cable-down.yaml")),
    ("elasticxl/sync-corrupt", include_str!("../scenarios/elasticxl/sync-corrupt.yaml")),
    ("elasticxl/sync-cut-short", include_str!("../scenarios/elasticxl/sync-cut-short.yaml")),
    ("elasticxl/sync-disorder", include_str!("../scenarios/elasticxl/sync-disorder.yaml")),
    ("elasticxl/sync-jitter", include_str!("../scenarios/elasticxl/sync-jitter.yaml")),
    ("elasticxl/sync-lossy", include_str!("../scenarios/elasticxl/sync-lossy.yaml")),
    ("elasticxl/sync-network-down", include_str!("../scenarios/elasticxl/sync-network-down.yaml")),
    ("maestro/downlink-black-hole", include_str!("../scenarios/maestro/downlink-black-hole.yaml")),
    ("maestro/downlink-burst", include_str!("../scenarios/maestro/downlink-burst.yaml")),
    ("maestro/downlink-corrupt", include_str!("../scenarios/maestro/downlink-corrupt.yaml")),
    ("maestro/downlink-disorder", include_str!("../scenarios/maestro/downlink-disorder.yaml")),
    ("maestro/downlink-down", include_str!("../scenarios/maestro/downlink-down.yaml")),
    ("maestro/downlink-flap", include_str!("../scenarios/maestro/downlink-flap.yaml")),
    ("maestro/downlink-lossy", include_str!("../scenarios/maestro/downlink-lossy.yaml")),
    ("maestro/downlink-one-way", include_str!("../scenarios/maestro/downlink-one-way.yaml")),
    ("maestro/general-hide-nat", include_str!("../scenarios/maestro/general-hide-nat.yaml")),
    ("maestro/hang-1-unit", include_str!("../scenarios/maestro/hang-1-unit.yaml")),
    ("maestro/hang-5-units", include_str!("../scenarios/maestro/hang-5-units.yaml")),
    ("maestro/hosts-kill", include_str!("../scenarios/maestro/hosts-kill.yaml")),
    ("maestro/member-isolated", include_str!("../scenarios/maestro/member-isolated.yaml")),
    ("maestro/member-kill", include_str!("../scenarios/maestro/member-kill.yaml")),
    ("maestro/member-mute", include_str!("../scenarios/maestro/member-mute.yaml")),
    ("maestro/mho-power-off", include_str!("../scenarios/maestro/mho-power-off.yaml")),
    ("maestro/pair-cable-down", include_str!("../scenarios/maestro/pair-cable-down.yaml")),
    ("maestro/scale-out", include_str!("../scenarios/maestro/scale-out.yaml")),
    ("maestro/smo-kill", include_str!("../scenarios/maestro/smo-kill.yaml")),
    ("maestro/steady", include_str!("../scenarios/maestro/steady.yaml")),
    ("maestro/uplink-leg-down", include_str!("../scenarios/maestro/uplink-leg-down.yaml")),
    ("maestro/uplink-rate", include_str!("../scenarios/maestro/uplink-rate.yaml")),
];

/// Text of a shipped lab.
#[must_use]
pub fn lab_text(name: &str) -> Option<&'static str> {
    LABS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names of the shipped labs.
#[must_use]
pub fn lab_names() -> Vec<&'static str> {
    LABS.iter().map(|(name, _)| *name).collect()
}

/// A shipped lab; `None` if there is none of this name.
///
/// # Errors
/// The shipped file is not valid (a bug: a test loads each).
pub fn lab(name: &str) -> Option<Result<Lab, Error>> {
    lab_text(name).map(|text| crate::load_lab(name, text))
}

/// Text of a shipped scenario, `maestro/steady` and the like.
#[must_use]
pub fn scenario_text(name: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names of the shipped scenarios, in order.
#[must_use]
pub fn scenario_names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|(name, _)| *name).collect()
}

/// A shipped scenario with its lab, the scenario's changes to the group applied; `None` if there is none of this name.
///
/// # Errors
/// A shipped file is not valid (a bug: a test loads each).
pub fn scenario(name: &str) -> Option<Result<(Lab, Scenario), Error>> {
    let text = scenario_text(name)?;
    let load = || {
        let lab = crate::lab_of_scenario(name, text)?;
        let lab = crate::load_lab(&lab, lab_text(&lab).unwrap_or_default())?;
        let scenario = crate::load_scenario(name, text, &lab)?;
        Ok((lab.with(&scenario.overrides), scenario))
    };
    Some(load())
}

/// What the demonstration runs on a lab: steady (also the control), the loss of a member, and of the role holder, each
/// with its return; Maestro also the loss of an orchestrator.
#[must_use]
pub const fn demo(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Maestro => {
            &["maestro/steady", "maestro/member-kill", "maestro/smo-kill", "maestro/mho-power-off"]
        }
        Architecture::ElasticXl => &["elasticxl/steady", "elasticxl/member-kill", "elasticxl/pivot-kill"],
    }
}

/// What the whole comparison runs on a lab: the demonstration, scale-out, and the costliest case of the algebra.
#[must_use]
pub const fn compare(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Maestro => &[
            "maestro/steady",
            "maestro/member-kill",
            "maestro/smo-kill",
            "maestro/mho-power-off",
            "maestro/scale-out",
            "maestro/general-hide-nat",
        ],
        Architecture::ElasticXl => &[
            "elasticxl/steady",
            "elasticxl/member-kill",
            "elasticxl/pivot-kill",
            "elasticxl/scale-out",
            "elasticxl/general-hide-nat",
        ],
    }
}
