//! HTML pages from templates. Texts of a run are escaped by the template engine; drawings escape their own.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use scalebed_record::Record;
use scalebed_record::comparison::{Cell, Comparison};
use scalebed_record::record::{FaultRow, LedgerRow};
use scalebed_record::verdict::{Outcome, Verdict};
use serde::Serialize;

use crate::words::{REPLAY, millis, percent, seconds, share, size, thousands};
use crate::{Error, charts, markdown};

/// Most events of the timeline's table.
const EVENTS: usize = 500;

fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.add_template("base.html", include_str!("../templates/base.html"))?;
    env.add_template("macros.html", include_str!("../templates/macros.html"))?;
    env.add_template("run.html", include_str!("../templates/run.html"))?;
    env.add_template("comparison.html", include_str!("../templates/comparison.html"))?;
    env.add_global("style", Value::from_safe_string(include_str!("../templates/style.css").to_owned()));
    env.add_filter("ms", |value: Option<f64>| value.map_or("-".to_owned(), millis));
    env.add_filter("sec", seconds);
    env.add_filter("pct", percent);
    env.add_filter("num", thousands);
    env.add_filter("size", size);
    env.add_filter("whole", |value: f64| format!("{value:.0}"));
    env.add_filter("share", |part: u64, whole: u64| percent(share(part, whole)));
    env.add_filter("micros", |us: f64| if us >= 1_000.0 { millis(us / 1_000.0) } else { format!("{us:.0} µs") });
    Ok(env)
}

fn data(value: impl Serialize) -> Value {
    Value::from(Serde(value))
}

fn drawing(svg: Option<String>) -> Value {
    svg.map_or(Value::from(()), Value::from_safe_string)
}

/// A verdict as a row.
#[derive(Serialize)]
struct Check<'a> {
    word: &'static str,
    check: &'a str,
    value: &'a str,
    accuracy: &'a str,
    limit: &'a str,
    evidence: Vec<&'a str>,
}

fn check(verdict: &Verdict) -> Check<'_> {
    let (word, evidence) = match &verdict.outcome {
        Outcome::Pass => ("pass", Vec::new()),
        Outcome::Fail(lines) => ("fail", lines.iter().map(String::as_str).collect()),
        Outcome::Invalid(reason) => ("invalid", vec![reason.as_str()]),
    };
    Check {
        word,
        check: &verdict.check,
        value: &verdict.value,
        accuracy: &verdict.accuracy,
        limit: &verdict.limit,
        evidence,
    }
}

/// Does the check speak of the tester rather than of the cluster?
fn is_health(check: &str) -> bool {
    ["tester", "ledger", "tap", "generator", "stall", "bracket", "clock", "canary"]
        .iter()
        .any(|word| check.starts_with(word))
}

/// Rows of one kind, what failed first, then what is invalid.
fn checks(record: &Record, health: bool) -> Vec<Check<'_>> {
    let mut rows: Vec<Check<'_>> =
        record.verdicts.iter().filter(|verdict| is_health(&verdict.check) == health).map(check).collect();
    rows.sort_by_key(|row| match row.word {
        "fail" => 0,
        "invalid" => 1,
        _ => 2,
    });
    rows
}

/// A number worth a glance.
#[derive(Serialize)]
struct Tile {
    value: String,
    label: &'static str,
}

fn tiles(record: &Record) -> Vec<Tile> {
    let passed = record.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Pass).count();
    let mut tiles = vec![Tile { value: format!("{passed} of {}", record.verdicts.len()), label: "checks passed" }];
    let (l2, eligible) =
        record.symmetry.iter().fold((0, 0), |(l2, all), row| (l2 + u64::from(row.l2), all + u64::from(row.eligible)));
    if eligible > 0 {
        tiles.push(Tile { value: percent(share(l2, eligible)), label: "flow symmetry (L2)" });
    }
    if let Some(fault) = record.faults.first() {
        let hurt = share(u64::from(fault.hurt_flows), u64::from(fault.flows));
        tiles.push(Tile { value: percent(hurt), label: "flows hurt by the first event" });
        tiles.push(Tile { value: fault.full_ms.map_or("-".to_owned(), millis), label: "full convergence" });
    }
    let lost: u64 = record.throughput.lost.iter().copied().map(u64::from).sum();
    tiles.push(Tile { value: thousands(lost), label: "packets lost" });
    let shares = &record.shares;
    tiles.push(match (shares.corrected_return4, shares.corrected_return6) {
        (Some(ipv4), Some(ipv6)) => Tile {
            value: format!("{} / {}", percent(ipv4), percent(ipv6)),
            label: "return packets corrected, IPv4 / IPv6",
        },
        _ => Tile { value: percent(shares.corrected_return), label: "return packets corrected" },
    });
    tiles
}

fn architecture(record: &Record) -> &str {
    match record.architecture.as_str() {
        "maestro" => "Maestro",
        "elasticxl" => "ElasticXL",
        other => other,
    }
}

fn world(record: &Record) -> &str {
    match record.world.as_str() {
        "netns" => "network namespaces",
        "sim" => "simulated world",
        other => other,
    }
}

/// The times of an event that are pairs or lists, in words.
fn spans(fault: &FaultRow) -> Value {
    let pair = |pair: Option<(f64, f64)>| {
        pair.map_or("-".to_owned(), |(median, max)| format!("{} / {}", millis(median), millis(max)))
    };
    context! { parts => markdown::parts(fault), loss => pair(fault.loss_derived_ms), gap => pair(fault.gap_ms) }
}

