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
use scalebed_port::Keeps;
use scalebed_topologies::lab::{Port, PortRole};
use serde::de::DeserializeOwned;

use crate::journal::Start;

pub use args::{Args, ArgsError};
pub use shell::Shell;

/// What a process opens, and what it still may do to it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// Names, in order of port.
    pub names: Vec<String>,
    /// What it keeps of its privileges.
    pub keeps: Keeps,
}

impl From<&[Port]> for Interfaces {
    /// Of a node: only an orchestrator takes ports up and down.
    fn from(ports: &[Port]) -> Self {
        let uplinks = ports.iter().any(|port| matches!(port.role, PortRole::Uplink(_)));
        let keeps = if uplinks { Keeps::Links } else { Keeps::Nothing };
        Self { names: ports.iter().map(|port| port.name.clone()).collect(), keeps }
    }
}

/// `main` of every node: reads the configuration, makes the engine, runs it. A panic exits with 1. `program` is its name in
/// journals.
#[must_use]
pub fn main<C: DeserializeOwned, E: Engine>(
    program: &str,
    engine: fn(C) -> E,
    interfaces: fn(&C) -> Interfaces,
) -> ExitCode {
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
    match catch_unwind(AssertUnwindSafe(|| run(program, &args, engine, interfaces))) {
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
    interfaces: fn(&C) -> Interfaces,
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("{}", args.config.display()))?;
    let config: C = serde_json::from_str(&text).with_context(|| format!("{}", args.config.display()))?;
    let interfaces = interfaces(&config);
    let start = Start { program: program.to_owned(), config: text };
    let shell = Shell::open(engine(config), args, interfaces, &start).context("the node cannot be opened")?;
    shell.run().context("the node failed")
}
