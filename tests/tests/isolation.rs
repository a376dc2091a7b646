//! A run leaves nothing, whatever ends it, and touches nothing that it did not make.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scalebed_engine::Rng;
use scalebed_harness::{journals, replay};
use scalebed_netns::{HostState, Recorded};
use scalebed_tests::{needs_root, nothing_left, programs};

/// Random instants in tier test; `SCALEBED_TIER=soak` takes 200.
fn instants() -> u32 {
    if scalebed_tests::soak() { 200 } else { 20 }
}

/// Runs beside each other: nothing is measured here, and a busy machine spreads the instants over more of the set-up.
const WAVE: u32 = 5;

/// A short run that passes.
fn start(out: &Path) -> Child {
    start_one("short.yaml", out)
}

fn start_one(scenario: &str, out: &Path) -> Child {
    Command::new(programs().join("scalebed"))
        .arg("run")
        .arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data")).join(scenario))
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("target/release/scalebed, which `make build` makes")
}

/// Starts some runs, kills each at an instant of its own, and looks for what is left once all are dead: the kernel gives
/// the inode numbers of a dead lab to the next one, so a lab that is still being built would be taken for it. How many of
/// them had built something.
fn killed_in_a_wave(wave: u32) -> u32 {
    let places: Vec<_> = (0..WAVE).map(|_| tempfile::tempdir().expect("a temporary directory")).collect();
    std::thread::scope(|scope| {
        for (lane, place) in (0..WAVE).zip(&places) {
            scope.spawn(move || kill_one(u64::from(wave * WAVE + lane), &place.path().join("run")));
        }
    });
    let left = |place: &tempfile::TempDir| nothing_left(&place.path().join("run"), &format!("wave {wave}"));
    places.iter().map(|place| u32::from(left(place))).sum()
}

fn kill_one(number: u64, out: &Path) {
    let mut run = start(out);
    let after = Duration::from_millis(Rng::new(number, "sigkill").below(6000));
    // The instant itself is what is tested: nothing is waited for here.
    std::thread::sleep(after);
    run.kill().expect("a kill");
    run.wait().expect("an end");
    let Ok(recorded) = Recorded::load(out) else { return };
    let deadline = Instant::now() + Duration::from_secs(2);
    while recorded.init_lives() {
        assert!(Instant::now() < deadline, "run {number}, killed after {after:?}: its init lives after 2 s");
        std::thread::yield_now();
    }
}

#[test]
fn netns_sigkill_at_random_instants_leaves_nothing() {
    if needs_root() {
        return;
    }
    let before = HostState::capture().expect("the host's state");
    let built: u32 = (0..instants() / WAVE).map(killed_in_a_wave).sum();
    assert!(built * 10 >= instants() * 8, "only {built} of {} runs had built anything", instants());
    let differences = before.diff(&HostState::capture().expect("the host's state"));
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn netns_the_host_is_as_it_was_after_a_run_that_failed_and_can_be_replayed() {
    if needs_root() {
        return;
    }
    let before = HostState::capture().expect("the host's state");
    let place = tempfile::tempdir().expect("a temporary directory");
    let out = place.path().join("run");
    let status = start_one("failing.yaml", &out).wait().expect("an end");
    assert_eq!(status.code(), Some(20), "{}", report(&out));
    assert!(nothing_left(&out, "after a run"));
    the_journals_are_there_and_replay(&out);
    let differences = before.diff(&HostState::capture().expect("the host's state"));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Every process that ran left a journal, the killed one too, and its engine does again what it did.
fn the_journals_are_there_and_replay(out: &Path) {
    let found = journals::find(out).expect("a run directory");
    let nodes = ["mho1", "mho2", "sgm-1-01", "sgm-1-02", "sgm-1-03", "sgm-1-04", "sw-inside", "sw-mgmt", "sw-outside"];
    assert_eq!(found, nodes.map(|node| out.join("nodes").join(node).join("journal")));
    for path in found {
        let replayed = replay::one(&path).expect("a journal");
        assert!(replayed.is_equal() && replayed.inputs > 5, "{}: {replayed:?}", path.display());
    }
    let text = report(out);
    let first = text.lines().nth(2).unwrap_or_default();
    assert!(first.starts_with("**Replay it first:** scalebed replay "), "{first}");
}

#[test]
fn netns_two_runs_at_once_do_not_see_each_other() {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let outs = [place.path().join("one"), place.path().join("two")];
    let runs = outs.each_ref().map(|out| start(out));
    for (mut run, out) in runs.into_iter().zip(&outs) {
        // Same lab, same addresses: a frame of the other would be foreign, misdelivered or not in the ledger.
        let status = run.wait().expect("an end");
        assert!(status.success(), "{status}: {}", report(out));
        let left = journals::find(out).expect("a run directory");
        assert!(left.is_empty(), "a run that passed keeps no journals: {left:?}");
    }
}

#[test]
fn netns_an_interrupt_tears_down_and_still_writes_what_was_seen() {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let out = place.path().join("run");
    let mut run = start(&out);
    // In the middle of the traffic, wherever that is on this machine: the schedule's file says that it has begun.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !out.join("schedule.json").exists() {
        assert!(Instant::now() < deadline, "no traffic after 20 s");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(run.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
    let status = run.wait().expect("an end");
    assert_eq!(status.code(), Some(130), "{}", report(&out));
    assert!(out.join("history.jsonl").exists() && out.join("report.html").exists());
    assert!(nothing_left(&out, "after an interrupt"));
}

/// What the report says, for a failing test.
fn report(out: &Path) -> String {
    std::fs::read_to_string(out.join("report.md")).unwrap_or_else(|error| format!("no report: {error}"))
}
