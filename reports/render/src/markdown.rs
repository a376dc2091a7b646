//! Records and comparisons as Markdown, for a terminal, a pull request, a mail.

use std::fmt::Write as _;

use scalebed_record::comparison::{Cell, Comparison};
use scalebed_record::record::{FaultRow, Record};
use scalebed_record::verdict::Outcome;

use crate::charts;
use crate::words::{REPLAY, millis, percent, seconds, share, size, thousands};

/// A text that can't end its cell, open a tag or start a link.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A Markdown table under way; nothing is written for one without rows.
struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| safe(cell)).collect());
    }

    fn write(&self, title: &str, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        // Writing to a string can't fail.
        let _ = writeln!(out, "\n## {title}\n\n| {} |", self.head.join(" | "));
        let _ = writeln!(out, "|{}", " --- |".repeat(self.head.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
    }
}

pub(crate) fn run(record: &Record) -> String {
    let mut out = String::new();
    let (outcome, name) = (record.outcome(), safe(&record.scenario));
    let _ = writeln!(out, "# {name} on {}: {outcome}\n", safe(&record.lab));
    replay(record, &mut out);
    let _ = writeln!(out, "{}\n", safe(&record.about));
    let _ = writeln!(out, "World {}, seed {}, {}.", safe(&record.world), record.seed, safe(&record.started));
    let _ = writeln!(out, "\nRepeat it: {}", safe(&record.command));
    verdicts(record, &mut out);
    faults(record, &mut out);
    members(record, &mut out);
    cluster(record, &mut out);
    let mut latency = Table::new(&["one-way delay", "µs"]);
    record.latency_us.iter().for_each(|(name, us)| latency.row(&[name, &format!("{us:.0}")]));
    latency.write("Latency", &mut out);
    let mut ledger = Table::new(&["cable", "a to b: in", "out", "b to a: in", "out"]);
    for row in &record.ledger {
        let counts = [row.a_to_b.0, row.a_to_b.1, row.b_to_a.0, row.b_to_a.1].map(thousands);
        ledger.row(&[&row.cable, &counts[0], &counts[1], &counts[2], &counts[3]]);
    }
    ledger.write("Ledger, frames", &mut out);
    let mut environment = Table::new(&["environment", ""]);
    record.environment.iter().for_each(|(name, value)| environment.row(&[name, value]));
    environment.write("Environment", &mut out);
    if !record.notes.is_empty() {
        let _ = writeln!(out, "\n## Notes\n");
        record.notes.iter().for_each(|note| out.push_str(&format!("- {}\n", safe(note))));
    }
    out
}

/// What to do first with a run that failed.
fn replay(record: &Record, out: &mut String) {
    let Some(replay) = &record.replay else { return };
    let kept: Vec<_> =
        replay.journals.iter().map(|(path, bytes)| format!("{} ({})", safe(path), size(*bytes))).collect();
    let _ = writeln!(out, "**Replay it first:** {}\n\n{REPLAY}\n\nKept: {}.\n", safe(&replay.command), kept.join(", "));
}

fn verdicts(record: &Record, out: &mut String) {
    let mut table = Table::new(&["verdict", "check", "value", "accuracy", "limit"]);
    let mut evidence = String::new();
    for verdict in &record.verdicts {
        let word = match &verdict.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail(lines) => {
                let _ = writeln!(evidence, "\n{} fails:\n", safe(&verdict.check));
                lines.iter().for_each(|line| evidence.push_str(&format!("- {}\n", safe(line))));
                "**fail**"
            }
            Outcome::Invalid(reason) => {
                let _ = writeln!(evidence, "\n{} is invalid: {}", safe(&verdict.check), safe(reason));
                "**invalid**"
            }
        };
        table.rows.push(
            std::iter::once(word.to_owned())
                .chain([&verdict.check, &verdict.value, &verdict.accuracy, &verdict.limit].map(|text| safe(text)))
                .collect(),
        );
    }
    table.write("Verdicts", out);
    out.push_str(&evidence);
}

/// `detect 300 ms, decide 2 ms, ...`, in the order in which they happen.
pub(crate) fn parts(fault: &FaultRow) -> String {
    let parts = charts::parts(fault);
    parts.into_iter().map(|(name, ms)| format!("{name} {}", millis(ms))).collect::<Vec<_>>().join(", ")
}

