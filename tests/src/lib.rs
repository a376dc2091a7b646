//! What the suites share.

pub mod crowd;
pub mod mutants;
pub mod user;
pub mod worlds;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files::{self, Loaded};
use scalebed_harness::run::{self, Judged, Request, Where};
use scalebed_harness::rundir::RunDir;
use scalebed_harness::world::sim::Sim;
use scalebed_netns::Recorded;
use scalebed_record::Record;
use scalebed_topologies::Lab;
use worlds::Ran;

/// The release programs that `make build` puts there: what users run is what is tested.
#[must_use]
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release")
}

/// Says by name and reason that this test could not run: `scripts/test` collects these lines.
fn skipped(reason: &str) {
    // A test runs in a thread that has its name.
    println!("skipped: {}: {reason}", std::thread::current().name().unwrap_or("a test"));
}

/// Whether this test needs root and has it not, which is told; the caller returns.
#[must_use]
pub fn needs_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped("needs root for namespaces and raw sockets");
    }
    !root
}

/// Within 2 s of the end of whoever held a lab: no process, descriptor or mount of it. False: it had built nothing.
///
/// # Panics
/// Something is left.
#[must_use]
pub fn nothing_left(run: &Path, what: &str) -> bool {
    let Ok(recorded) = Recorded::load(run) else { return false };
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = recorded.leftovers().expect("a list of processes");
        if left.is_empty() {
            return true;
        }
        assert!(Instant::now() < deadline, "{what}: left after 2 s: {left:?}");
        std::thread::yield_now();
    }
}

/// Whether tests go as far as tier soak takes them (`SCALEBED_TIER=soak`).
#[must_use]
pub fn soak() -> bool {
    std::env::var("SCALEBED_TIER").is_ok_and(|tier| tier == "soak")
}

/// Whether a program is here; where it is not, that is told.
#[must_use]
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|path| path.join(program).exists());
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

/// Runs a scenario in a simulated world whose nodes may be another lab's, and judges it by the true lab.
///
/// # Panics
/// The run could not be made.
#[must_use]
pub fn judged(world: &mut Sim, nodes: &Lab, loaded: &Loaded, settings: Settings) -> Ran {
    let ran = driver::drive(world, nodes, &loaded.scenario, settings, &mut |_| {}).expect("a run");
    let record = scalebed_checkers::judge(&ran.input(&loaded.lab, &loaded.scenario, "sim", settings.seed)).record;
    Ran { record, history: ran.evidence.history.entries }
}

/// Runs a shipped scenario in the simulated world and judges it.
///
/// # Panics
/// The run could not be made.
#[must_use]
pub fn simulate(scenario: &str, place: &Path) -> Judged {
    let loaded = files::scenario(scenario).unwrap_or_else(|failure| panic!("{scenario}: {failure}"));
    let request = Request {
        world: Where::Sim,
        settings: Settings { seed: 1, ..Settings::default() },
        programs: programs(),
        command: format!("scalebed run {scenario} --seed 1 --world sim"),
    };
    let dir = RunDir::create(Some(place), scenario, 1).expect("a run directory");
    run::once(&loaded, &request, &dir).unwrap_or_else(|failure| panic!("{scenario}: {failure}")).0
}

/// Everything that did not pass, for a failing test's message.
#[must_use]
pub fn complaints(record: &Record) -> String {
    record.complaints(8).join("\n")
}
