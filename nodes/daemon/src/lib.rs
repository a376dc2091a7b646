//! The shell around an engine: event loop, control socket, journal, clock.

mod args;
mod control;
pub mod journal;
mod links;
mod node;
mod ports;
mod shell;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::Context as _;
use scalebed_engine::Engine;
use scalebed_topologies::lab::Port;
use serde::de::DeserializeOwned;

use crate::journal::Start;

pub use args::{Args, ArgsError};
pub use shell::Shell;

/// `main` of every node: reads the configuration, makes the engine, runs it. A panic exits with 1. `program` is its name in
/// journals.
#[must_use]
pub fn main<C: DeserializeOwned, E: Engine>(program: &str, engine: fn(C) -> E, ports: fn(&C) -> &[Port]) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("SCALEBED_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(args::USAGE);
        }
    };
    // Unwinding ends the journal in order: the run that panicked is the one to replay.
    match catch_unwind(AssertUnwindSafe(|| run(program, &args, engine, ports))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
        Err(_told_by_the_hook) => ExitCode::FAILURE,
    }
}

fn run<C: DeserializeOwned, E: Engine>(
    program: &str,
    args: &Args,
    engine: fn(C) -> E,
    ports: fn(&C) -> &[Port],
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("{}", args.config.display()))?;
    let config: C = serde_json::from_str(&text).with_context(|| format!("{}", args.config.display()))?;
    let ports = ports(&config).to_vec();
    let start = Start { program: program.to_owned(), config: text };
    let shell = Shell::open(engine(config), args, &ports, &start).context("the node cannot be opened")?;
    shell.run().context("the node failed")
}
