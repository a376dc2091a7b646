//! The drawings of a report: each takes a record and gives SVG, or nothing where the record has nothing to show.

use scalebed_record::Record;
use scalebed_record::record::FaultRow;

use crate::svg::COLOURS;

mod members;
mod outages;
mod parts;
mod throughput;
mod timeline;
mod topology;

pub(crate) use members::{keys, shares, shares_beside};
pub(crate) use outages::{outages, outages_shown};
pub(crate) use parts::{failover, parts};
pub(crate) use throughput::{summary as loss_summary, whole, zoom};
pub(crate) use timeline::timeline;
pub(crate) use topology::topology;

/// Width of every drawing, in its own units: the page scales it.
pub(crate) const WIDTH: f64 = 1_080.0;

/// The number of a member's colour: its place among all members of the record, the same in every drawing.
pub(crate) fn colour(record: &Record, member: &str) -> usize {
    names(record).iter().position(|name| *name == member).map_or(COLOURS - 1, |place| place % COLOURS)
}

/// The class of an event's line: green for what mends, red for what breaks.
pub(crate) fn mark(record: &Record, fault: &FaultRow) -> &'static str {
    let heals = record.timeline.iter().any(|event| event.kind == "heal" && event.text == fault.text);
    if heals { "mark good" } else { "mark bad" }
}

/// Every member that the record knows, in order.
pub(crate) fn names(record: &Record) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    names.extend(record.throughput.members.iter().map(|(name, _)| name.as_str()));
    names.extend(record.members.iter().map(|row| row.member.as_str()));
    names.sort_unstable();
    names.dedup();
    names
}
