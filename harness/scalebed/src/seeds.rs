//! `scalebed sim`: a scenario in virtual time under many seeds, a folder a seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use scalebed_engine::Rng;
use scalebed_topologies::scenario::Scenario;

use crate::driver::{self, Settings};
use crate::environment;
use crate::exit::{self, Failure};
use crate::files::Loaded;
use crate::rundir::{self, RunDir};
use crate::world::sim::Sim;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The scenarios, each under every seed, with the names that they were asked for by.
    pub scenarios: Vec<(String, Loaded)>,
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Threads; `None`: one a core.
    pub jobs: Option<usize>,
    /// Flows instead of what the scenario offers: a twelfth probes at 50 packets a second, the rest population.
    pub flows: Option<u32>,
    /// Events exactly when the file says. Else each is put off by up to one heartbeat unit, by the seed.
    pub as_written: bool,
}

/// One seed of one scenario.
struct Seed {
    scenario: String,
    seed: u64,
    outcome: &'static str,
    complaints: Vec<String>,
    took: Duration,
}

/// Runs a batch and prints what came of it; the code is the worst of all seeds.
///
/// # Errors
/// A run could not be made, or its folder not be written.
pub fn simulate(batch: &Batch, dir: &RunDir) -> Result<u8, Failure> {
    let all = 0..batch.seeds * batch.scenarios.len() as u64;
    let began = Instant::now();
    let seeds: Result<Vec<Seed>, Failure> = threads(batch.jobs)?.install(|| {
        all.into_par_iter()
            .map(|number| {
                let (name, loaded) = &batch.scenarios[usize::try_from(number / batch.seeds).unwrap_or(usize::MAX)];
                one(batch, name, loaded, batch.first + number % batch.seeds, dir.path())
            })
            .collect()
    });
    let seeds = seeds?;
    print(&seeds, began.elapsed());
    println!("folders: {}", dir.path().display());
    let has = |outcome: &str| seeds.iter().any(|seed| seed.outcome == outcome);
    Ok(if has("fail") {
        exit::FAIL
    } else if has("invalid") {
        exit::INVALID
    } else {
        exit::PASS
    })
}

/// So many threads; `None`: one a core.
///
/// # Errors
/// The kernel refuses them.
pub fn threads(jobs: Option<usize>) -> Result<rayon::ThreadPool, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.unwrap_or(0)).build();
    pool.map_err(|error| Failure::new(exit::BUG, format!("threads: {error}")))
}

fn print(seeds: &[Seed], wall: Duration) {
    let mut by_scenario: BTreeMap<&str, Vec<&Seed>> = BTreeMap::new();
    for seed in seeds {
        by_scenario.entry(&seed.scenario).or_default().push(seed);
        if seed.outcome != "pass" {
            println!("{} seed {}: {}", seed.scenario, seed.seed, seed.outcome);
            seed.complaints.iter().for_each(|line| println!("  {line}"));
        }
    }
    for (scenario, seeds) in &by_scenario {
        let passed = seeds.iter().filter(|seed| seed.outcome == "pass").count();
        let took: Duration = seeds.iter().map(|seed| seed.took).sum();
        let each = took.as_secs_f64() / seeds.len() as f64;
        println!("{scenario}: {passed} of {} seeds pass, {each:.2} s each", seeds.len());
    }
    println!("{} runs in {:.1} s", seeds.len(), wall.as_secs_f64());
}

fn one(batch: &Batch, name: &str, loaded: &Loaded, seed: u64, folder: &Path) -> Result<Seed, Failure> {
    let (began, started) = (Instant::now(), rundir::utc());
    let scenario = prepared(batch, loaded, seed);
    let mut world = Sim::new(&loaded.lab, seed);
    let settings = Settings { seed, ..Settings::default() };
    let ran = driver::drive(&mut world, &loaded.lab, &scenario, settings, &mut |_| {})?;
    let input = ran.input(&loaded.lab, &scenario, "sim", seed);
    let mut record = scalebed_checkers::judge(&input).record;
    let place = folder.join(name.replace(['/', '.'], "-")).join(format!("seed-{seed}"));
    let broke = |error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("{}: {error}", place.display()));
    let dir = RunDir::create(Some(&place), &scenario.name, seed).map_err(|error| broke(&error))?;
    dir.write_history(&ran.evidence.history).map_err(|error| broke(&error))?;
    if record.outcome() == "pass" {
        dir.write_verdicts(&record).map_err(|error| broke(&error))?;
    } else {
        environment::sign(&mut record, loaded, &started, &command(batch, name, seed));
        dir.write_report(&record).map_err(|error| broke(&error))?;
    }
    Ok(Seed {
        scenario: name.to_owned(),
        seed,
        outcome: record.outcome(),
        complaints: record.complaints(2),
        took: began.elapsed(),
    })
}

/// The scenario as this seed runs it.
fn prepared(batch: &Batch, loaded: &Loaded, seed: u64) -> Scenario {
    let mut scenario = loaded.scenario.clone();
    if let Some(flows) = batch.flows {
        let probes = (flows / 12).max(1);
        scenario.traffic.probes = probes;
        scenario.traffic.population = flows - probes;
        scenario.traffic.probe_rate = scenario.traffic.probe_rate.min(50);
    }
    if !batch.as_written {
        // A stream of its own: whoever else draws from the seed is not moved by it.
        let mut rng = Rng::new(seed, "event times");
        let shift = |at: &mut u64, rng: &mut Rng| *at += rng.below(u64::from(loaded.lab.group.unit_ms));
        scenario.events.iter_mut().for_each(|event| shift(&mut event.at_ms, &mut rng));
    }
    scenario
}

fn command(batch: &Batch, name: &str, seed: u64) -> String {
    let flows = batch.flows.map_or(String::new(), |flows| format!(" --flows {flows}"));
    let written = if batch.as_written { " --as-written" } else { "" };
    format!("scalebed sim {name} --first {seed} --seeds 1{flows}{written}")
}
