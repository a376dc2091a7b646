//! `scalebed explore`: looks for faults that violate an invariant, and makes each find small.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelIterator as _, ParallelBridge as _, ParallelIterator as _};
use scalebed_cluster::Ablations;
use scalebed_record::Outcome;
use scalebed_topologies::Lab;

use crate::exit::{self, Failure};
use crate::rundir::RunDir;

pub mod cases;
mod narrow;
pub mod repro;
pub mod shrink;
pub mod trial;

use cases::Case;
use repro::Repro;

/// Most faults of a random case.
const MOST_FAULTS: u64 = 4;

/// What is explored.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// The lab's name.
    pub name: String,
    /// The lab.
    pub lab: Lab,
    /// How long to look.
    pub budget: Duration,
    /// Threads; `None`: one a core.
    pub jobs: Option<usize>,
    /// The first seed of random cases.
    pub seed: u64,
    /// Safeguards switched off, by name.
    pub ablate: Vec<String>,
}

/// A safeguard's name, and how it is switched off.
pub type Safeguard = (&'static str, fn(&mut Ablations));

/// Every safeguard that can be switched off, by name.
pub const SAFEGUARDS: &[Safeguard] = &[
    ("fence", |ablations| ablations.no_fence = true),
    ("barrier", |ablations| ablations.no_barrier = true),
    ("self-fence", |ablations| ablations.no_self_fence = true),
    ("lease", |ablations| ablations.no_lease = true),
    ("incarnation", |ablations| ablations.no_incarnation = true),
    ("read", |ablations| ablations.no_read = true),
    ("previous-owner", |ablations| ablations.no_previous_owner = true),
    ("minimal-move", |ablations| ablations.no_minimal_move = true),
    ("backup-sync", |ablations| ablations.no_backup_sync = true),
    ("sync-at-once", |ablations| ablations.no_sync_at_once = true),
    ("port-ranges", |ablations| ablations.no_port_ranges = true),
    ("port-learning", |ablations| ablations.no_port_learning = true),
    ("echo-guard", |ablations| ablations.no_echo_guard = true),
];

/// Safeguards by name.
///
/// # Errors
/// [`exit::USAGE`]: one is not known; the message lists them.
pub fn ablations(names: &[String]) -> Result<Ablations, Failure> {
    let mut ablations = Ablations::default();
    for name in names {
        let Some((_, switch)) = SAFEGUARDS.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = SAFEGUARDS.iter().map(|(known, _)| *known).collect();
            let text = format!("no safeguard is named `{name}`; there are: {}", known.join(", "));
            return Err(Failure::new(exit::USAGE, text));
        };
        switch(&mut ablations);
    }
    Ok(ablations)
}

/// What was looked at, and found.
#[derive(Debug, Default)]
pub struct Explored {
    /// Runs by stage.
    pub runs: BTreeMap<&'static str, u64>,
    /// Frames that came out of cables in all of them.
    pub deliveries: u64,
    /// First find of each invariant in the order of cases, with the case's number.
    pub finds: BTreeMap<String, (u64, Case)>,
    /// How many cases violated something.
    pub failing: u64,
}

/// Explores until the budget is spent; each invariant's first find is shrunk and written into the run directory.
///
/// # Errors
/// The world broke, or a file could not be written.
pub fn explore(exploration: &Exploration, dir: &RunDir) -> Result<u8, Failure> {
    let ablations = ablations(&exploration.ablate)?;
    let began = Instant::now();
    let explored = look(exploration, ablations, began)?;
    let counts: Vec<String> = explored.runs.iter().map(|(stage, runs)| format!("{runs} {stage}")).collect();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}: {} runs in {seconds:.0} s ({}), {:.0} frame deliveries a second; {} violate something",
        exploration.name,
        explored.runs.values().sum::<u64>(),
        counts.join(", "),
        explored.deliveries as f64 / seconds,
        explored.failing
    );
    println!("not applicable:");
    for (name, reason) in scalebed_checkers::invariants::NOT_APPLICABLE.iter().chain(NOT_TRIED) {
        println!("  {name}: {reason}");
    }
    for (invariant, (_, case)) in &explored.finds {
        report(exploration, invariant, case, ablations, dir.path())?;
    }
    Ok(if explored.finds.is_empty() { exit::PASS } else { exit::FAIL })
}

/// Faults of the catalogue that exploration does not inject, each with its reason.
pub const NOT_TRIED: &[(&str, &str)] = &[
    ("F6", "a member is one process here: F5 is the same"),
    ("F7", "engines take no virtual time"),
    ("F8", "no canary is built that would catch it"),
    ("F22", "dual site is not built"),
    ("F23", "joins happen under load in every case; cloning is not built"),
    ("F24", "draining is not built"),
    ("F25", "configuration pushes are not built"),
    ("F26", "upgrades are not built"),
    ("F27", "no clock decorator is built"),
    ("F30", "hostile frames are the parsers' property tests"),
    ("F31 of a connection", "nothing repairs a corrupted entry of the table yet (anti-entropy); the matrix is altered"),
    ("F32", "a stalled harness makes a run invalid, not wrong: the suite holds such runs against their twins"),
];

