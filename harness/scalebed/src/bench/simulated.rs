//! What the simulated world does in a second: frames that it delivers on one core, and seeds that it runs and judges on all.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use scalebed_record::Fact;

use super::{REPEATS, Spread};
use crate::driver::{self, Ran, Settings};
use crate::exit::{self, Failure};
use crate::files::{self, Loaded};
use crate::world::sim::Sim;

/// What is run: a member dies and comes back.
const SCENARIO: &str = "maestro/member-kill";
/// Few flows, so that most of it is what the nodes say to each other and a seed takes a fraction of a second.
const PROBES: u32 = 16;
const POPULATION: u32 = 184;

/// Prints both, medians of five.
pub fn print() -> Result<(), Failure> {
    let mut loaded = files::scenario(SCENARIO)?;
    let traffic = &mut loaded.scenario.traffic;
    (traffic.probes, traffic.probe_rate, traffic.population) = (PROBES, 50, POPULATION);
    let cores = rayon::current_num_threads();
    let (mut delivered, mut judged) = (Vec::with_capacity(REPEATS), Vec::with_capacity(REPEATS));
    for _ in 0..REPEATS {
        delivered.push(deliveries(&loaded)?);
        judged.push(seeds(&loaded, cores)?);
    }
    let (delivered, judged) = (Spread::from(delivered), Spread::from(judged));
    println!(
        "simulated world, {SCENARIO}, {PROBES} probes and {POPULATION} flows, medians of {REPEATS} (least..most):"
    );
    println!("  {delivered:.0} frame deliveries per second per core");
    println!("  {judged:.2} seeds per second, run and judged, on {cores} cores");
    Ok(())
}

fn drive(loaded: &Loaded, seed: u64) -> Result<Ran, Failure> {
    let mut world = Sim::new(&loaded.lab, seed);
    let settings = Settings { seed, ..Settings::default() };
    driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {})
}

/// Frames that came out of cables, over the time that this thread was on a core for it: who else is busy does not count.
fn deliveries(loaded: &Loaded) -> Result<f64, Failure> {
    let began = on_a_core()?;
    let ran = drive(loaded, 1)?;
    let took = on_a_core()?.saturating_sub(began);
    let out = |fact: &Fact| match fact {
        Fact::Ledger { got_out_a, got_out_b, .. } => got_out_a + got_out_b,
        _ => 0,
    };
    let frames: u64 = ran.evidence.history.entries.iter().map(|entry| out(&entry.fact)).sum();
    Ok(frames as f64 / took.as_secs_f64())
}

/// Two seeds a core, by the wall clock; a seed that does not pass is no measurement.
fn seeds(loaded: &Loaded, cores: usize) -> Result<f64, Failure> {
    let count = 2 * cores;
    let began = Instant::now();
    let outcomes: Result<Vec<&str>, Failure> = (1..=count as u64)
        .into_par_iter()
        .map(|seed| {
            let ran = drive(loaded, seed)?;
            let input = ran.input(&loaded.lab, &loaded.scenario, "sim", seed);
            Ok(scalebed_checkers::judge(&input).record.outcome())
        })
        .collect();
    let took = began.elapsed();
    match outcomes?.into_iter().find(|outcome| *outcome != "pass") {
        Some(outcome) => Err(Failure::new(exit::FAIL, format!("bench: {SCENARIO} in the simulated world: {outcome}"))),
        None => Ok(count as f64 / took.as_secs_f64()),
    }
}

fn on_a_core() -> Result<Duration, Failure> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|error| Failure::new(exit::BUG, format!("clock: {error}")))
}