pub(crate) fn run(record: &Record) -> Result<String, Error> {
    let zooms: Vec<Value> = record
        .faults
        .iter()
        .filter_map(|fault| {
            let chart = charts::zoom(record, fault.at_ms)?;
            Some(context! { text => fault.text.as_str(), chart => Value::from_safe_string(chart) })
        })
        .collect();
    let frames = |(put_in, _): (u64, u64)| put_in;
    let open = |row: &&LedgerRow| row.a_to_b.0 != row.a_to_b.1 || row.b_to_a.0 != row.b_to_a.1;
    let (shown, hurt) = charts::outages_shown(record);
    let shares = &record.shares;
    let context = context! {
        record => data(record),
        outcome => record.outcome(),
        architecture => architecture(record),
        world => world(record),
        replay => REPLAY,
        tiles => data(tiles(record)),
        verdicts => data(checks(record, false)),
        health => data(checks(record, true)),
        names => data(charts::names(record)),
        topology => drawing(charts::topology(record)),
        timeline => drawing(charts::timeline(record)),
        events => data(record.timeline.iter().take(EVENTS).collect::<Vec<_>>()),
        throughput => drawing(charts::whole(record)),
        loss_summary => charts::loss_summary(record),
        zooms => zooms,
        spans => record.faults.iter().map(spans).collect::<Vec<_>>(),
        outages => drawing(charts::outages(record)),
        shown => shown,
        hurt => hurt,
        failover => drawing(charts::failover(record)),
        keys => drawing(charts::keys(record)),
        shares => drawing(charts::shares(record)),
        sync_a_connection => format!("{:.0} B", share(shares.sync_bytes, shares.connections)),
        ledger_frames => record.ledger.iter().map(|row| frames(row.a_to_b) + frames(row.b_to_a)).sum::<u64>(),
        ledger_open => record.ledger.iter().filter(open).count(),
    };
    Ok(environment()?.get_template("run.html")?.render(context)?)
}

/// A path that a page may link to: relative, and of no other scheme.
fn is_link(path: &str) -> bool {
    !path.is_empty() && !path.starts_with(['/', '\\']) && !path.contains(':') && !path.chars().any(char::is_control)
}

fn cell(cell: &Cell) -> Value {
    context! { value => cell.value.as_str(), evidence => cell.evidence.as_str(), link => is_link(&cell.evidence) }
}

fn titled(title: &str, chart: String) -> Value {
    context! { title => title, chart => Value::from_safe_string(chart) }
}

/// The worst of all runs.
fn worst(comparison: &Comparison) -> &'static str {
    let outcomes: Vec<_> = comparison.records.iter().map(Record::outcome).collect();
    ["fail", "invalid"].into_iter().find(|word| outcomes.contains(word)).unwrap_or(if outcomes.is_empty() {
        "invalid"
    } else {
        "pass"
    })
}

pub(crate) fn comparison(comparison: &Comparison) -> Result<String, Error> {
    // The first run of each lab stands for it: the steady one.
    let mut labs: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in &comparison.records {
        labs.entry(&record.architecture).or_insert(record);
    }
    let of_labs = |draw: fn(&Record) -> Option<String>| -> Vec<Value> {
        labs.values().filter_map(|record| Some(titled(architecture(record), draw(record)?))).collect()
    };
    let rows: Vec<Value> = comparison
        .rows
        .iter()
        .map(|row| context! { aspect => row.aspect.as_str(), elasticxl => cell(&row.elasticxl), maestro => cell(&row.maestro) })
        .collect();
    let runs: Vec<Value> =
        comparison.records.iter().enumerate().map(|(index, record)| run_row(comparison, index, record)).collect();
    let context = context! {
        outcome => worst(comparison),
        seed => comparison.seed,
        world => comparison.records.first().map(world),
        command => comparison.command.as_str(),
        rows => rows,
        runs => runs,
        labs => of_labs(charts::topology),
        members => of_labs(charts::shares_beside),
        zooms => zooms(comparison),
    };
    Ok(environment()?.get_template("comparison.html")?.render(context)?)
}

fn run_row(comparison: &Comparison, index: usize, record: &Record) -> Value {
    let report = comparison.reports.get(index).map_or("", String::as_str);
    let first = record.faults.first();
    let hurt = first.map(|fault| {
        let part = percent(share(u64::from(fault.hurt_flows), u64::from(fault.flows)));
        format!("{} ({part})", fault.hurt_flows)
    });
    context! {
        outcome => record.outcome(),
        scenario => record.scenario.as_str(),
        lab => record.lab.as_str(),
        passed => record.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Pass).count(),
        checks => record.verdicts.len(),
        hurt => hurt.unwrap_or_else(|| "-".to_owned()),
        full => first.and_then(|fault| fault.full_ms).map_or("-".to_owned(), millis),
        report => report,
        link => is_link(report),
    }
}

/// The first event of each run, like beside like: by kind of event, then by lab.
fn zooms(comparison: &Comparison) -> Vec<Value> {
    let mut zooms: Vec<(usize, Value)> = comparison
        .records
        .iter()
        .filter_map(|record| {
            let fault = record.faults.first()?;
            let chart = Value::from_safe_string(charts::zoom(record, fault.at_ms)?);
            let title = format!("{}: {} ({})", architecture(record), record.scenario, fault.text);
            let names = data(charts::names(record));
            let kinds = ["member-kill", "smo-kill", "pivot-kill"];
            let place = kinds.iter().position(|kind| record.scenario == *kind).map_or(9, |place| place.min(1));
            Some((place, context! { title => title, names => names, chart => chart }))
        })
        .collect();
    zooms.sort_by_key(|(place, _)| *place);
    zooms.into_iter().map(|(_, value)| value).collect()
}
