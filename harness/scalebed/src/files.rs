//! Finding labs and scenarios: by path, or by the name of one that is shipped.

use std::path::Path;

use scalebed_topologies::{Lab, Scenario, catalogue};

use crate::exit::{self, Failure};

/// A scenario with its lab, overrides applied, and both texts as they were read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The lab with the scenario's overrides.
    pub lab: Lab,
    /// The scenario.
    pub scenario: Scenario,
    /// The lab file's text.
    pub lab_text: String,
    /// The scenario file's text.
    pub scenario_text: String,
}

/// A file's name for messages, and its text.
fn read(name: &str, shipped: impl Fn(&str) -> Option<&'static str>, kind: &str) -> Result<(String, String), Failure> {
    if let Some(text) = shipped(name) {
        return Ok((name.to_owned(), text.to_owned()));
    }
    if !Path::new(name).exists() && Path::new(name).extension().is_none() {
        let known = if kind == "lab" { catalogue::lab_names() } else { catalogue::scenario_names() };
        return Err(Failure::new(
            exit::BAD_FILE,
            format!("no {kind} is named `{name}`, and there is no such file; shipped: {}", known.join(", ")),
        ));
    }
    std::fs::read_to_string(name)
        .map(|text| (name.to_owned(), text))
        .map_err(|error| Failure::new(exit::BAD_FILE, format!("{name}: cannot read the {kind} file: {error}")))
}

/// Loads a lab by path or shipped name.
///
/// # Errors
/// [`exit::BAD_FILE`] with file, line, column and what to write instead.
pub fn lab(name: &str) -> Result<(Lab, String), Failure> {
    lab_with_room(name, 0)
}

/// Loads a lab by path or shipped name, with room for up to `more` members to come.
///
/// # Errors
/// As [`lab`].
pub fn lab_with_room(name: &str, more: u8) -> Result<(Lab, String), Failure> {
    let (file, text) = read(name, catalogue::lab_text, "lab")?;
    let lab = scalebed_topologies::load_lab_with_room(&file, &text, more)
        .map_err(|error| Failure::new(exit::BAD_FILE, error.to_string()))?;
    Ok((lab, text))
}

/// Loads a scenario by path or shipped name, with its lab. A lab named in a scenario file is a shipped one or a file
/// beside the scenario's.
///
/// # Errors
/// [`exit::BAD_FILE`].
pub fn scenario(name: &str) -> Result<Loaded, Failure> {
    let (file, scenario_text) = read(name, catalogue::scenario_text, "scenario")?;
    let bad = |error: scalebed_topologies::Error| Failure::new(exit::BAD_FILE, error.to_string());
    let lab_name = scalebed_topologies::lab_of_scenario(&file, &scenario_text).map_err(bad)?;
    let beside = Path::new(&file).with_file_name(&lab_name).with_extension("yaml");
    let lab_file = match catalogue::lab_text(&lab_name) {
        Some(_) => lab_name,
        None => beside.to_string_lossy().into_owned(),
    };
    let (base, lab_text) = lab(&lab_file)?;
    let scenario = scalebed_topologies::load_scenario(&file, &scenario_text, &base).map_err(bad)?;
    let lab = base.with(&scenario.overrides);
    Ok(Loaded { lab, scenario, lab_text, scenario_text })
}

/// A stable 64-bit hash, for digests of configurations and files (SipHash-2-4, key zero).
#[must_use]
pub fn hash64(bytes: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Is this the name of a shipped scenario, or a file that looks like one? (A scenario names its lab at the top level.)
#[must_use]
pub fn is_scenario(name: &str) -> bool {
    catalogue::scenario_text(name).is_some()
        || catalogue::lab_text(name).is_none()
            && std::fs::read_to_string(name).is_ok_and(|text| text.lines().any(|line| line.starts_with("lab:")))
}
