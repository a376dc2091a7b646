//! The `scalebed` command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use scalebed_harness::driver::Settings;
use scalebed_harness::exit::{self, Failure};
use scalebed_harness::plan::Plan;
use scalebed_harness::run::{self, Request, Where};
use scalebed_harness::rundir::RunDir;
use scalebed_harness::{bench, compare, files};
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
    /// Run the same workload and faults on both architectures and print the comparison.
    Compare {
        #[command(flatten)]
        options: Options,
        /// Real namespaces, or the simulated world.
        #[arg(long, env = "SCALEBED_WORLD", value_enum, default_value_t = Where::Netns)]
        world: Where,
    },
    /// List shipped labs and scenarios.
    List,
    /// Measure the throughput of the Maestro chain against kernel routers, and building time.
    Bench,
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
            let dir = directory(&options, &loaded.scenario.name)?;
            let judged = run::repeated(&loaded, &request(world, options.seed, "run", &scenario)?, &dir)?;
            println!("report: {}", judged.report.display());
            Ok(judged.code())
        }
        Command::Compare { options, world } => {
            let dir = directory(&options, "compare")?;
            compare::compare(&request(world, options.seed, "run", "")?, &dir)
        }
        Command::List => {
            println!("labs:");
            catalogue::lab_names().iter().for_each(|name| println!("  {name}"));
            println!("scenarios:");
            catalogue::scenario_names().iter().for_each(|name| println!("  {name}"));
            Ok(exit::PASS)
        }
        Command::Bench => bench::bench(),
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
