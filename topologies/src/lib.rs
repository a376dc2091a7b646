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

/// Reads a lab. `name` is the file's name in messages.
///
/// # Errors
/// Every problem of the file, with line and column and what to write instead.
pub fn load_lab(name: &str, text: &str) -> Result<Lab, Error> {
    let mut problems = Problems::of(text);
    let lab = yaml::parse(text, &mut problems).and_then(|root| {
        let spec = spec::lab(&root, &mut problems)?;
        let mut lab = resolve::lab(&spec, &mut problems)?;
        // Cables and members have names only now.
        lab.absent = spec::absent(&root, &lab, &mut problems);
        lab.impairments = spec::impairments(&root, &lab, &mut problems);
        Some(lab)
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
