//! The `scalebed` command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use scalebed_harness::driver::Settings;
use scalebed_harness::exit::{self, Failure};
use scalebed_harness::explore::{self, Exploration};
use scalebed_harness::live::commands::{self, Live};
use scalebed_harness::plan::Plan;
use scalebed_harness::run::{self, Request, Where};
use scalebed_harness::rundir::RunDir;
use scalebed_harness::seeds::{self, Batch};
use scalebed_harness::{bench, compare, files, replay, words};
use scalebed_topologies::catalogue;

/// A testbed for scale-out firewall clusters.
#[derive(Debug, Parser)]
#[command(name = "scalebed", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read lab and scenario files (paths or shipped names) and say what is wrong with them; builds nothing.
    #[command(visible_alias = "validate")]
    Check {
        /// Files, or names of shipped labs and scenarios.
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Print every kernel effect that building a lab would have; builds nothing.
    Plan {
        /// A lab or scenario: a path or a shipped name.
        file: String,
    },
    /// Run a scenario: build, drive, break, judge, report, tear down.
    Run {
        /// A scenario: a path or a shipped name.
        scenario: String,
        #[command(flatten)]
        options: Options,
        /// Real namespaces, or the simulated world.
        #[arg(long, env = "SCALEBED_WORLD", value_enum, default_value_t = Where::Netns)]
        world: Where,
    },
    /// Run scenarios in virtual time under many seeds; a folder a seed.
    Sim {
        /// Scenarios: paths or shipped names.
        #[arg(required = true)]
        scenarios: Vec<String>,
        /// How many seeds of each.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Runs at a time; default: one a core.
        #[arg(long)]
        jobs: Option<usize>,
        /// So many flows instead of the scenario's own traffic.
        #[arg(long, value_parser = clap::value_parser!(u32).range(16..=100_000))]
        flows: Option<u32>,
        /// Every event exactly when the file says, not put off by up to one heartbeat unit.
        #[arg(long)]
        as_written: bool,
        /// The run directory; new or empty. Default: runs/<utc>-sim-<first seed>.
        #[arg(long, env = "SCALEBED_OUT")]
        out: Option<PathBuf>,
    },
    /// Look for faults that violate an invariant, in virtual time; each find is made small and can be replayed.
    Explore {
        /// A lab: a path or a shipped name.
        #[arg(required_unless_present = "replay")]
        lab: Option<String>,
        /// How long to look: `90s`, `10m`, `1h`.
        #[arg(long, default_value = "10m", value_parser = words::duration)]
        budget: Duration,
        /// Runs at a time; default: one a core.
        #[arg(long)]
        jobs: Option<usize>,
        /// Safeguards to switch off, to see that their absence is found; comma separated.
        #[arg(long, value_delimiter = ',')]
        ablate: Vec<String>,
        /// Run a find again instead, and print what happens.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["lab", "budget", "jobs", "ablate"])]
        replay: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// Run the same workload and faults on both architectures and print the comparison.
    Compare {
        #[command(flatten)]
        options: Options,
        /// Real namespaces, or the simulated world.
        #[arg(long, env = "SCALEBED_WORLD", value_enum, default_value_t = Where::Netns)]
        world: Where,
    },
    /// Feed the journals of a failed run to the nodes' engines again, and compare what they do with what they did.
    Replay {
        /// A run directory, or the folder of one node in it.
        dir: PathBuf,
    },
    #[command(flatten)]
    Live(Live),
    /// List shipped labs and scenarios.
    List,
    /// Measure the throughput of the Maestro chain against kernel routers, building time, and the simulated world's speed.
    Bench {
        /// Everything, or the simulated world alone, which needs no root.
        #[arg(long, value_enum, default_value_t = Where::Netns)]
        world: Where,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The run directory; new or empty. Default: runs/<utc>-<scenario>-<seed>.
    #[arg(long, env = "SCALEBED_OUT")]
    out: Option<PathBuf>,
    /// Seed of the traffic.
    #[arg(long, env = "SCALEBED_SEED", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    // A panic is a bug of ours and has its own exit code; Rust's own would be 101.
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        std::process::exit(i32::from(exit::BUG));
    }));
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("SCALEBED_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match command(Args::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("scalebed: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn command(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Check { files } => check(&files),
        Command::Plan { file } => {
            print!("{}", Plan::of(&any_lab(&file)?));
            Ok(exit::PASS)
        }
        Command::Run { scenario, options, world } => {
            let loaded = files::scenario(&scenario)?;
            world.permitted()?;
            let dir = directory(&options, &loaded.scenario.name)?;
            let judged = run::repeated(&loaded, &request(world, options.seed, "run", &scenario)?, &dir)?;
            println!("report: {}", judged.report.display());
            Ok(judged.code())
        }
        Command::Compare { options, world } => {
            world.permitted()?;
            let dir = directory(&options, "compare")?;
            compare::compare(&request(world, options.seed, "run", "")?, &dir)
        }
        Command::Sim { scenarios, seeds, first, jobs, flows, as_written, out } => {
            let scenarios = scenarios
                .into_iter()
                .map(|name| Ok::<_, Failure>((name.clone(), files::scenario(&name)?)))
                .collect::<Result<_, _>>()?;
            let dir = directory(&Options { out, seed: first }, "sim")?;
            seeds::simulate(&Batch { scenarios, first, seeds, jobs, flows, as_written }, &dir)
        }
        Command::Explore { replay: Some(file), .. } => explore::replay(&file),
        Command::Explore { lab, budget, jobs, ablate, replay: None, options } => {
            let name = lab.unwrap_or_default();
            let (lab, _) = files::lab(&name)?;
            explore::ablations(&ablate)?;
            let dir = directory(&options, &format!("explore-{}", lab.name))?;
            explore::explore(&Exploration { name, lab, budget, jobs, seed: options.seed, ablate }, &dir)
        }
        Command::Replay { dir } => replay::replay(&dir),
        Command::Live(live) => commands::command(live),
        Command::List => {
            println!("labs:");
            catalogue::lab_names().iter().for_each(|name| println!("  {name}"));
            println!("scenarios:");
            catalogue::scenario_names().iter().for_each(|name| println!("  {name}"));
            Ok(exit::PASS)
        }
        Command::Bench { world } => bench::bench(world),
    }
}

