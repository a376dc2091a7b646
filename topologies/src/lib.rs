//! Labs and scenarios: as written (spec), validated and addressed (lab). Pure: text in, values or errors out; finding
//! files is the caller's business, and no path from a file is ever opened.

mod cable;
pub mod catalogue;
mod describe;
mod error;
pub mod fault;
mod group;
pub mod lab;
mod network;
pub mod platform;
mod prefix;
pub mod quirks;
mod reader;
mod resolve;
pub mod scenario;
mod spec;
mod yaml;

pub use error::{Error, Place, Problem};
pub use fault::Fault;
pub use lab::Lab;
pub use quirks::Quirks;
pub use scenario::Scenario;

use error::Problems;
use resolve::Cabled;
use spec::LabSpec;

/// Reads a lab. `name` is the file's name in messages.
///
/// # Errors
/// Every problem of the file, with line and column and what to write instead.
pub fn load_lab(name: &str, text: &str) -> Result<Lab, Error> {
    load(name, text, Cabled::as_written)
}

/// Reads a lab and cables up to `more` members beyond those of the file: fewer where the limits of the platform or of the
/// group allow fewer. They are absent and spare; everything else is as without them.
///
/// # Errors
/// Those of [`load_lab`].
pub fn load_lab_with_room(name: &str, text: &str, more: u8) -> Result<Lab, Error> {
    load(name, text, |spec| Cabled::with_room(spec, more))
}

/// Reads another text of a lab that is up, and cables it as that one is: with room for as many members, each in its place.
/// Where the file has more, it gets more.
///
/// # Errors
/// Those of [`load_lab`].
pub fn load_lab_as_cabled(name: &str, text: &str, up: &Lab) -> Result<Lab, Error> {
    let count = |members: usize| u8::try_from(members).unwrap_or(u8::MAX);
    let (first, all) = (count(up.first_members()), count(up.members().len()));
    load(name, text, |spec| Cabled { first, all: all.max(spec.members.value) })
}

fn load(name: &str, text: &str, cabled: impl FnOnce(&LabSpec) -> Cabled) -> Result<Lab, Error> {
    let mut problems = Problems::of(text);
    let lab = yaml::parse(text, &mut problems).and_then(|root| {
        let spec = spec::lab(&root, &mut problems)?;
        let mut lab = resolve::lab(&spec, &mut problems)?;
        // Cables and members have names only now.
        lab.absent = spec::absent(&root, &lab, &mut problems);
        lab.impairments = spec::impairments(&root, &lab, &mut problems);
        let cabled = cabled(&spec);
        if cabled == Cabled::as_written(&spec) {
            return Some(lab);
        }
        // There is room in a file only that is valid as it stands. Cables may have other indexes then.
        let mut roomy = resolve::cabled(&spec, cabled, &mut problems)?;
        let members = roomy.members();
        roomy.spare = members.into_iter().filter(|member| member.number > spec.members.value).collect();
        roomy.absent = lab.absent.iter().chain(&roomy.spare).copied().collect();
        roomy.impairments = spec::impairments(&root, &roomy, &mut problems);
        Some(roomy)
    });
    problems.finish(name, lab)
}

/// The name of the lab that a scenario is for.
///
/// # Errors
/// The file is not YAML, or names no lab.
pub fn lab_of_scenario(name: &str, text: &str) -> Result<String, Error> {
    let mut problems = Problems::of(text);
    let lab = yaml::parse(text, &mut problems).and_then(|root| spec::scenario::lab_name(&root, &mut problems));
    problems.finish(name, lab)
}

/// Reads a scenario and holds it against its lab.
///
/// # Errors
/// Every problem of the file, with line and column and what to write instead.
pub fn load_scenario(name: &str, text: &str, lab: &Lab) -> Result<Scenario, Error> {
    let mut problems = Problems::of(text);
    let scenario =
        yaml::parse(text, &mut problems).and_then(|root| spec::scenario::scenario(&root, lab, &mut problems));
    problems.finish(name, scenario)
}
