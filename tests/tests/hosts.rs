//! Hosts have the kernel's own stack: `ping`, `curl` and `iperf3` work through the cluster unchanged.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::World as _;
use scalebed_harness::world::netns::{Netns, Places};
use scalebed_netns::{Process, ProcessSpec};
use scalebed_tests::{installed, needs_root, programs};

/// No command here takes longer.
const LIMIT: Duration = Duration::from_secs(15);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 101);
/// What connections to the outside hide behind.
const HIDDEN: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const PAGE: &str = "a page from the outside";

struct Bench<'a> {
    world: Netns,
    folder: &'a Path,
}

impl Bench<'_> {
    fn spawn(&self, host: &str, program: &str, args: &[&str]) -> Process {
        let spec = ProcessSpec {
            program: program.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            stdout: self.folder.join(format!("{program}-{host}.out")),
            stderr: self.folder.join(format!("{program}-{host}.err")),
            fifo_priority: None,
        };
        let ns = self.world.namespace(host).expect("a host of the lab");
        self.world.sandbox().spawn(ns, &spec).unwrap_or_else(|error| panic!("{program} on {host}: {error}"))
    }

    /// Runs a command on a host to its end, and gives what it printed.
    fn run(&self, host: &str, program: &str, args: &[&str]) -> String {
        let status = self.spawn(host, program, args).wait(LIMIT).expect("an end in time");
        let text = self.printed(host, program);
        assert!(status.success(), "{host}$ {program} {args:?}: {status}\n{text}");
        text
    }

    fn printed(&self, host: &str, program: &str) -> String {
        let read = |ending: &str| {
            std::fs::read_to_string(self.folder.join(format!("{program}-{host}.{ending}"))).unwrap_or_default()
        };
        read("out") + &read("err")
    }
}

fn works_through(scenario: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let programs = programs();
    let places = Places::of(place.path(), &programs);
    let mut world = Netns::build(&loaded.lab, &places, None).expect("a lab");
    driver::boot(&mut world, &loaded.lab, &loaded.scenario, Settings::default()).expect("a lab in service");
    let mut bench = Bench { world, folder: place.path() };
    if installed("ping") {
        for target in [OUTSIDE, Ipv4Addr::new(198, 18, 0, 1)] {
            let text = bench.run("inside-1", "ping", &["-c", "3", "-i", "0.2", "-W", "2", &target.to_string()]);
            assert!(text.contains("3 received"), "{text}");
        }
    }
    if installed("curl") {
        let ns = bench.world.namespace("outside-1").expect("a host");
        let listener = bench.world.sandbox().run_in(ns, || TcpListener::bind((OUTSIDE, 80))).expect("inside");
        let listener = listener.expect("a listener");
        let server = std::thread::spawn(move || serve(&listener));
        let text = bench.run("inside-1", "curl", &["-sS", "--max-time", "10", &format!("http://{OUTSIDE}/")]);
        assert_eq!(text, PAGE);
        server.join().expect("no panic").expect("served");
    }
    if installed("iperf3") {
        let mut server = bench.spawn("outside-1", "iperf3", &["-s", "-1", "--forceflush"]);
        let deadline = Instant::now() + LIMIT;
        while !bench.printed("outside-1", "iperf3").contains("listening") {
            assert!(Instant::now() < deadline, "iperf3 does not listen");
            std::thread::yield_now();
        }
        let text = bench.run("inside-1", "iperf3", &["-c", &OUTSIDE.to_string(), "-t", "1"]);
        assert!(text.contains("receiver"), "{text}");
        server.wait(LIMIT).expect("one test ends it");
    }
    refused_port(&bench);
    if installed("ssh") && installed("sshd") {
        logs_in(&bench);
    }
    let _evidence = bench.world.finish().expect("counters");
    bench.world.teardown().expect("a clean end");
}

/// The server's kernel says that nobody listens, in an ICMP error that quotes the packet as the cluster had translated it:
/// the client's kernel knows its own packet by it.
fn refused_port(bench: &Bench<'_>) {
    let ns = bench.world.namespace("inside-1").expect("a host");
    let refused = bench.world.sandbox().run_in(ns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((OUTSIDE, 9_999))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"is anybody there?")?;
        socket.recv(&mut [0; 64])
    });
    let error = refused.expect("inside").expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

/// A session over ssh, with keys of its own, and a `/run` of its own for the server.
fn logs_in(bench: &Bench<'_>) {
    let path = |name: &str| bench.folder.join(name).to_string_lossy().into_owned();
    for key in ["host-key", "user-key"] {
        bench.run("outside-1", "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
    }
    let sshd = format!(
        "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$(command -v sshd)\" -D -e -p 2222 -f /dev/null -h {} \
         -o AuthorizedKeysFile={} -o StrictModes=no -o PidFile=none",
        path("host-key"),
        path("user-key.pub")
    );
    let _ended_with_the_lab = bench.spawn("outside-1", "unshare", &["-m", "sh", "-c", &sshd]);
    let deadline = Instant::now() + LIMIT;
    while !bench.printed("outside-1", "unshare").contains("listening") {
        assert!(Instant::now() < deadline, "sshd: {}", bench.printed("outside-1", "unshare"));
        std::thread::yield_now();
    }
    let key = path("user-key");
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=10"];
    let mut args = vec!["-p", "2222", "-i", &key];
    args.extend(options.iter().flat_map(|option| ["-o", option]));
    let to = format!("root@{OUTSIDE}");
    args.extend([to.as_str(), "echo over there: $SSH_CONNECTION"]);
    let text = bench.run("inside-1", "ssh", &args);
    assert!(text.contains(&format!("over there: {HIDDEN} ")), "it comes from the hide address: {text}");
}

fn serve(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 4096];
    let _asked = stream.read(&mut request)?;
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len())
}

#[test]
fn netns_ping_curl_and_iperf3_work_through_maestro() {
    if !needs_root("netns_ping_curl_and_iperf3_work_through_maestro") {
        works_through("maestro/steady");
    }
}

#[test]
fn netns_ping_curl_and_iperf3_work_through_elasticxl() {
    if !needs_root("netns_ping_curl_and_iperf3_work_through_elasticxl") {
        works_through("elasticxl/steady");
    }
}
