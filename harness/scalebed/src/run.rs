//! One run: check -> plan -> apply -> phases -> verdicts -> report -> teardown.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use scalebed_record::{Outcome, Record};

use crate::driver::{self, Settings};
use crate::environment::{self, Machine, STOLEN};
use crate::exit::{self, Failure};
use crate::files::Loaded;
use crate::journals;
use crate::plan::Plan;
use crate::rundir::{self, RunDir};
use crate::world::World;
use crate::world::netns::{Netns, Places};
use crate::world::sim::Sim;

/// Runs that a stall of the machine made invalid may be repeated so often, every attempt printed.
const REPEATS: u32 = 2;

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Where {
    /// Namespaces, real processes.
    Netns,
    /// Virtual time.
    Sim,
}

impl Where {
    /// May this user run there?
    ///
    /// # Errors
    /// [`exit::CAPABILITY`].
    pub fn permitted(self) -> Result<(), Failure> {
        if self == Self::Sim || nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        let text = "a run needs root for its namespaces and raw sockets: use sudo, or --world sim";
        Err(Failure::new(exit::CAPABILITY, text))
    }
}

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// World.
    pub world: Where,
    /// Settings of the driver.
    pub settings: Settings,
    /// Where the node programs are; beside this program by default.
    pub programs: PathBuf,
    /// The command that repeats the run.
    pub command: String,
}

/// A judged run.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Everything measured.
    pub record: Record,
    /// Where the report is.
    pub report: PathBuf,
    /// The operator stopped it.
    pub interrupted: bool,
}

impl Judged {
    /// The exit code of this run.
    #[must_use]
    pub fn code(&self) -> u8 {
        match (self.interrupted, self.record.outcome()) {
            (true, _) => exit::INTERRUPTED,
            (false, "pass") => exit::PASS,
            (false, "fail") => exit::FAIL,
            (false, _) => exit::INVALID,
        }
    }
}

/// The programs beside this one.
///
/// # Errors
/// This program's own path cannot be read.
pub fn programs_beside_this_one() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(|error| Failure::new(exit::BUG, format!("own path: {error}")))?;
    Ok(this.parent().unwrap_or(Path::new(".")).to_path_buf())
}

/// SIGINT, SIGTERM and SIGHUP as a descriptor; to be called before any thread is started.
///
/// # Errors
/// The kernel refuses.
pub fn take_signals() -> Result<SignalFd, Failure> {
    let broke = |error: nix::Error| Failure::new(exit::BUG, format!("signals: {error}"));
    let mask = stop_signals();
    mask.thread_block().map_err(broke)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(broke)
}

fn stop_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Runs a scenario, and again where the machine itself stalled and nothing can be said.
///
/// # Errors
/// As [`once`].
pub fn repeated(loaded: &Loaded, request: &Request, dir: &RunDir) -> Result<Judged, Failure> {
    let mut attempt = 0;
    loop {
        let place = if attempt == 0 {
            dir.clone()
        } else {
            let path = dir.path().join(format!("repeat-{attempt}"));
            RunDir::create(Some(&path), &loaded.scenario.name, request.settings.seed)
                .map_err(|error| Failure::new(exit::BUG, error.to_string()))?
        };
        let (judged, stalled) = once(loaded, request, &place)?;
        if judged.record.outcome() != "invalid" || !stalled || judged.interrupted || attempt == REPEATS {
            return Ok(judged);
        }
        attempt += 1;
        let stolen = judged.record.environment.get(STOLEN).map(|share| format!(" (its host took {share})"));
        let stolen = stolen.unwrap_or_default();
        println!("invalid: the machine stalled{stolen}; attempt {} of {}", attempt + 1, REPEATS + 1);
    }
}

