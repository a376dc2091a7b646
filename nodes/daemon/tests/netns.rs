//! The switch as a process between two packet sockets, in namespaces of the test's own.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use scalebed_daemon::journal::Reader;
use scalebed_engine::{NodeEvent, Output, Status};
use scalebed_frame::Mac;
use scalebed_netns::{Error, NsId, Process, ProcessSpec, Sandbox, Stack, VethEnd};
use scalebed_port::{FrameBatch, PacketPort, Port as _, wait};
use scalebed_switch::{Config, Switch};
use scalebed_topologies::lab::{Port, PortRole};
use serde_json::Value;

/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the node is stopped.
const STOPPED: Duration = Duration::from_millis(80);
const A: u8 = 1;
const B: u8 = 2;

/// A switch between the stations a and b.
struct Bench {
    sandbox: Sandbox,
    place: tempfile::TempDir,
    b: NsId,
    at_a: PacketPort,
    at_b: PacketPort,
    switch: Process,
    events: Receiver<Value>,
}

fn config() -> Config {
    let port = |name: &str| Port { name: name.to_owned(), role: PortRole::Access, mac: Mac::ZERO, mtu: 1600, cable: 0 };
    Config { name: "inside".to_owned(), ports: vec![port("p0"), port("p1")] }
}

impl Bench {
    /// Nothing, and a line that says so, where namespaces are not permitted.
    fn start(test: &str) -> Option<Self> {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut sandbox = match Sandbox::create(place.path()) {
            Ok(sandbox) => sandbox,
            Err(Error::Init { step, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
                println!("skipped: {test}: namespaces are not permitted here ({step}: {source})");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let [a, b, middle] = ["a", "b", "switch"].map(|name| sandbox.namespace(name).expect("a namespace"));
        let end =
            |ns, name: &str, number| VethEnd { ns, name: name.to_owned(), mac: [2, 0, 0, 0, 1, number], mtu: 1600 };
        for (station, number, port) in [(a, A, "p0"), (b, B, "p1")] {
            sandbox.veth(&end(station, "p0", number), &end(middle, port, 10 + number)).expect("a cable");
            for (ns, name) in [(station, "p0"), (middle, port)] {
                sandbox.stack(ns, name, Stack::Cut).expect("no stack");
                sandbox.set_up(ns, name, true).expect("up");
            }
        }
        let open = |ns| sandbox.run_in(ns, || PacketPort::open("p0")).expect("in it").expect("a port");
        let (at_a, at_b) = (open(a), open(b));
        let events = events(&place.path().join("events.fifo"));
        let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("config.json"), serde_json::to_string(&config()).expect("json")).expect("written");
        let args = ["--config", "config.json", "--control", "control.sock", "--events", "events.fifo", "--journal"];
        let mut args: Vec<String> =
            args.iter().map(|arg| if arg.starts_with('-') { (*arg).to_owned() } else { path(arg) }).collect();
        args.push(path("journal.bin"));
        let spec = ProcessSpec {
            program: env!("CARGO_BIN_EXE_switch").into(),
            args,
            env: Vec::new(),
            stdout: place.path().join("out.log"),
            stderr: place.path().join("err.log"),
            fifo_priority: None,
        };
        let switch = sandbox.spawn(middle, &spec).expect("a process");
        Some(Self { sandbox, place, b, at_a, at_b, switch, events })
    }

    fn event(&self) -> Value {
        let log = || std::fs::read_to_string(self.place.path().join("err.log")).unwrap_or_default();
        self.events.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no event: {error}; {}", log()))
    }

    /// Waits for one; a loaded machine may cause shorter ones too.
    fn stall_of_at_least(&self, shortest: Duration) {
        while self.event()["stall"].as_u64().is_none_or(|stall| Duration::from_nanos(stall) < shortest) {}
    }

    fn status(&self) -> Status {
        let mut stream = UnixStream::connect(self.place.path().join("control.sock")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(b"\"status\"\n").expect("asked");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        status_of(&serde_json::from_str(&line).expect("json"))
    }
}

fn status_of(line: &Value) -> Status {
    match serde_json::from_value(line["event"].clone()) {
        Ok(NodeEvent::Status(status)) => *status,
        other => panic!("not a status: {other:?}"),
    }
}

/// Makes the FIFO and gives its lines as they come. Its thread ends with the node.
fn events(fifo: &Path) -> Receiver<Value> {
    nix::unistd::mkfifo(fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
    let (fifo, (sender, receiver)) = (fifo.to_owned(), channel());
    std::thread::spawn(move || {
        let lines = BufReader::new(File::open(fifo).expect("a reader")).lines();
        let lines = lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("json"));
        let _until_the_test_ends = lines.map(|line| sender.send(line)).find(Result::is_err);
    });
    receiver
}

fn send(port: &mut PacketPort, from: u8, to: u8, number: u8) {
    let mut frame = [number; 64];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 1, to, 2, 0, 0, 0, 1, from, 8, 0]);
    let mut batch = FrameBatch::new();
    assert!(batch.push(&frame));
    port.send(&mut batch).expect("sent");
}

/// The last byte of every frame that is there within the limit.
fn receive(port: &mut PacketPort, limit: Duration) -> Vec<u8> {
    wait(&[port.as_fd()], Some(limit)).expect("a wait");
    let mut batch = FrameBatch::new();
    port.recv(&mut batch).expect("received");
    batch.frames().filter_map(|slot| slot.bytes().last().copied()).collect()
}

#[test]
fn netns_a_switch_forwards_answers_and_confesses() {
    let Some(mut bench) = Bench::start("netns_a_switch_forwards_answers_and_confesses") else { return };
    assert_eq!(bench.event()["event"], "ready");
    let mode = std::fs::metadata(bench.place.path().join("control.sock")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A switch sets no ports: once in service it may do nothing that root may.
    let process = std::fs::read_to_string(format!("/proc/{}/status", bench.switch.pid())).expect("its status");
    let none = ["CapInh", "CapPrm", "CapEff"].map(|set| format!("{set}:\t0000000000000000"));
    assert!(none.iter().all(|line| process.contains(line)), "{process}");
    send(&mut bench.at_a, A, B, 7);
    assert_eq!(receive(&mut bench.at_b, PATIENCE), [7]);
    send(&mut bench.at_b, B, A, 8);
    assert_eq!(receive(&mut bench.at_a, PATIENCE), [8]);
    let status = bench.status();
    assert_eq!((status.node.as_str(), status.counters["in.p0"], status.counters["out.p0"]), ("inside", 1, 1));

    // Stopped, it leaves a frame lie; woken, it sees its own gap, says so, and goes on.
    bench.switch.stop().expect("stopped");
    send(&mut bench.at_a, A, B, 9);
    assert!(receive(&mut bench.at_b, STOPPED).is_empty());
    bench.switch.cont().expect("goes on");
    assert_eq!(receive(&mut bench.at_b, PATIENCE), [9]);
    bench.stall_of_at_least(STOPPED);
    assert!(bench.status().counters["stalls"] >= 1);

    // Carrier: what cannot leave is dropped by name.
    bench.sandbox.set_up(bench.b, "p0", false).expect("down");
    let start = Instant::now();
    while !bench.status().drops.contains_key("nowhere") {
        assert!(start.elapsed() < PATIENCE, "the switch did not see the carrier go");
        send(&mut bench.at_a, A, B, 10);
    }

    bench.switch.terminate().expect("told");
    assert!(bench.switch.wait(PATIENCE).expect("gone").success());
    let last = status_of(&std::iter::from_fn(|| bench.events.recv_timeout(PATIENCE).ok()).last().expect("an event"));
    let mut reader = Reader::open(&bench.place.path().join("journal.bin")).expect("a journal");
    let kept = std::iter::from_fn(|| reader.input().expect("whole"));
    let inputs: Vec<_> = kept.map(|kept| (kept.input, kept.now)).collect();
    assert!(!reader.lost());
    let outputs = scalebed_engine::replay(&mut Switch::new(config()), &inputs);
    let sent = outputs.iter().filter(|output| matches!(output, Output::Transmit { .. })).count();
    assert_eq!(u64::try_from(sent).expect("few"), last.counters["out.p0"] + last.counters["out.p1"]);
    let replayed = outputs.iter().rev().find_map(|output| match output {
        Output::Event(NodeEvent::Status(status)) => Some(&status.counters),
        _ => None,
    });
    let replayed = replayed.expect("the final status is an output too");
    assert!(replayed.iter().all(|(name, count)| last.counters[name] == *count), "{replayed:?} {last:?}");
}

#[test]
fn a_wrong_command_line_exits_2_in_words() {
    let output = Command::new(env!("CARGO_BIN_EXE_switch")).arg("--colour").output().expect("ran");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("--colour") && text.contains("--config FILE"), "{text}");
}

#[test]
fn a_missing_configuration_exits_1_and_names_the_file() {
    let args = ["--config", "/nonexistent/config.json", "--control", "c", "--events", "e"];
    let output = Command::new(env!("CARGO_BIN_EXE_mho")).args(args).output().expect("ran");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/config.json"));
}
