//! A lab ends with its harness, however that ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scalebed_netns::{HostState, ProcessSpec, Recorded, Sandbox};

use crate::common;

/// After so long nothing may be left of a killed harness.
const GONE: Duration = Duration::from_secs(2);
/// How often one is killed here. `SCALEBED_TIER=soak` kills 200.
const KILLS: u64 = 20;

/// Processes, the init among them, whose command line or environment names `run_dir`.
fn processes_of(run_dir: &Path) -> Vec<String> {
    let needle = run_dir.to_string_lossy().into_owned();
    let names = |path: &Path| {
        ["cmdline", "environ"]
            .iter()
            .any(|file| fs::read(path.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&needle)))
    };
    let entries = fs::read_dir("/proc").expect("/proc").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| names(path)).map(|path| path.display().to_string()).collect()
}

fn left_of(run_dir: &Path) -> Vec<String> {
    let mut left = processes_of(run_dir);
    if let Ok(recorded) = Recorded::load(run_dir) {
        left.extend(recorded.leftovers().expect("a readable /proc"));
    }
    left
}

#[test]
fn netns_sigkill_at_any_instant_leaves_nothing() {
    let Some((sandbox, _place)) = common::sandbox("netns_sigkill_at_any_instant_leaves_nothing") else { return };
    drop(sandbox);
    let before = HostState::capture().expect("state of the host");
    let kills = if std::env::var("SCALEBED_TIER").is_ok_and(|tier| tier == "soak") { 10 * KILLS } else { KILLS };
    let mut worst = Duration::ZERO;
    let mut recorded = 0;
    for kill in 0..kills {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut victim = Command::new(env!("CARGO_BIN_EXE_lifeline-victim"))
            .arg(place.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("the victim");
        // Spread over start, building and standing. Multiples of 7.9 ms meet no step of the victim twice.
        std::thread::sleep(Duration::from_micros(kill * 7_919 % 60_000));
        victim.kill().expect("killed");
        let killed = Instant::now();
        victim.wait().expect("dead");
        recorded += u32::from(Recorded::load(place.path()).is_ok_and(|recorded| recorded.namespaces.len() > 5));
        loop {
            let left = left_of(place.path());
            if left.is_empty() {
                break;
            }
            assert!(killed.elapsed() < GONE, "kill {kill}: left after {GONE:?}: {left:#?}");
        }
        worst = worst.max(killed.elapsed());
    }
    println!("{kills} kills, {recorded} of labs with member namespaces, the slowest was gone after {worst:?}");
    assert!(recorded > 0, "every victim died before it had built anything: the test proves nothing");
    let after = HostState::capture().expect("state of the host");
    assert_eq!(before.diff(&after), Vec::<String>::new());
}

#[test]
fn netns_teardown_ends_processes_that_nobody_waited_for() {
    let Some((mut sandbox, place)) = common::sandbox("netns_teardown_ends_processes_that_nobody_waited_for") else {
        return;
    };
    let ns = sandbox.namespace("host").expect("a namespace");
    let spec = ProcessSpec {
        program: "sh".into(),
        // An orphan beside the process itself: nobody but the lab's init can be its parent.
        args: vec!["-c".to_owned(), "trap '' TERM; (sleep 600 &) ; sleep 600".to_owned()],
        env: vec![("SCALEBED_VICTIM".to_owned(), place.path().to_string_lossy().into_owned())],
        stdout: place.path().join("stdout.log"),
        stderr: place.path().join("stderr.log"),
        fifo_priority: None,
    };
    let mut process = sandbox.spawn(ns, &spec).expect("a process");
    assert!(process.exited().is_none());
    assert!(!processes_of(place.path()).is_empty());
    let began = Instant::now();
    sandbox.teardown().expect("nothing is left");
    assert!(began.elapsed() < GONE, "{:?}", began.elapsed());
    assert_eq!(processes_of(place.path()), Vec::<String>::new());
    assert!(process.exited().is_some_and(|status| !status.success()));
    sandbox.teardown().expect("a second teardown does nothing");
}

#[test]
fn netns_namespaces_vanish_with_their_sandbox_alone() {
    let Some((mut one, _first)) = common::sandbox("netns_namespaces_vanish_with_their_sandbox_alone") else { return };
    let (mut other, _second) = common::sandbox("netns_namespaces_vanish_with_their_sandbox_alone").expect("another");
    one.namespace("a").expect("a namespace");
    let b = other.namespace("b").expect("a namespace");
    assert!(one.inodes().is_disjoint(&other.inodes()));
    assert_eq!(one.inodes().len(), 6, "five of the init and one");
    one.teardown().expect("nothing is left");
    other.run_in(b, || ()).expect("the other sandbox lives on");
}

#[test]
fn netns_the_lab_sees_only_itself() {
    let Some((mut sandbox, place)) = common::sandbox("netns_the_lab_sees_only_itself") else { return };
    let ns = sandbox.namespace("host").expect("a namespace");
    let (stdout, stderr) = (place.path().join("stdout.log"), place.path().join("stderr.log"));
    let script = "echo pids $(ls -d /proc/[0-9]* | wc -l); echo links $(tail -n +3 /proc/net/dev | cut -d: -f1); \
                  echo forward $(cat /proc/sys/net/ipv4/ip_forward); echo descriptors $(ls /proc/self/fd | wc -l)";
    let args = vec!["-c".to_owned(), script.to_owned()];
    let spec = ProcessSpec {
        program: "sh".into(),
        args,
        env: Vec::new(),
        stdout: stdout.clone(),
        stderr,
        fifo_priority: None,
    };
    let mut process = sandbox.spawn(ns, &spec).expect("a process");
    let status = process.wait(GONE).expect("it ends");
    assert!(status.success());
    let said = fs::read_to_string(stdout).expect("its output");
    // The init, the shell, and the pipe's processes; ls has its three streams and the folder that it reads.
    let lines: Vec<&str> = said.lines().collect();
    let pids: u32 = lines[0].strip_prefix("pids ").and_then(|count| count.parse().ok()).expect("a number");
    assert!((2..=5).contains(&pids), "{said}");
    assert_eq!(&lines[1..], ["links lo", "forward 0", "descriptors 4"]);
}

#[test]
fn a_sandbox_needs_its_run_directory() {
    // Unprivileged, the init is refused before the directory is looked at; both are errors with a reason.
    let error = Sandbox::create(Path::new("/nowhere/at/all")).expect_err("no such directory").to_string();
    assert!(error.starts_with("namespaces.json: ") || error.starts_with("lab init: "), "{error}");
}

#[test]
fn netns_a_lab_that_starts_while_another_ends_is_not_mistaken_for_it() {
    let test = "netns_a_lab_that_starts_while_another_ends_is_not_mistaken_for_it";
    let Some(probe) = common::sandbox(test) else { return };
    drop(probe);
    for _ in 0..5 {
        let (mut ending, _place) = common::sandbox(test).expect("a sandbox");
        common::two_hosts(&mut ending);
        // The kernel gives the lowest free inode number: what one lab gives back, the next one has at once.
        let torn = std::thread::spawn(move || {
            let began = Instant::now();
            (ending.teardown(), began.elapsed())
        });
        let mut living = Vec::new();
        while !torn.is_finished() && living.len() < 100 {
            living.push(common::sandbox(test).expect("a sandbox"));
        }
        let (outcome, took) = torn.join().expect("no panic");
        outcome.expect("nothing of this lab is left");
        assert!(took < GONE, "{took:?}");
    }
}
