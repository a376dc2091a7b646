//! `scalebed compare`: the same workload and the same faults on both architectures, and the table that sets them side by
//! side, each cell with its evidence.

use std::path::Path;

use scalebed_record::comparison::{Cell, Comparison, Row};
use scalebed_record::record::{FaultRow, Record};
use scalebed_topologies::catalogue;
use scalebed_topologies::lab::Architecture;

use crate::exit::{self, Failure};
use crate::files;
use crate::run::{self, Judged, Request};
use crate::rundir::RunDir;

/// What is said of an aspect whose subject is a later version's.
const NOT_BUILT: &str = "not built yet";

/// A judged scenario of one architecture.
struct Run {
    scenario: String,
    judged: Judged,
    /// Its report, relative to the comparison's directory.
    evidence: String,
}

/// The runs of one architecture.
struct Side {
    architecture: Architecture,
    runs: Vec<Run>,
}

/// Runs the demo set of both labs, prints and writes the comparison. The exit code is the worst of all runs.
///
/// # Errors
/// A run could not be made at all.
pub fn compare(request: &Request, dir: &RunDir) -> Result<u8, Failure> {
    let mut sides = Vec::new();
    for architecture in [Architecture::ElasticXl, Architecture::Maestro] {
        let mut runs = Vec::new();
        for scenario in catalogue::demo(architecture) {
            let run = one(request, dir, scenario)?;
            let stop = run.judged.interrupted;
            runs.push(run);
            if stop {
                println!("interrupted; what was seen is in {}", dir.path().display());
                return Ok(exit::INTERRUPTED);
            }
        }
        sides.push(Side { architecture, runs });
    }
    let [elasticxl, maestro] = sides.as_slice() else {
        return Err(Failure::new(exit::BUG, "a comparison has two sides"));
    };
    let comparison = Comparison {
        seed: request.settings.seed,
        command: format!("scalebed compare --seed {}", request.settings.seed),
        rows: rows(elasticxl, maestro),
        records: sides.iter().flat_map(|side| &side.runs).map(|run| run.judged.record.clone()).collect(),
        reports: sides.iter().flat_map(|side| &side.runs).map(|run| run.evidence.clone()).collect(),
    };
    write(dir, &comparison)?;
    println!("\n{}", scalebed_render::comparison_text(&comparison));
    println!("report: {}", dir.path().join("report.html").display());
    Ok(sides.iter().flat_map(|side| &side.runs).map(|run| run.judged.code()).max().unwrap_or(exit::PASS))
}

fn one(request: &Request, dir: &RunDir, scenario: &str) -> Result<Run, Failure> {
    let loaded = files::scenario(scenario)?;
    let folder = scenario.replace('/', "-");
    let place = RunDir::create(Some(&dir.path().join(&folder)), scenario, request.settings.seed)
        .map_err(|error| Failure::new(exit::BUG, format!("{folder}: {error}")))?;
    let command = format!("scalebed run {scenario} --seed {}", request.settings.seed);
    let judged = run::repeated(&loaded, &Request { command, ..request.clone() }, &place)?;
    let evidence = judged.report.strip_prefix(dir.path()).unwrap_or(Path::new("")).display().to_string();
    Ok(Run { scenario: scenario.to_owned(), judged, evidence })
}

fn write(dir: &RunDir, comparison: &Comparison) -> Result<(), Failure> {
    let broke = |error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("comparison: {error}"));
    let put = |name: &str, text: &str| dir.write(name, text).map(|_| ()).map_err(|error| broke(&error));
    put("comparison.json", &serde_json::to_string_pretty(comparison).map_err(|error| broke(&error))?)?;
    put("report.html", &scalebed_render::comparison_html(comparison).map_err(|error| broke(&error))?)?;
    put("report.md", &scalebed_render::comparison_markdown(comparison).map_err(|error| broke(&error))?)?;
    put("junit.xml", &scalebed_render::junit(&comparison.records).map_err(|error| broke(&error))?)
}

impl Side {
    /// The first run whose scenario's name ends so.
    fn run(&self, ending: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.scenario.ends_with(ending))
    }

    fn steady(&self) -> Option<&Run> {
        self.run("steady")
    }

    /// A cell from a run, or "not run".
    fn cell(&self, run: Option<&Run>, value: impl Fn(&Record) -> Option<String>) -> Cell {
        run.and_then(|run| value(&run.judged.record).map(|value| Cell { value, evidence: run.evidence.clone() }))
            .unwrap_or_else(|| Cell { value: "not measured in this set".to_owned(), evidence: String::new() })
    }
}