/// The first random case, by seed, in which an invariant fails; `None`: none of so many seeds shows it.
///
/// # Errors
/// The world broke.
pub fn hunt(lab: &Lab, ablations: Ablations, invariant: &str, seeds: u64) -> Result<Option<Case>, Failure> {
    let shows = |seed: u64| {
        let case = cases::random(lab, seed, MOST_FAULTS);
        match trial::run(lab, &case, ablations) {
            Ok(trial) => trial.violated().contains(&invariant).then_some(Ok(case)),
            Err(failure) => Some(Err(failure)),
        }
    };
    (1..=seeds).into_par_iter().find_map_first(shows).transpose()
}

fn look(exploration: &Exploration, ablations: Ablations, began: Instant) -> Result<Explored, Failure> {
    let lab = &exploration.lab;
    let explored = Mutex::new(Explored::default());
    let one = |number: u64, case: Case| -> Result<(), Failure> {
        if began.elapsed() >= exploration.budget {
            return Ok(());
        }
        let trial = trial::run(lab, &case, ablations)?;
        let mut explored = explored.lock().unwrap_or_else(PoisonError::into_inner);
        *explored.runs.entry(case.stage).or_default() += 1;
        explored.deliveries += trial.deliveries;
        explored.failing += u64::from(!trial.violations.is_empty());
        for invariant in trial.violated() {
            let known = explored.finds.entry(invariant.to_owned()).or_insert_with(|| (number, case.clone()));
            if number < known.0 {
                *known = (number, case.clone());
            }
        }
        Ok(())
    };
    crate::seeds::threads(exploration.jobs)?.install(|| {
        let systematic = (0..).zip(cases::systematic(lab)).collect::<Vec<_>>();
        systematic.into_par_iter().try_for_each(|(number, case)| one(number, case))?;
        let random = (exploration.seed..).take_while(|_| began.elapsed() < exploration.budget);
        random.par_bridge().try_for_each(|seed| one(1 << 32 | seed, cases::random(lab, seed, MOST_FAULTS)))
    })?;
    Ok(explored.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Shrinks a find, says what it is, and writes everything that replays it.
fn report(
    exploration: &Exploration,
    invariant: &str,
    case: &Case,
    ablations: Ablations,
    folder: &Path,
) -> Result<(), Failure> {
    let lab = &exploration.lab;
    let shrunk = shrink::shrink(lab, case, invariant, ablations)?;
    let repro = Repro {
        invariant: invariant.to_owned(),
        lab: exploration.name.clone(),
        seed: shrunk.case.seed,
        general: shrunk.case.general,
        full: shrunk.case.full,
        quirks: shrunk.case.quirks.names().into_iter().map(str::to_owned).collect(),
        ipv6_percent: shrunk.case.ipv6_percent,
        commit: crate::environment::COMMIT.to_owned(),
        ablate: exploration.ablate.clone(),
        faults: shrunk.case.faults.clone(),
    };
    let trial = trial::run(lab, &shrunk.case, ablations)?;
    let name = repro.name();
    let place = folder.join(&name);
    let broke = |error: std::io::Error| Failure::new(exit::BUG, format!("{}: {error}", place.display()));
    std::fs::create_dir_all(&place).map_err(broke)?;
    std::fs::write(place.join("repro.yaml"), repro.to_yaml()?).map_err(broke)?;
    std::fs::write(place.join("transcript.txt"), trial::transcript(&trial.history)).map_err(broke)?;
    std::fs::write(place.join("test.rs"), repro.unit_test()).map_err(broke)?;
    println!("\n{invariant} ({}, shrunk in {} runs)", case.stage, shrunk.runs);
    shrunk.case.faults.iter().for_each(|fault| println!("  {fault}"));
    if shrunk.case.ipv6_percent > 0 {
        println!("  {} % of its flows are of IPv6", shrunk.case.ipv6_percent);
    }
    shrunk.case.quirks.names().iter().for_each(|quirk| println!("  all along: {quirk}"));
    for verdict in trial.violations.iter().filter(|verdict| verdict.check == invariant) {
        if let Outcome::Fail(evidence) = &verdict.outcome {
            evidence.iter().take(4).for_each(|line| println!("  {line}"));
        }
    }
    println!("  replay: scalebed explore --replay {}", place.join("repro.yaml").display());
    Ok(())
}

/// Replays a repro and says whether its invariant still fails.
///
/// # Errors
/// [`exit::BAD_FILE`], or the world broke.
pub fn replay(path: &Path) -> Result<u8, Failure> {
    let repro = Repro::load(path)?;
    let trial = repro.replay()?;
    print!("{}", trial::transcript(&trial.history));
    for verdict in &trial.violations {
        println!("violated: {}", verdict.check);
        if let Outcome::Fail(evidence) = &verdict.outcome {
            evidence.iter().for_each(|line| println!("  {line}"));
        }
    }
    if trial.violated().contains(&repro.invariant.as_str()) {
        return Ok(exit::FAIL);
    }
    println!("{} holds", repro.invariant);
    Ok(exit::PASS)
}