/// Runs a scenario once. The second value: some loop stood still.
///
/// # Errors
/// The lab could not be built, the world broke, or teardown left something.
pub fn once(loaded: &Loaded, request: &Request, dir: &RunDir) -> Result<(Judged, bool), Failure> {
    let write = |name: &str, text: &str| {
        dir.write(name, text).map_err(|error| Failure::new(exit::BUG, format!("{name}: {error}")))
    };
    write("lab.yaml", &loaded.lab_text)?;
    write("scenario.yaml", &loaded.scenario_text)?;
    let bent = driver::bent_by(&loaded.lab, &loaded.scenario.events);
    write("plan.txt", &Plan::with_wires(&loaded.lab, &bent).to_string())?;
    let started = rundir::utc();
    let mut progress = Progress::new(&loaded.scenario.name);
    match request.world {
        Where::Sim => {
            let mut world = Sim::new(&loaded.lab, request.settings.seed);
            in_world(&mut world, loaded, request, dir, &started, &mut progress)
        }
        Where::Netns => {
            request.world.permitted()?;
            let signals = take_signals()?;
            progress.say("build");
            let places = Places::of(dir.path(), &request.programs);
            let places = Places { journals: true, seed: request.settings.seed, bent, ..places };
            let mut world = Netns::build(&loaded.lab, &places, Some(signals))?;
            let outcome = in_world(&mut world, loaded, request, dir, &started, &mut progress);
            progress.say("teardown");
            let down = world.teardown();
            drop(world);
            let _unblocked_or_not = stop_signals().thread_unblock();
            let judged = outcome.map_err(|failure| journals::point_at(failure, dir.path()))?;
            down?;
            Ok(judged)
        }
    }
}

fn in_world(
    world: &mut dyn World,
    loaded: &Loaded,
    request: &Request,
    dir: &RunDir,
    started: &str,
    progress: &mut Progress,
) -> Result<(Judged, bool), Failure> {
    let name = world.name();
    let machine = matches!(request.world, Where::Netns).then(Machine::watch);
    let ran = driver::drive(world, &loaded.lab, &loaded.scenario, request.settings, &mut |phase| progress.say(phase))?;
    let machine = machine.map(Machine::told);
    if ran.interrupted {
        // A second Ctrl-C ends everything at once: the lifeline does the rest.
        let _unblocked_or_not = stop_signals().thread_unblock();
    }
    let history = &ran.evidence.history;
    dir.write_history(history).map_err(|error| Failure::new(exit::BUG, format!("history: {error}")))?;
    progress.say("verdicts");
    let input = ran.input(&loaded.lab, &loaded.scenario, name, request.settings.seed);
    let mut record = scalebed_checkers::judge(&input).record;
    environment::sign(&mut record, loaded, started, &request.command);
    record.environment.extend(machine.into_iter().flatten());
    journals::keep_if_failed(dir.path(), &mut record)
        .map_err(|error| Failure::new(exit::BUG, format!("journals: {error}")))?;
    let report = dir.write_report(&record).map_err(|error| Failure::new(exit::BUG, format!("report: {error}")))?;
    progress.verdicts(&record);
    Ok((Judged { record, report, interrupted: ran.interrupted }, scalebed_checkers::stalled(history)))
}

/// A line a phase: rewritten in place on a terminal until the phase ends, plain elsewhere.
struct Progress {
    name: String,
    began: std::time::Instant,
    terminal: bool,
}

impl Progress {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), began: std::time::Instant::now(), terminal: std::io::stdout().is_terminal() }
    }

    fn say(&mut self, phase: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        if self.terminal {
            print!("\r\x1b[2K{} {seconds:6.1} s  {phase}", self.name);
            let _best_effort = std::io::stdout().flush();
        } else {
            println!("{} {seconds:6.1} s  {phase}", self.name);
        }
    }

    fn verdicts(&mut self, record: &Record) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
        let passed = record.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Pass).count();
        let outcome = record.outcome();
        println!("{}: {outcome}, {passed} of {} verdicts pass", self.name, record.verdicts.len());
        record.complaints(5).iter().for_each(|line| println!("  {line}"));
        if outcome != "pass" {
            if let Some(replay) = &record.replay {
                println!("  replay: {}", replay.command);
            }
            println!("  repeat: {}", record.command);
        }
    }
}
