//! What keepers answer, for people.

use std::fmt::Write as _;

use scalebed_engine::Status;

use super::place::Place;
use super::protocol::{LabStatus, NodeStatus, SeenFlow};

/// Rows in columns; the first row is the head.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _infallible = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Labs that are up.
pub fn labs(places: &[Place]) -> String {
    let mut rows = vec![row(&["NAME", "LAB", "KEEPER", "SINCE", "RUN DIRECTORY"])];
    for place in places {
        let keeper = if place.up { place.card.keeper.to_string() } else { "killed".to_owned() };
        let folder = place.card.folder.display().to_string();
        rows.push(vec![place.name.clone(), place.card.lab.clone(), keeper, place.card.since.clone(), folder]);
    }
    table(&rows)
}

/// A lab: its cluster first, then what is around it.
pub fn status(lab: &LabStatus) -> String {
    let mut text = format!("{} ({}, {}), up since {}\n", lab.name, lab.lab, lab.architecture, lab.since);
    let members: Vec<_> = of(lab, "member").collect();
    let active = members.iter().filter(|node| node.status.as_ref().is_some_and(|status| status.state == "active"));
    let _infallible = writeln!(text, "members {} / {} active", active.count(), members.len());
    if !lab.broken.is_empty() {
        let _infallible = writeln!(text, "broken: {}", lab.broken.join(", "));
    }
    text.push('\n');
    let head = ["MEMBER", "ID", "STATE", "ROLE", "GENERATION", "DIGEST", "BUCKETS", "CONNECTIONS", "COPIES"];
    let tail = ["CORRECTED", "HANDED OVER", "DROPS", "LAST CHANGE"];
    let mut rows = vec![row(&head).into_iter().chain(row(&tail)).collect::<Vec<_>>()];
    rows.extend(members.iter().map(|node| member(node)));
    text += &table(&rows);
    let orchestrators: Vec<_> = of(lab, "orchestrator").collect();
    if !orchestrators.is_empty() {
        let mut rows = vec![row(&["ORCHESTRATOR", "STATE", "GENERATION", "DIGEST", "DROPS", "LAST CHANGE"])];
        rows.extend(orchestrators.iter().map(|node| orchestrator(node)));
        let _infallible = write!(text, "\n{}", table(&rows));
    }
    let mut rows = vec![row(&["NODE", "KIND", "WHERE", "PROCESS"])];
    for node in lab.nodes.iter().filter(|node| !matches!(node.kind.as_str(), "member" | "orchestrator")) {
        let process = node.process.as_deref().unwrap_or("-");
        rows.push(row(&[&node.name, &node.kind, &node.detail, process]));
    }
    let _infallible = write!(text, "\n{}", table(&rows));
    let drops = drops(lab);
    if drops.len() > 1 {
        let _infallible = write!(text, "\n{}", table(&drops));
    }
    text
}

fn of<'a>(lab: &'a LabStatus, kind: &'a str) -> impl Iterator<Item = &'a NodeStatus> {
    lab.nodes.iter().filter(move |node| node.kind == kind)
}

/// What a node says it is, or what is known without its word.
fn state(node: &NodeStatus) -> String {
    match (&node.status, node.process.as_deref()) {
        (Some(status), _) => {
            let reason = status.reason.as_ref().filter(|reason| !reason.is_empty());
            reason.map_or_else(|| status.state.clone(), |reason| format!("{} ({reason})", status.state))
        }
        (None, Some("running")) => "silent".to_owned(),
        (None, Some(process)) => process.to_owned(),
        (None, None) => "not started".to_owned(),
    }
}

/// A node in a drawing: its role and state, where there is more to say than that it runs.
pub fn remark(node: &NodeStatus) -> String {
    let roles = node.status.iter().flat_map(|status| &status.roles).map(|role| format!("{role:?}").to_uppercase());
    let mut words: Vec<String> = roles.collect();
    match node.kind.as_str() {
        "member" | "orchestrator" => words.push(state(node)),
        _ => words.extend(node.process.clone().filter(|process| process != "running")),
    }
    words.join(" ")
}

fn last_change(node: &NodeStatus) -> String {
    node.last_change.as_ref().map_or(String::new(), |(at, text)| format!("{at:.1} s: {text}"))
}

fn generation(status: &Status) -> String {
    match (status.accepted, status.activated) {
        (Some(accepted), Some(activated)) if accepted == activated => accepted.to_string(),
        (Some(accepted), _) => format!("{accepted} (not active yet)"),
        (None, _) => "-".to_owned(),
    }
}

fn member(node: &NodeStatus) -> Vec<String> {
    let mut cells = vec![node.name.clone(), node.detail.clone(), state(node)];
    if let Some(status) = &node.status {
        let roles: Vec<_> = status.roles.iter().map(|role| format!("{role:?}").to_uppercase()).collect();
        let count = |name: &str| status.counters.get(name).copied().unwrap_or(0).to_string();
        cells.push(roles.join(" "));
        cells.push(generation(status));
        cells.push(format!("{:016x}", status.digest));
        cells.extend([status.buckets.to_string(), status.connections.to_string(), status.copies.to_string()]);
        cells.extend([count("corrected_out"), count("handover_out")]);
        cells.push(status.drops.values().sum::<u64>().to_string());
    } else {
        cells.extend((0..9).map(|_| "-".to_owned()));
    }
    cells.push(last_change(node));
    cells
}

fn orchestrator(node: &NodeStatus) -> Vec<String> {
    let mut cells = vec![node.name.clone(), state(node)];
    if let Some(status) = &node.status {
        cells.extend([generation(status), format!("{:016x}", status.digest)]);
        cells.push(status.drops.values().sum::<u64>().to_string());
    } else {
        cells.extend((0..3).map(|_| "-".to_owned()));
    }
    cells.push(last_change(node));
    cells
}

fn drops(lab: &LabStatus) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["DROPPED AT", "REASON", "FRAMES"])];
    for node in &lab.nodes {
        for (reason, frames) in node.status.iter().flat_map(|status| &status.drops).filter(|(_, frames)| **frames > 0) {
            rows.push(vec![node.name.clone(), reason.clone(), frames.to_string()]);
        }
    }
    rows
}

/// What taps saw of a flow.
pub fn seen(seen: &SeenFlow) -> String {
    if seen.places.is_empty() {
        return "seen       nothing of it lately\n".to_owned();
    }
    let mut text = String::new();
    for place in &seen.places {
        let way = if place.back { "back" } else { "forward" };
        let shim = place.shim.as_ref().map_or(String::new(), |shim| format!(" as {shim}"));
        let frames = if place.frames == 1 { "frame" } else { "frames" };
        let nat = if place.translated { ", translated" } else { "" };
        let _infallible =
            writeln!(text, "seen       {} > {}: {} {frames} {way}{shim}{nat}", place.from, place.to, place.frames);
    }
    text
}
