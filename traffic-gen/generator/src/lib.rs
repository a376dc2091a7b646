//! The packet generator's process: a shell around the engine of traffic-gen/core, over two raw ports.

pub mod driver;
pub mod pace;
pub mod shell;

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use scalebed_port::{Keeps, PacketPort, drop_privileges};

/// What the process is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq, clap::Parser)]
#[command(name = "traffic-gen", version, about = "Sends by a schedule, and reports what became of it")]
pub struct Options {
    /// The schedule and the stations to play, JSON.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Interface on the inside.
    #[arg(long, value_name = "IFACE")]
    pub inside: String,
    /// Interface on the outside.
    #[arg(long, value_name = "IFACE")]
    pub outside: String,
    /// Where the report is written, JSON.
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,
    /// Where events are written, JSON lines; a file or a FIFO.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
}

/// Sends until the schedule has ended and drained, or SIGTERM or SIGINT comes; the report is written in both cases,
/// whole once the process has exited with 0.
///
/// # Errors
/// A file that can't be read or written, an interface that can't be opened, or a port that fails.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // Before anything takes time: a signal from here on ends the run orderly.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signals")?;
    // Sleeps of 100 us shall not take 150. Ordinary threads have 50 us of slack.
    nix::sys::prctl::set_timerslack(1).context("timer slack")?;

    let file = File::open(&options.config).with_context(|| options.config.display().to_string())?;
    let config = serde_json::from_reader(BufReader::new(file)).with_context(|| options.config.display().to_string())?;
    let open = |name: &str| PacketPort::open(name).with_context(|| format!("interface {name}"));
    let mut ports = [open(&options.inside)?, open(&options.outside)?];
    let events = OpenOptions::new().append(true).create(true).open(&options.events);
    let events = events.with_context(|| options.events.display().to_string())?;
    // Made before the privileges go: the run directory may be somebody else's.
    let mut file = File::create(&options.report).with_context(|| options.report.display().to_string())?;
    drop_privileges(Keeps::Nothing).context("privileges")?;
    let report = shell::run(config, events, &mut ports, &signals)?;
    file.write_all(&serde_json::to_vec(&report)?).with_context(|| options.report.display().to_string())
}