fn request(world: Where, seed: u64, verb: &str, scenario: &str) -> Result<Request, Failure> {
    let place = match world {
        Where::Netns => "",
        Where::Sim => " --world sim",
    };
    Ok(Request {
        world,
        settings: Settings { seed, ..Settings::default() },
        programs: run::programs_beside_this_one()?,
        command: format!("scalebed {verb} {scenario} --seed {seed}{place}"),
    })
}

fn directory(options: &Options, name: &str) -> Result<RunDir, Failure> {
    RunDir::create(options.out.as_deref(), name, options.seed)
        .map_err(|error| Failure::new(exit::USAGE, format!("run directory: {error}")))
}

fn check(names: &[String]) -> Result<u8, Failure> {
    let mut worst = exit::PASS;
    for name in names {
        match any(name) {
            Ok(what) => println!("{name}: {what}"),
            Err(failure) => {
                eprintln!("{failure}");
                worst = failure.code;
            }
        }
    }
    Ok(worst)
}

fn any(name: &str) -> Result<String, Failure> {
    if files::is_scenario(name) {
        let loaded = files::scenario(name)?;
        let events = loaded.scenario.events.len();
        Ok(format!("a valid scenario on {} with {events} events", loaded.lab.name))
    } else {
        let (lab, _) = files::lab(name)?;
        Ok(format!("a valid lab of {} nodes and {} cables", lab.nodes.len(), lab.cables.len()))
    }
}

fn any_lab(name: &str) -> Result<scalebed_topologies::Lab, Failure> {
    if files::is_scenario(name) { Ok(files::scenario(name)?.lab) } else { Ok(files::lab(name)?.0) }
}
