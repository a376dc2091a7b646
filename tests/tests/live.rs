//! Labs that stay up: what is typed at one, what it answers, and that nothing of it is left, whatever ends it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pcap_file::pcapng::{Block, PcapNgReader};
use scalebed_engine::Rng;
use scalebed_frame::control::{self, Reassembler};
use scalebed_frame::{NodeId, View};
use scalebed_netns::HostState;
use scalebed_tests::user::{User, both};
use scalebed_tests::{installed, needs_root, nothing_left};

/// Random instants in tier test; `SCALEBED_TIER=soak` takes 200.
fn instants() -> u32 {
    if scalebed_tests::soak() { 200 } else { 20 }
}

/// Keepers beside each other.
const WAVE: u32 = 5;

#[test]
fn without_a_lab_every_command_says_so() {
    let user = User::new();
    for args in [vec!["status"], vec!["down"], vec!["exec", "inside-1", "true"], vec!["events"], vec!["fault", "heal"]]
    {
        user.is_told(&args, 26, "no lab is up");
    }
    user.is_told(&["status", "--lab", "mine"], 26, "no lab `mine` is up");
    user.is_told(&["up"], 2, "name a lab");
    user.is_told(&["up", "maestro-single-site", "--name", "a/b"], 2, "no name for a lab");
    user.is_told(&["up", "maestro-singel-site"], 22, "maestro-single-site");
    assert_eq!(user.types(&["exec", "inside-1"]).status.code(), Some(2));
    assert_eq!(user.types(&["fault", "inject", "explode", "mho1"]).status.code(), Some(2));
    let drawing = user.gets(&["graph", "maestro-single-site", "--format", "dot"]);
    assert!(drawing.contains("sgm-1-04"), "{drawing}");
    let way = user.gets(&["explain", "elasticxl-single-site", "198.18.0.101", "198.18.1.101", "tcp:1024:80"]);
    assert!(way.contains("the pivot hands answers over"), "{way}");
    user.is_told(&["explain", "maestro-single-site", "198.18.0.101", "8.8.8.8"], 2, "on no network");
    assert!(
        !user.place.path().join("runs").exists() && !user.place.path().join("state").exists(),
        "nothing is created"
    );
}