fn faults(record: &Record, out: &mut String) {
    let mut table =
        Table::new(&["event", "at", "outcome", "hurt flows", "predicted", "first", "full", "parts", "lost packets"]);
    let time = |ms: Option<f64>| ms.map_or("-".to_owned(), millis);
    for fault in &record.faults {
        table.row(&[
            &fault.text,
            &format!("{} ± {}", seconds(fault.at_ms), millis(fault.bracket_ms)),
            &fault.outcome,
            &format!("{} of {}", fault.hurt_flows, fault.flows),
            &fault.predicted_flows.to_string(),
            &time(fault.first_ms),
            &time(fault.full_ms),
            &parts(fault),
            &thousands(fault.lost_packets),
        ]);
    }
    table.write("Events", out);
}

fn members(record: &Record, out: &mut String) {
    let mut table = Table::new(&["member", "ingress", "processed", "keys", "expected", "tolerance", "buckets"]);
    for row in &record.members {
        table.row(&[
            &row.member,
            &percent(row.ingress_share),
            &percent(row.processed_share),
            &thousands(row.keys),
            &format!("{:.0}", row.expected_keys),
            &format!("± {:.0}", row.tolerance_keys),
            &row.buckets.to_string(),
        ]);
    }
    table.write("Members", out);
}

fn cluster(record: &Record, out: &mut String) {
    let mut symmetry = Table::new(&["generation", "from", "to", "eligible", "of flows", "L1", "L2"]);
    for row in &record.symmetry {
        let (eligible, l1, l2) = (u64::from(row.eligible), u64::from(row.l1), u64::from(row.l2));
        symmetry.row(&[
            &row.generation,
            &seconds(row.from_ms),
            &seconds(row.to_ms),
            &thousands(eligible),
            &thousands(u64::from(row.flows)),
            &percent(share(l1, eligible)),
            &percent(share(l2, eligible)),
        ]);
    }
    symmetry.write("Symmetry", out);
    survival(record, out);
    let shares = &record.shares;
    let mut table = Table::new(&["share", "value"]);
    table.row(&["corrected, from the client", &percent(shares.corrected_forward)]);
    table.row(&["corrected, from the server", &percent(shares.corrected_return)]);
    for (family, corrected) in [("IPv4", shares.corrected_return4), ("IPv6", shares.corrected_return6)] {
        if let Some(corrected) = corrected {
            table.row(&[&format!("corrected, from the server, {family}"), &percent(corrected)]);
        }
    }
    table.row(&["handed over by the pivot", &percent(shares.handover)]);
    table.row(&["sync bytes a connection", &format!("{:.0}", share(shares.sync_bytes, shares.connections))]);
    table.row(&["public addresses", &shares.public_ips.to_string()]);
    table.write("Corrections, handovers, sync", out);
}

fn survival(record: &Record, out: &mut String) {
    let heads = ["event", "owner", "age", "state", "connections", "survived", "predicted", "survived, 95 % interval"];
    let mut table = Table::new(&heads);
    for row in &record.survival {
        let [all, survived] = [row.connections, row.survived].map(|count| thousands(u64::from(count)));
        let least = thousands(u64::from(row.predicted));
        let predicted = match row.either {
            0 => least,
            either => format!("{least} to {}", thousands(u64::from(row.predicted + either))),
        };
        let (low, high) = row.interval_percent;
        let interval = if row.connections == 0 { "-".to_owned() } else { format!("{low:.1} to {high:.1} %") };
        table.row(&[&row.event, &row.owner, &row.age, &row.state, &all, &survived, &predicted, &interval]);
    }
    table.write("Connection survival", out);
}

pub(crate) fn comparison(comparison: &Comparison) -> String {
    let mut out = format!("# ElasticXL and Maestro, measured\n\nRepeat it: {}\n", safe(&comparison.command));
    let mut table = Table::new(&["aspect", "ElasticXL", "Maestro"]);
    let cell = |cell: &Cell| match cell.evidence.as_str() {
        "" => safe(&cell.value),
        evidence => format!("{} ({})", safe(&cell.value), safe(evidence)),
    };
    for row in &comparison.rows {
        table.rows.push(vec![safe(&row.aspect), cell(&row.elasticxl), cell(&row.maestro)]);
    }
    table.write("Comparison", &mut out);
    let mut runs = Table::new(&["run", "lab", "verdict", "checks", "report"]);
    for (index, record) in comparison.records.iter().enumerate() {
        let report = comparison.reports.get(index).map_or("", String::as_str);
        let checks = record.verdicts.len().to_string();
        runs.row(&[&record.scenario, &record.lab, record.outcome(), &checks, report]);
    }
    runs.write("Runs", &mut out);
    out
}
