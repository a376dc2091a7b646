//! `scalebed bench`: what the Maestro chain carries, as a ratio to a chain of kernel routers in the same run, with the CPU
//! that each hop takes, how long a large lab takes to build, and how fast the simulated world is. Medians of five. The
//! chains' runs have no taps.

mod blast;
mod chains;
mod simulated;

use std::fmt;
use std::time::Instant;

use scalebed_netns::{Sandbox, Stack, VethEnd};

use crate::exit::{self, Failure};
use crate::run::Where;
use blast::{Rate, search};
use chains::{Chain, Hop};

/// Searches of each chain.
const REPEATS: usize = 5;
/// Namespaces of the large lab.
const NODES: usize = 100;

/// Prints the bench's tables; of the simulated world alone that part, which needs no privilege.
///
/// # Errors
/// [`exit::CAPABILITY`]: no root. [`exit::APPLY`]: a chain did not come up.
pub fn bench(world: Where) -> Result<u8, Failure> {
    if world == Where::Sim {
        simulated::print()?;
        return Ok(exit::PASS);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(exit::CAPABILITY, "the bench needs root for its namespaces and raw sockets"));
    }
    let place = tempfile::tempdir().map_err(|error| Failure::new(exit::BUG, error.to_string()))?;
    println!(
        "64-byte UDP over {} connections, at most 0.1 % loss, medians of {REPEATS} (least..most)\n",
        blast::CONNECTIONS
    );
    let maestro = measure("maestro", || Chain::maestro(place.path()))?;
    let kernel = measure("kernel", || Chain::kernel(place.path()))?;
    println!("| chain | kpps | CPU of each hop, us a packet |\n|---|---|---|");
    for (name, result) in [("generator, mho, sgm, mho, sink", &maestro), ("three kernel routers, conntrack", &kernel)] {
        println!("| {name} | {:.0} | {} |", result.rate / 1000.0, hops(result));
    }
    println!("\nratio of the Maestro chain to the kernel's: {:.2}", maestro.rate / kernel.rate.max(1.0));
    let [switch, wire] = passing(place.path())?;
    println!(
        "CPU of a packet that only passes, us: switch {switch:.2}, wire process {wire:.2}, ratio {:.2}",
        wire.median / switch.median
    );
    let (build, down) = large_lab(place.path())?;
    println!("a lab of {NODES} nodes and {} cables: built in {build:.0} ms, gone after {down:.0} ms", NODES - 1);
    simulated::print()?;
    Ok(exit::PASS)
}

fn hops(result: &Rate) -> String {
    let each: Vec<_> = result.cpu_us.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
    if each.is_empty() { "in the sender's time".to_owned() } else { each.join(", ") }
}

/// The median of five searches, each on a chain of its own.
fn measure(name: &str, chain: impl Fn() -> Result<Chain, Failure>) -> Result<Rate, Failure> {
    let mut rates = Vec::with_capacity(REPEATS);
    for round in 1..=REPEATS {
        let mut chain = chain()?;
        let rate = search(&mut chain)?;
        println!("{name} {round}: {:.1} kpps", rate.rate / 1000.0);
        rates.push(rate);
        chain.teardown()?;
    }
    rates.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    Ok(rates.swap_remove(REPEATS / 2))
}

/// CPU of the switch and of the wire process for a packet at the same rate, us: medians of five, in turn.
fn passing(place: &std::path::Path) -> Result<[Spread; 2], Failure> {
    let mut spent = [Vec::with_capacity(REPEATS), Vec::with_capacity(REPEATS)];
    for _ in 0..REPEATS {
        for (hop, spent) in [Hop::Switch, Hop::Wire].into_iter().zip(&mut spent) {
            let mut chain = Chain::hop(place, hop)?;
            spent.push(blast::cost(&mut chain)?);
            chain.teardown()?;
        }
    }
    Ok(spent.map(Spread::from))
}

/// Milliseconds to build a row of namespaces with a cable between neighbours, and to take it down. Medians of five.
fn large_lab(place: &std::path::Path) -> Result<(Spread, Spread), Failure> {
    let failed = |error: scalebed_netns::Error| Failure::new(exit::APPLY, error.to_string());
    let (mut builds, mut downs) = (Vec::new(), Vec::new());
    for round in 0..REPEATS {
        let folder = place.join(format!("large-{round}"));
        std::fs::create_dir(&folder).map_err(|error| Failure::new(exit::BUG, error.to_string()))?;
        let began = Instant::now();
        let mut sandbox = Sandbox::create(&folder).map_err(failed)?;
        let mut spaces = Vec::with_capacity(NODES);
        for node in 0..NODES {
            spaces.push(sandbox.namespace(&format!("n{node}")).map_err(failed)?);
        }
        for (index, pair) in spaces.windows(2).enumerate() {
            let end = |ns, name: &str, side: u8| VethEnd {
                ns,
                name: name.to_owned(),
                mac: [2, 0x5a, 9, side, (index >> 8) as u8, (index & 0xff) as u8],
                mtu: 1500,
            };
            sandbox.veth(&end(pair[0], "right", 0), &end(pair[1], "left", 1)).map_err(failed)?;
            for (ns, name) in [(pair[0], "right"), (pair[1], "left")] {
                sandbox.stack(ns, name, Stack::Cut).map_err(failed)?;
                sandbox.set_up(ns, name, true).map_err(failed)?;
            }
        }
        builds.push(began.elapsed().as_secs_f64() * 1000.0);
        let began = Instant::now();
        sandbox.teardown().map_err(|errors| {
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Failure::new(exit::TEARDOWN, text.join("; "))
        })?;
        downs.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok((builds.into(), downs.into()))
}

/// What repeats measured: on a shared machine one number says little without how far the others were from it.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl From<Vec<f64>> for Spread {
    fn from(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[REPEATS / 2], least: values[0], most: values[REPEATS - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Self { median, least, most } = self;
        write!(f, "{median:.digits$} ({least:.digits$}..{most:.digits$})")
    }
}
