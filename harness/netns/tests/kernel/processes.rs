//! Processes in the lab: signals by descriptor, proof of death, scheduling.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use scalebed_netns::{Error, ProcessSpec};

use crate::common;

/// For a loaded machine; each wait ends with its event.
const PATIENCE: Duration = Duration::from_secs(5);

fn shell(folder: &Path, script: &str) -> ProcessSpec {
    ProcessSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("LAB_SAYS".to_owned(), "hello".to_owned())],
        stdout: folder.join("stdout.log"),
        stderr: folder.join("stderr.log"),
        fifo_priority: None,
    }
}

#[test]
fn netns_a_process_is_stopped_continued_and_killed() {
    let Some((mut sandbox, place)) = common::sandbox("netns_a_process_is_stopped_continued_and_killed") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let mut process = sandbox.spawn(ns, &shell(place.path(), "exec sleep 600")).expect("a process");
    assert!(!process.stopped());
    process.stop().expect("stopped");
    let began = std::time::Instant::now();
    while !process.stopped() {
        assert!(began.elapsed() < PATIENCE, "it does not stop");
        std::thread::yield_now();
    }
    assert!(process.exited().is_none());
    process.cont().expect("continued");
    assert!(!process.stopped());
    let alive = process.wait(Duration::from_millis(1)).expect_err("it sleeps");
    assert!(matches!(alive, Error::Alive { .. }), "{alive}");
    process.kill().expect("killed");
    assert_eq!(process.wait(PATIENCE).expect("dead").signal(), Some(9));
    assert_eq!(process.exited().and_then(|status| status.signal()), Some(9));
    assert!(matches!(process.kill(), Err(Error::Dead { .. })));
}

#[test]
fn netns_a_process_ends_by_itself_and_says_how() {
    let Some((mut sandbox, place)) = common::sandbox("netns_a_process_ends_by_itself_and_says_how") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let script = "echo $LAB_SAYS; pwd; echo oops >&2; exit 7";
    let mut process = sandbox.spawn(ns, &shell(place.path(), script)).expect("a process");
    assert_eq!(process.wait(PATIENCE).expect("its end").code(), Some(7));
    let here = std::env::current_dir().expect("working directory").display().to_string();
    let read = |name: &str| fs::read_to_string(place.path().join(name)).expect("a log");
    assert_eq!(read("stdout.log"), format!("hello\n{here}\n"));
    assert_eq!(read("stderr.log"), "oops\n");
    let mut again = sandbox.spawn(ns, &shell(place.path(), "echo again")).expect("a process");
    assert!(again.wait(PATIENCE).expect("its end").success());
    assert_eq!(read("stdout.log"), format!("hello\n{here}\nagain\n"), "a restart appends");
}

#[test]
fn netns_terminate_is_a_request() {
    let Some((mut sandbox, place)) = common::sandbox("netns_terminate_is_a_request") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    // Whoever reads the line knows that the trap stands.
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = sandbox.spawn(ns, &shell(place.path(), script)).expect("a process");
    let began = std::time::Instant::now();
    while fs::read_to_string(place.path().join("stdout.log")).unwrap_or_default() != "ready\n" {
        assert!(began.elapsed() < PATIENCE, "it does not start");
        std::thread::yield_now();
    }
    process.terminate().expect("asked");
    assert_eq!(process.wait(PATIENCE).expect("its end").code(), Some(3));
}

#[test]
fn netns_no_signal_is_blocked_or_ignored_in_a_process() {
    let Some((mut sandbox, place)) = common::sandbox("netns_no_signal_is_blocked_or_ignored_in_a_process") else {
        return;
    };
    let ns = sandbox.namespace("host").expect("a namespace");
    // As a harness does that reads its signals from a descriptor. SIGPIPE is ignored in every Rust program.
    let mask: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    mask.thread_block().expect("blocked");
    let spec = ProcessSpec {
        program: "grep".into(),
        args: ["-E", "^Sig(Blk|Ign)", "/proc/self/status"].map(str::to_owned).into(),
        ..shell(place.path(), "")
    };
    let mut process = sandbox.spawn(ns, &spec).expect("a process");
    assert!(process.wait(PATIENCE).expect("its end").success());
    let said = fs::read_to_string(place.path().join("stdout.log")).expect("its output");
    let masks: Vec<u64> = said
        .lines()
        .map(|line| u64::from_str_radix(line.split_ascii_whitespace().last().expect("a mask"), 16).expect("hex"))
        .collect();
    // 32 and 33 are the C library's own; its posix_spawn leaves them ignored, and a thread library takes them itself.
    assert_eq!(masks.iter().map(|mask| mask & !0x1_8000_0000).collect::<Vec<_>>(), [0, 0], "{said}");
}

#[test]
fn netns_a_dropped_process_is_dead() {
    let Some((mut sandbox, place)) = common::sandbox("netns_a_dropped_process_is_dead") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let process = sandbox.spawn(ns, &shell(place.path(), "exec sleep 600")).expect("a process");
    let folder = format!("/proc/{}", process.pid());
    assert!(Path::new(&folder).exists());
    drop(process);
    assert!(!Path::new(&folder).exists());
}

#[test]
fn netns_what_cannot_be_started_is_an_error() {
    let Some((mut sandbox, place)) = common::sandbox("netns_what_cannot_be_started_is_an_error") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let spec = ProcessSpec { program: "/nowhere/node".into(), ..shell(place.path(), "") };
    let error = sandbox.spawn(ns, &spec).expect_err("no such program").to_string();
    assert!(error.starts_with("start of /nowhere/node: "), "{error}");
}

#[test]
fn netns_scheduling_is_taken_by_the_launcher() {
    let Some((mut sandbox, place)) = common::sandbox("netns_scheduling_is_taken_by_the_launcher") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let spec = ProcessSpec { fifo_priority: Some(10), ..shell(place.path(), "exec sleep 600") };
    let process = sandbox.spawn(ns, &spec).expect("a process");
    // Fields 40 and 41 of /proc/pid/stat: real-time priority and policy (1 is SCHED_FIFO).
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("its stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_ascii_whitespace().collect();
    let expected = if process.realtime() { ["10", "1"] } else { ["0", "0"] };
    assert_eq!(fields[37..39], expected);
    let own = fs::read_to_string("/proc/thread-self/stat").expect("own stat");
    assert_eq!(
        own.rsplit(')').next().expect("fields").split_ascii_whitespace().nth(38),
        Some("0"),
        "the harness has not"
    );
    if !process.realtime() {
        println!("note: SCHED_FIFO is not permitted here");
    }
}