#[test]
fn netns_a_maestro_lab_from_up_to_down() {
    if needs_root() || !installed("ping") {
        return;
    }
    let before = HostState::capture().expect("the host's state");
    let user = User::new();
    let text = user.gets(&["up", "maestro-single-site"]);
    assert!(text.contains("maestro-single-site is up"), "{text}");
    let folder = user.run_directory();
    assert!(user.gets(&["up", "maestro-single-site"]).contains("nothing to change"));
    commands_run_on_its_nodes(&user);
    it_is_explained_and_drawn(&user);
    its_cables_are_captured(&user);

    let status = user.gets(&["status"]);
    assert!(status.contains("members 4 / 4 active") && status.contains("SMO"), "{status}");
    user.gets(&["fault", "inject", "kill", "sgm-1-03"]);
    user.is_told(&["fault", "inject", "hang", "sgm-1-03"], 2, "is dead");
    user.is_told(&["fault", "inject", "black-hole", "mho1--sgm-1-01"], 24, "--wires");
    user.sees(&["kill sgm-1-03", "declares 1_03 dead", "is active"]);
    let status = user.gets(&["status"]);
    assert!(status.contains("members 3 / 4 active") && status.contains("broken: kill sgm-1-03"), "{status}");
    assert!(user.gets(&["fault", "heal"]).contains("kill sgm-1-03"));
    user.sees(&["kill sgm-1-03", "start sgm-1-03", "active:"]);
    let status: serde_json::Value = serde_json::from_str(&user.gets(&["inspect", "--format", "json"])).expect("JSON");
    assert_eq!(status["broken"], serde_json::json!([]));
    user.is_told(&["fault", "heal"], 2, "nothing is broken");
    assert!(user.gets(&["fault", "inject", "kill", "smo"]).contains("broken now: kill sgm-1-01"));
    user.is_told(&["fault", "inject", "kill", "pivot"], 2, "there is no `pivot` to break so");
    user.gets(&["fault", "heal", "sgm-1-01"]);
    // Plugged in at a member, a cable has no carrier while the orchestrator is off: the lab stays up.
    let cable = "mho2--sgm-1-02";
    user.gets(&["fault", "inject", "flap=50", cable]);
    user.gets(&["fault", "inject", "power-off", "mho2"]);
    user.sees(&["power-off mho2", &format!("mend {cable}"), &format!("unplug {cable}")]);
    assert!(user.gets(&["fault", "heal"]).contains(&format!("flap=50 {cable}, power-off mho2")));

    user.gets(&["down"]);
    assert!(nothing_left(&folder, "after down"));
    user.is_told(&["status"], 26, "no lab is up");
    let differences = before.diff(&HostState::capture().expect("the host's state"));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Average round trip through the cluster, ms, as `ping` says it; none: nothing came back.
fn round_trip(user: &User) -> Option<f64> {
    let args = ["exec", "inside-1", "--", "ping", "-c", "5", "-i", "0.05", "-W", "1", "198.18.1.101"];
    let text = both(&user.types(&args));
    let numbers = text.lines().find(|line| line.starts_with("rtt"))?.split_once("= ")?.1;
    numbers.split('/').nth(1)?.parse().ok()
}

#[test]
fn netns_cables_of_a_live_lab_are_impaired_and_healed() {
    if needs_root() || !installed("ping") {
        return;
    }
    let user = User::new();
    user.gets(&["up", "elasticxl-single-site", "--wires"]);
    let folder = user.run_directory();
    let plain = round_trip(&user).expect("answers");
    let cable = "inside-1--sw-inside";
    user.gets(&["fault", "inject", "delay=20", cable]);
    let delayed = round_trip(&user).expect("answers");
    println!("round trip: plain {plain} ms, with 20 ms each way on one cable {delayed} ms");
    assert!((39.0..60.0).contains(&delayed), "{plain} ms and {delayed} ms");
    user.gets(&["fault", "inject", "black-hole", cable]);
    assert_eq!(round_trip(&user), None);
    let status = user.gets(&["status"]);
    assert!(status.contains("broken: delay=20 inside-1--sw-inside, black-hole inside-1--sw-inside"), "{status}");
    user.gets(&["fault", "heal", cable]);
    let healed = round_trip(&user).expect("answers");
    assert!(healed < plain + 5.0, "{plain} ms and {healed} ms");
    // A network in the cable's place: 50 ms each way, 2 of jitter.
    user.gets(&["fault", "inject", "wan-100ms", cable]);
    let far = round_trip(&user).expect("answers");
    println!("round trip over wan-100ms: {far} ms");
    assert!((95.0..125.0).contains(&far), "{plain} ms and {far} ms");
    user.gets(&["fault", "inject", "duplicate=100", cable]);
    let ping = user.types(&["exec", "inside-1", "--", "ping", "-c", "2", "-i", "0.2", "-W", "2", "198.18.1.101"]);
    assert!(String::from_utf8_lossy(&ping.stdout).contains("duplicates"), "{}", both(&ping));
    user.gets(&["fault", "heal", cable]);
    user.is_told(&["fault", "inject", "flap=5", cable], 2, "at least 10 ms");
    user.gets(&["fault", "inject", "flap=50", cable]);
    user.sees(&[&format!("unplug {cable}"), &format!("mend {cable}"), &format!("unplug {cable}")]);
    assert!(user.gets(&["status"]).contains("broken: flap=50 inside-1--sw-inside"));
    user.gets(&["fault", "heal", cable]);
    assert!(round_trip(&user).is_some());
    // A cable that is pulled has no carrier at its other end either.
    user.gets(&["fault", "inject", "unplug", cable]);
    assert_eq!(round_trip(&user), None);
    user.gets(&["fault", "heal"]);
    assert!(round_trip(&user).is_some());
    user.gets(&["down"]);
    assert!(nothing_left(&folder, "after down"));
}

fn commands_run_on_its_nodes(user: &User) {
    let ping = user.gets(&["exec", "inside-1", "--", "ping", "-c", "2", "-i", "0.2", "-W", "2", "198.18.1.101"]);
    assert!(ping.contains("2 received"), "{ping}");
    assert_eq!(user.types(&["exec", "inside-1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(user.types(&["exec", "inside-1", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    user.is_told(&["exec", "inside-1", "no-such-command"], 127, "no command `no-such-command`");
    user.is_told(&["exec", "nowhere", "true"], 2, "inside-1");
    // A member has ports, and nothing of the host's.
    let links = user.gets(&["exec", "sgm-1-01", "--", "cat", "/proc/net/dev"]);
    assert_eq!(links.lines().count(), 2 + 3, "loopback and two downlinks: {links}");
}

fn it_is_explained_and_drawn(user: &User) {
    let way = user.gets(&["explain", "maestro-single-site", "198.18.0.101", "198.18.1.101", "icmp"]);
    let owner = way.lines().find(|line| line.starts_with("forward")).and_then(|line| line.split("owner ").nth(1));
    let owner = owner.and_then(|rest| rest.split(',').next()).expect("an owner");
    let member = format!("> sgm-{}:", owner.replace('_', "-"));
    let to_members: Vec<_> =
        way.lines().filter(|line| line.contains("> sgm-1-") && line.contains("forward as data")).collect();
    assert_eq!(to_members.len(), 1, "{way}");
    assert!(to_members[0].contains(&format!("{member} 2 frames")), "{way}");
    let drawing = user.gets(&["graph", "maestro-single-site"]);
    assert!(drawing.contains("SMO active"), "{drawing}");
}

fn its_cables_are_captured(user: &User) {
    let file = user.place.path().join("ping.pcapng");
    let name = file.to_string_lossy().into_owned();
    user.is_told(&["capture", "nowhere"], 2, "cables: ");
    let capture = ["capture", "inside-1", "mho1--sgm-1-01", "--frames", "1000000", "--for", "1s", "--write", &name];
    let mut capture = user.command(&capture).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a capture");
    let mut said = BufReader::new(capture.stderr.take().expect("a pipe")).lines();
    let first = said.next().and_then(Result::ok).unwrap_or_default();
    assert!(first.contains("4 ends of 2 cables"), "{first}");
    user.gets(&["exec", "inside-1", "--", "ping", "-c", "2", "-i", "0.2", "-W", "2", "198.18.1.101"]);
    assert!(capture.wait().expect("an end").success());
    let mut reader = PcapNgReader::new(std::fs::File::open(&file).expect("a file")).expect("a pcapng");
    let (mut pings, mut last, mut frames) = (0, Duration::ZERO, Vec::new());
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("readable").into_owned() else { continue };
        assert!(last <= packet.timestamp, "in order");
        last = packet.timestamp;
        assert_eq!(packet.original_len as usize, packet.data.len(), "whole frames");
        // IPv4, ICMP, on the host's own cable: no shim there.
        pings += u32::from(packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&1));
        frames.push(packet.data.into_owned());
    }
    wireshark_reads_them(&name, &frames);
    let names: Vec<_> = reader.interfaces().iter().flat_map(|interface| &interface.options).collect();
    assert!(format!("{names:?}").contains("mho1--sgm-1-01 > sgm-1-01"), "{names:?}");
    assert_eq!(pings, 4, "two echoes and two answers on the cable of inside-1");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!(now.abs_diff(last) < Duration::from_secs(5), "stamps are of today: {last:?}");
}

/// With the dissector of docs/, Wireshark says of each frame what the frame library says.
fn wireshark_reads_them(file: &str, frames: &[Vec<u8>]) {
    let script = concat!("lua_script:", env!("CARGO_MANIFEST_DIR"), "/../docs/scalebed.lua");
    let fields = ["scalebed.kind", "scalebed.origin", "scalebed_control.from", "scalebed_control.body"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-X", script, "-r", file, "-T", "fields", "-E", "separator=,"]);
    let Ok(read) = tshark.args(fields.iter().flat_map(|field| ["-e", field])).output() else {
        println!("skipped: that tshark reads a capture: it is not installed");
        return;
    };
    assert!(read.status.success(), "{}", both(&read));
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    let mut controls = 0;
    for (line, frame) in text.lines().zip(frames) {
        let view = View::parse(frame).expect("a frame");
        let shim = view.shim.map(|shim| {
            let origin = NodeId::from_code(shim.origin).map_or("nobody".to_owned(), |node| node.to_string());
            format!("{},{origin}", shim.kind as u8)
        });
        let payload = control::payload(frame, &view);
        let message = payload.and_then(|piece| Reassembler::default().push(0, piece).expect("readable"));
        controls += u32::from(message.is_some());
        let message = message.map(|message| {
            let body = format!("{:?}", message.body);
            let name: String = body.chars().take_while(char::is_ascii_alphanumeric).collect();
            format!("{},{name}", message.from)
        });
        // The first part of a longer message says from whom it is, and what: that is not held against anything here.
        if message.is_some() || payload.is_none() {
            let told = format!("{},{}", shim.unwrap_or(",".to_owned()), message.unwrap_or(",".to_owned()));
            assert_eq!(line, told);
        }
    }
    assert_eq!(text.lines().count(), frames.len());
    assert!(controls > 10, "{controls} control messages in {} frames", frames.len());
}

#[test]
fn netns_two_labs_with_the_same_addresses_at_once() {
    if needs_root() || !installed("ping") {
        return;
    }
    let user = User::new();
    let mut folders = Vec::new();
    for name in ["one", "two"] {
        user.gets(&["up", "elasticxl-single-site", "--name", name]);
        folders.push(user.run_directory());
    }
    user.is_told(&["status"], 26, "one, two");
    for name in ["one", "two"] {
        let ping = user.gets(&["exec", "-l", name, "inside-1", "--", "ping", "-c", "1", "-W", "2", "198.18.1.101"]);
        assert!(ping.contains("1 received"), "{ping}");
        // The file may be gone or another: what was built is what is taken down.
        std::fs::remove_file(folders[usize::from(name == "two")].join("lab.yaml")).expect("removed");
        let status = user.gets(&["status", "--lab", name]);
        assert!(status.contains("members 3 / 3 active") && status.contains("PIVOT"), "{status}");
    }
    user.gets(&["down", "--lab", "one"]);
    assert!(user.gets(&["status"]).contains("two (elasticxl-single-site"), "the only one");
    user.gets(&["destroy"]);
    for folder in folders {
        assert!(nothing_left(&folder, "after down"));
    }
}

/// A keeper as a child of this test, which may therefore kill it.
fn keeper(user: &User, name: &str) -> (Child, PathBuf) {
    let folder = user.place.path().join(name);
    std::fs::create_dir(&folder).expect("a run directory");
    let lab = scalebed_topologies::catalogue::lab_text("elasticxl-single-site").expect("a shipped lab");
    std::fs::write(folder.join("lab.yaml"), lab).expect("a lab file");
    let parent = std::process::id().to_string();
    let folder_name = folder.to_string_lossy().into_owned();
    let child = user
        .command(&["keeper", "--name", name, "--parent", &parent, "--folder", &folder_name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a keeper");
    (child, folder)
}

#[test]
fn netns_sigkill_of_a_keeper_leaves_nothing() {
    if needs_root() {
        return;
    }
    let before = HostState::capture().expect("the host's state");
    let mut built = 0;
    for wave in 0..instants() / WAVE {
        let user = User::new();
        let folders: Vec<_> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..WAVE)
                .map(|lane| {
                    let user = &user;
                    scope.spawn(move || killed(user, wave * WAVE + lane))
                })
                .collect();
            lanes.into_iter().map(|lane| lane.join().expect("no panic")).collect()
        });
        built += folders.iter().map(|folder| u32::from(nothing_left(folder, &format!("wave {wave}")))).sum::<u32>();
    }
    assert!(built * 10 >= instants() * 8, "only {built} of {} keepers had built anything", instants());
    let differences = before.diff(&HostState::capture().expect("the host's state"));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// From the first instant on, while the kernel still closes what it had open, and until it is forgotten.
#[test]
fn netns_a_keeper_that_was_killed_is_told() {
    if needs_root() {
        return;
    }
    let user = User::new();
    let (mut child, folder) = keeper(&user, "dead");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("ready"))), "it came up");
    child.kill().expect("a kill");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !user.is_told(&["status"], 26, "the keeper of `dead`").contains("was killed") {
        assert!(Instant::now() < deadline, "its lab does not end");
    }
    child.wait().expect("an end");
    assert!(nothing_left(&folder, "after a kill"));
    assert!(user.gets(&["down", "--lab", "dead"]).contains("it is forgotten"));
    user.is_told(&["status"], 26, "no lab is up");
}

/// Starts a keeper and kills it at an instant of its own, while it builds, boots or serves. A command that runs on one of
/// its hosts must end with it.
fn killed(user: &User, number: u32) -> PathBuf {
    let name = format!("lab-{number}");
    let (mut child, folder) = keeper(user, &name);
    let after = Duration::from_millis(Rng::new(number.into(), "keeper").below(800));
    // The instant itself is what is tested: nothing is waited for here.
    std::thread::sleep(after);
    let asleep = user.command(&["exec", "--lab", &name, "inside-1", "--", "sleep", "60"]).stderr(Stdio::null()).spawn();
    child.kill().expect("a kill");
    child.wait().expect("an end");
    let status = asleep.expect("a command").wait().expect("an end");
    assert!(!status.success(), "lab {number}, killed after {after:?}: a command on its host ended well");
    user.is_told(&["status", "--lab", &name], 26, "");
    folder
}