/// A cell that no run stands behind.
fn said(value: &str) -> Cell {
    Cell { value: value.to_owned(), evidence: String::new() }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn rows(elasticxl: &Side, maestro: &Side) -> Vec<Row> {
    let both = |aspect: &str, cell: &dyn Fn(&Side) -> Cell| Row {
        aspect: aspect.to_owned(),
        elasticxl: cell(elasticxl),
        maestro: cell(maestro),
    };
    let steady = |value: fn(&Record) -> Option<String>| move |side: &Side| side.cell(side.steady(), value);
    let mut rows = vec![
        both("members", &steady(|record| Some(record.members.len().to_string()))),
        both("load-balancing layer", &load_balancing),
        both("share of ingress packets a member", &steady(ingress)),
        both("traffic processing: processed share a member", &steady(processed)),
        both("symmetric flows: corrected share, from client / from server", &steady(corrected)),
        both(
            "symmetric flows: handover share (pivot to member)",
            &steady(|record| Some(percent(record.shares.handover))),
        ),
        both("flow symmetry (L2, eligible flows)", &steady(symmetry)),
    ];
    for (aspect, ending, elastic_ending) in [
        ("loss of a plain member", "member-kill", "member-kill"),
        ("loss of the SMO (ElasticXL: the pivot)", "smo-kill", "pivot-kill"),
    ] {
        rows.push(Row {
            aspect: format!("{aspect}: affected flows, gap"),
            elasticxl: loss(elasticxl, elastic_ending),
            maestro: loss(maestro, ending),
        });
    }
    rows.push(Row {
        aspect: "loss of an orchestrator: affected flows, gap".to_owned(),
        elasticxl: said("no orchestrators"),
        maestro: loss(maestro, "mho-power-off"),
    });
    for age in ["older", "younger"] {
        let label = format!("{age} connections that survived a member's loss");
        rows.push(both(&label, &|side| side.cell(side.run("member-kill"), |record| survival(record, age))));
    }
    rows.push(both("join time (process start to Active)", &|side| side.cell(side.run("member-kill"), join)));
    rows.push(both("control and sync bytes a connection, heartbeats included", &steady(sync_cost)));
    rows.push(both("public addresses used", &steady(|record| Some(record.shares.public_ips.to_string()))));
    rows.extend([
        both("cluster mode", &|side| match side.architecture {
            Architecture::Maestro => said("active/active"),
            Architecture::ElasticXl => said("pivot-based active"),
        }),
        both("sync network", &|side| match side.architecture {
            Architecture::Maestro => said("over the downlinks"),
            Architecture::ElasticXl => said("dedicated L2, 192.0.2.0/24"),
        }),
        both("scale-out limit of the platform profile", &|side| match side.architecture {
            Architecture::Maestro => said("downlink ports of the MHOs, at most 31"),
            Architecture::ElasticXl => said("3 members a site"),
        }),
        both("SMO at the start", &|side| side.cell(side.steady(), smo)),
        both("configuration and software cloned on join", &|_| said(NOT_BUILT)),
        both("software level aligned on join", &|_| said(NOT_BUILT)),
        both("dual site", &|_| said(NOT_BUILT)),
    ]);
    rows
}

fn load_balancing(side: &Side) -> Cell {
    side.cell(side.steady(), |record| {
        let mhos = record.topology.nodes.iter().filter(|node| node.kind == "mho").count();
        Some(if mhos == 0 { "none: the pivot".to_owned() } else { format!("{mhos} MHOs, active/active") })
    })
}

fn list(record: &Record, share: impl Fn(&scalebed_record::record::MemberRow) -> f64) -> Option<String> {
    let shares: Vec<_> = record.members.iter().map(|row| format!("{:.0} %", share(row) * 100.0)).collect();
    (!shares.is_empty()).then(|| shares.join(" / "))
}

fn ingress(record: &Record) -> Option<String> {
    list(record, |row| row.ingress_share)
}

fn processed(record: &Record) -> Option<String> {
    list(record, |row| row.processed_share)
}

fn corrected(record: &Record) -> Option<String> {
    Some(format!("{} / {}", percent(record.shares.corrected_forward), percent(record.shares.corrected_return)))
}

fn symmetry(record: &Record) -> Option<String> {
    let (l2, eligible) = record.symmetry.iter().fold((0, 0), |(l2, all), row| (l2 + row.l2, all + row.eligible));
    (eligible > 0).then(|| format!("{} of {eligible}", percent(f64::from(l2) / f64::from(eligible))))
}

/// The first member that declared that it took the role.
fn smo(record: &Record) -> Option<String> {
    let takes = |event: &&scalebed_record::record::TimelineEvent| event.text.starts_with("takes ");
    record.timeline.iter().find(takes).map(|event| format!("{} {}", event.lane, event.text))
}

fn first_fault(record: &Record) -> Option<&FaultRow> {
    record.faults.first()
}

fn loss(side: &Side, ending: &str) -> Cell {
    side.cell(side.run(ending), |record| {
        let fault = first_fault(record)?;
        let share = f64::from(fault.hurt_flows) / f64::from(fault.flows.max(1));
        let gap = fault.full_ms.map_or_else(|| "nothing lost".to_owned(), |ms| format!("{ms:.0} ms"));
        Some(format!("{} of flows, {gap}", percent(share)))
    })
}

/// Of the connections on one side of the sync delay, in whatever state.
fn survival(record: &Record, age: &str) -> Option<String> {
    let rows = record.survival.iter().filter(|row| row.age == age);
    let (survived, all) = rows.fold((0, 0), |(kept, all), row| (kept + row.survived, all + row.connections));
    (all > 0).then(|| format!("{survived} of {all}"))
}

fn join(record: &Record) -> Option<String> {
    record.faults.iter().find_map(|fault| fault.join_ms).map(|ms| format!("{ms:.0} ms"))
}

fn sync_cost(record: &Record) -> Option<String> {
    let connections = record.shares.connections;
    (connections > 0).then(|| format!("{:.0} B", record.shares.sync_bytes as f64 / connections as f64))
}
