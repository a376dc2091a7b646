//! Beliefs about the kernel that verdicts rest on: what a counter counts, what an end of a process does to its ports,
//! and that there is one clock.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
use scalebed_netns::{Error, NsId, Process, ProcessSpec, Sandbox, Stack, TapSpec, Taps, VethEnd};
use tempfile::TempDir;

/// Frames of a burst, more than a receiving CPU's backlog (net.core.netdev_max_backlog, 1000) would hold.
const BURST: u64 = 5_000;
/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two nodes on one cable, `p0` at both ends, no stack behind them. Nothing, and a line that says so, where namespaces
/// are not permitted.
fn nodes(test: &str) -> Option<(Sandbox, TempDir, NsId, NsId)> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut sandbox = match Sandbox::create(place.path()) {
        Ok(sandbox) => sandbox,
        Err(Error::Init { step, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            println!("skipped: {test}: namespaces are not permitted here ({step}: {source})");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let a = sandbox.namespace("a").expect("a namespace");
    let b = sandbox.namespace("b").expect("a namespace");
    let end = |ns, number| VethEnd { ns, name: "p0".to_owned(), mac: [2, 0, 0, 0, 0, number], mtu: 1600 };
    sandbox.veth(&end(a, 1), &end(b, 2)).expect("a cable");
    for ns in [a, b] {
        sandbox.stack(ns, "p0", Stack::Cut).expect("no stack");
        sandbox.set_up(ns, "p0", true).expect("up");
    }
    Some((sandbox, place, a, b))
}

/// Sends `count` frames out of `p0` of the calling thread's namespace by packet socket, as nodes do; how many the kernel
/// took.
fn send(count: u64) -> u64 {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("a packet socket");
    let mut interfaces = getifaddrs().expect("interfaces").filter(|interface| interface.interface_name == "p0");
    let address = interfaces.find_map(|interface| interface.address.and_then(|it| it.as_link_addr().copied()));
    let address = address.expect("the address of p0");
    let mut frame = [0; 64];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    let taken = (0..count).filter(|_| sendto(socket.as_raw_fd(), &frame, &address, MsgFlags::empty()).is_ok());
    u64::try_from(taken.count()).expect("a count")
}

#[test]
fn netns_put_in_is_got_out_of_a_burst() {
    let Some((sandbox, _place, a, b)) = nodes("netns_put_in_is_got_out_of_a_burst") else { return };
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    let specs = vec![TapSpec { ns: b, ifname: "p0".to_owned(), tap: 7 }];
    let taps = Taps::open(&sandbox, specs, move |_, _, _, _: &[u8]| {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .expect("a tap");
    let taken = sandbox.run_in(a, || send(BURST)).expect("in a");
    let put_in = sandbox.tx_packets(a).expect("counters")["p0"];
    let stats = taps.stop().expect("its account");
    assert_eq!((taken, put_in), (BURST, BURST));
    assert_eq!((stats.frames[&7], stats.drops[&7], counted.load(Ordering::Relaxed)), (BURST, 0, BURST));
    assert_eq!(sandbox.tx_dropped(a).expect("counters")["p0"], 0);
    assert_eq!(sandbox.tx_packets(b).expect("counters")["p0"], 0, "no stack answers");
}

#[test]
fn netns_what_is_sent_to_a_dead_end_was_not_put_in() {
    let Some((sandbox, _place, a, b)) = nodes("netns_what_is_sent_to_a_dead_end_was_not_put_in") else { return };
    sandbox.set_up(b, "p0", false).expect("down");
    let before = sandbox.tx_packets(a).expect("counters")["p0"];
    sandbox.run_in(a, || send(100)).expect("in a");
    assert_eq!(sandbox.tx_packets(a).expect("counters")["p0"], before);
    sandbox.set_up(b, "p0", true).expect("up");
    sandbox.run_in(a, || send(100)).expect("in a");
    assert_eq!(sandbox.tx_packets(a).expect("counters")["p0"], before + 100);
}

fn spawn(sandbox: &Sandbox, place: &TempDir, ns: NsId, script: &str) -> Process {
    let spec = ProcessSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: Vec::new(),
        stdout: place.path().join("stdout.log"),
        stderr: place.path().join("stderr.log"),
        fifo_priority: None,
    };
    sandbox.spawn(ns, &spec).expect("a process")
}

#[test]
fn netns_hang_and_kill_leave_the_ports_up() {
    let Some((sandbox, place, a, b)) = nodes("netns_hang_and_kill_leave_the_ports_up") else { return };
    let carrier = || [a, b].map(|ns| sandbox.carrier(ns, "p0").expect("carrier"));
    let before = carrier();
    assert!(before.iter().all(|(up, _)| *up));
    let mut process = spawn(&sandbox, &place, b, "exec sleep 600");
    process.stop().expect("stopped");
    let began = Instant::now();
    while !process.stopped() {
        assert!(began.elapsed() < PATIENCE, "it does not stop");
        std::thread::yield_now();
    }
    assert_eq!(carrier(), before);
    process.kill().expect("killed");
    process.wait(PATIENCE).expect("a stopped process dies too");
    assert_eq!(carrier(), before);
}

#[test]
fn netns_the_lab_has_the_clock_of_the_harness() {
    let Some((sandbox, place, a, _)) = nodes("netns_the_lab_has_the_clock_of_the_harness") else { return };
    let mut process = spawn(&sandbox, &place, a, "readlink /proc/self/ns/time");
    assert!(process.wait(PATIENCE).expect("its end").success());
    let theirs = fs::read_to_string(place.path().join("stdout.log")).expect("its output");
    let ours = fs::read_link("/proc/self/ns/time").expect("own time namespace");
    assert_eq!(theirs.trim(), ours.to_string_lossy());
}
