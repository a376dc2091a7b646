//! A journal reproduces what its engine did, for every program; what differs, is damaged or missing is said in words.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use scalebed_daemon::journal::{Journal, Kept, Reader, Start};
use scalebed_engine::{Engine, Input, Instant, Output};
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::replay::{End, one};
use scalebed_harness::world::sim::Sim;
use scalebed_harness::{files, journals, nodes};
use scalebed_tests::programs;

/// An engine whose inputs and outputs go into a journal, as a node's shell does it.
struct Journaled {
    engine: Box<dyn Engine>,
    journal: Journal,
}

impl Engine for Journaled {
    fn handle(&mut self, input: Input, now: Instant) {
        self.journal.input(&input, now);
        self.engine.handle(input, now);
    }

    fn poll(&mut self) -> Output {
        let output = self.engine.poll();
        self.journal.output(&output);
        if matches!(output, Output::Idle(_)) {
            self.journal.done();
        }
        output
    }
}

/// Runs a scenario in virtual time, every node with a journal, laid out as in a run directory.
fn journaled(scenario: &str, dir: &Path) {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let (lab, absent) = (loaded.lab.clone(), loaded.scenario.absent.clone());
    let starts: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let place = dir.to_path_buf();
    let wrap = move |name: &str, engine: Box<dyn Engine>| -> Box<dyn Engine> {
        let mut starts = starts.lock().expect("no panic before");
        let start = starts.entry(name.to_owned()).or_default();
        *start += 1;
        let (_, node) = lab.node(name).expect("a node of the lab");
        let settings = Settings::default();
        let config = nodes::config(&lab, &absent, node, *start, settings.ablations).expect("a node with a process");
        let folder = place.join("nodes").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let file = File::create(folder.join(journals::name(*start))).expect("a file");
        let start = Start { program: config.program().to_owned(), config: config.to_json().expect("json") };
        Box::new(Journaled { engine, journal: Journal::begin(file, &start).expect("a journal") })
    };
    let mut world = Sim::with(&loaded.lab, 1, Box::new(wrap));
    let settings = Settings { seed: 1, ..Settings::default() };
    driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {}).expect("a run");
}

fn inputs(path: &Path) -> (Start, Vec<Kept>) {
    let mut reader = Reader::open(path).expect("a journal");
    let inputs = std::iter::from_fn(|| reader.input().expect("readable")).collect();
    (reader.start().clone(), inputs)
}

/// The exit code, and everything that was printed.
fn scalebed_replay(arguments: &[&Path]) -> (Option<i32>, String) {
    let ran = Command::new(programs().join("scalebed"))
        .arg("replay")
        .args(arguments)
        .output()
        .expect("target/release/scalebed, which `make build` makes");
    (ran.status.code(), String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr))
}

#[test]
fn every_program_does_again_what_it_did() {
    let mut programs = BTreeMap::new();
    for scenario in ["maestro/member-kill", "elasticxl/pivot-kill"] {
        let place = tempfile::tempdir().expect("a temporary directory");
        journaled(scenario, place.path());
        let found = journals::find(place.path()).expect("a run directory");
        assert!(found.iter().any(|path| path.ends_with("journal-2")), "a node was started again");
        for path in found {
            let replayed = one(&path).expect("a journal");
            assert_eq!((&replayed.end, replayed.lost), (&End::Equal, false), "{scenario}: {}", path.display());
            *programs.entry(replayed.program).or_insert(0) += replayed.inputs;
        }
    }
    assert_eq!(programs.keys().collect::<Vec<_>>(), ["mho", "pivot", "sgm", "switch"]);
    assert!(programs.values().all(|inputs| *inputs > 10_000), "{programs:?}");
}

/// A run directory whose one journal was written of these inputs by an engine that was told only those that `told` picks.
fn rewritten(start: &Start, inputs: &[Kept], told: impl Fn(usize) -> bool) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let folder = place.path().join("nodes").join("n");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(journals::name(1));
    let config = nodes::Config::from_json(&start.program, &start.config).expect("json").expect("a program");
    let mut engine = config.engine();
    let mut journal = Journal::begin(File::create(&path).expect("a file"), start).expect("a journal");
    for (index, kept) in inputs.iter().enumerate() {
        journal.input(&kept.input, kept.now);
        if told(index) {
            let outputs = scalebed_engine::replay(engine.as_mut(), &[(kept.input.clone(), kept.now)]);
            outputs.iter().for_each(|output| journal.output(output));
        }
        journal.done();
    }
    journal.finish().expect("written");
    (place, path)
}

#[test]
fn the_command_says_equal_different_damaged_or_nothing_there() {
    let place = tempfile::tempdir().expect("a temporary directory");
    journaled("maestro/hang-1-unit", place.path());
    let (code, text) = scalebed_replay(&[&place.path().join("nodes/sgm-1-02")]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("journal: sgm, ") && text.contains(": equal") && text.lines().count() == 1, "{text}");

    // An engine that missed one frame did something else, and the replay ends at the first input that shows it.
    let (start, kept) = inputs(&place.path().join("nodes/sgm-1-02/journal"));
    let frame = |index: usize| matches!(kept[index].input, Input::Frame { .. });
    let missed = (500..kept.len()).find(|index| frame(*index)).expect("frames");
    let (same, _) = rewritten(&start, &kept, |_| true);
    assert_eq!(scalebed_replay(&[same.path()]).0, Some(0));
    let (other, path) = rewritten(&start, &kept, |index| index != missed);
    let (code, text) = scalebed_replay(&[other.path()]);
    assert_eq!(code, Some(20), "{text}");
    assert!(text.contains(&format!("{} inputs", missed + 1)) && text.contains("differs"), "{text}");
    assert!(text.contains("port ") && text.contains("  now: "), "the input and what comes of it: {text}");

    let mut bytes = fs::read(&path).expect("there");
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, bytes).expect("damaged");
    let (code, text) = scalebed_replay(&[other.path()]);
    assert_eq!(code, Some(22), "{text}");
    assert!(text.contains("nodes/n/journal: is damaged at record 0") && text.lines().count() == 1, "{text}");

    let empty = tempfile::tempdir().expect("a temporary directory");
    for (dir, words) in [(empty.path(), "holds no journals"), (Path::new("/nonexistent"), "cannot be read")] {
        let (code, text) = scalebed_replay(&[dir]);
        assert_eq!(code, Some(22), "{text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{text}");
    }
    assert_eq!(scalebed_replay(&[]).0, Some(2));
}

#[test]
fn an_input_in_which_the_node_ended_is_the_last_and_is_named() {
    let place = tempfile::tempdir().expect("a temporary directory");
    journaled("elasticxl/hang-1-unit", place.path());
    let (start, kept) = inputs(&place.path().join("nodes/member-1-01/journal"));
    let path = place.path().join("ended");
    let mut journal = Journal::begin(File::create(&path).expect("a file"), &start).expect("a journal");
    journal.input(&kept[0].input, kept[0].now);
    journal.finish().expect("written");
    let replayed = one(&path).expect("a journal");
    assert_eq!((replayed.inputs, &replayed.end), (1, &End::Survives), "it ended then, and does not now");
    assert!(!replayed.is_equal());
}
