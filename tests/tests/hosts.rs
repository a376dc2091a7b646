//! Hosts have the kernel's own stack: `ping`, `curl`, `iperf3` and `ssh` work through the cluster unchanged, in both
//! families, in pieces too, and hear from it where a packet is too big.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::World as _;
use scalebed_harness::world::netns::{Netns, Places};
use scalebed_netns::{Process, ProcessSpec};
use scalebed_tests::{installed, needs_root, programs};
use scalebed_topologies::scenario::Scenario;
use scalebed_topologies::{Lab, catalogue, load_lab};

/// No command here takes longer.
const LIMIT: Duration = Duration::from_secs(15);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 101);
const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 0x101);
/// The cluster's addresses inside.
const CLUSTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLUSTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// What connections to the outside hide behind.
const HIDDEN: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const PAGE: &str = "a page from the outside";

struct Bench<'a> {
    world: Netns,
    folder: &'a Path,
}

impl Bench<'_> {
    fn spawn(&self, host: &str, program: &str, args: &[&str]) -> Process {
        for ending in ["out", "err"] {
            // What the last one printed; the first time there is none.
            let _none = std::fs::remove_file(self.folder.join(format!("{program}-{host}.{ending}")));
        }
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
        let (success, text) = self.tries(host, program, args);
        assert!(success, "{host}$ {program} {args:?}\n{text}");
        text
    }

    /// The same for one that may fail: did it not?
    fn tries(&self, host: &str, program: &str, args: &[&str]) -> (bool, String) {
        let status = self.spawn(host, program, args).wait(LIMIT).expect("an end in time");
        (status.success(), self.printed(host, program))
    }

    fn printed(&self, host: &str, program: &str) -> String {
        let read = |ending: &str| {
            std::fs::read_to_string(self.folder.join(format!("{program}-{host}.{ending}"))).unwrap_or_default()
        };
        read("out") + &read("err")
    }
}

/// A lab in service, and what is done in it.
fn in_lab(lab: &Lab, scenario: &Scenario, act: impl FnOnce(&Bench<'_>)) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let programs = programs();
    let places = Places::of(place.path(), &programs);
    let mut world = Netns::build(lab, &places, None).expect("a lab");
    driver::boot(&mut world, lab, scenario, Settings::default()).expect("a lab in service");
    let mut bench = Bench { world, folder: place.path() };
    act(&bench);
    let _evidence = bench.world.finish().expect("counters");
    bench.world.teardown().expect("a clean end");
}

fn works_through(scenario: &str) {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    in_lab(&loaded.lab, &loaded.scenario, |bench| {
        if installed("ping") {
            pings(bench);
        }
        for address in [OUTSIDE.into(), OUTSIDE6.into()] {
            if installed("curl") {
                fetches_a_page(bench, address);
            }
            if installed("iperf3") {
                measures(bench, address);
            }
            refused_port(bench, address);
        }
        if installed("ssh") && installed("sshd") {
            logs_in(bench);
        }
    });
}

/// Whole, and in three pieces: the kernels break the packets and put them together.
fn pings(bench: &Bench<'_>) {
    let three = |target: IpAddr, size: &str| {
        let args = ["-c", "3", "-i", "0.2", "-W", "2", "-s", size, &target.to_string()];
        let text = bench.run("inside-1", "ping", &args);
        assert!(text.contains("3 received"), "{text}");
    };
    for target in [OUTSIDE.into(), CLUSTER.into(), OUTSIDE6.into(), CLUSTER6.into()] {
        three(target, "56");
    }
    for target in [OUTSIDE.into(), OUTSIDE6.into()] {
        three(target, "4000");
    }
}

fn fetches_a_page(bench: &Bench<'_>, address: IpAddr) {
    let ns = bench.world.namespace("outside-1").expect("a host");
    let listener = bench.world.sandbox().run_in(ns, || TcpListener::bind((address, 80))).expect("inside");
    let listener = listener.expect("a listener");
    let server = std::thread::spawn(move || serve(&listener));
    let page = format!("http://{}/", SocketAddr::new(address, 80));
    let text = bench.run("inside-1", "curl", &["-sS", "--max-time", "10", &page]);
    assert_eq!(text, PAGE);
    server.join().expect("no panic").expect("served");
}

fn measures(bench: &Bench<'_>, address: IpAddr) {
    let mut server = bench.spawn("outside-1", "iperf3", &["-s", "-1", "--forceflush"]);
    let deadline = Instant::now() + LIMIT;
    while !bench.printed("outside-1", "iperf3").contains("listening") {
        assert!(Instant::now() < deadline, "iperf3 does not listen");
        std::thread::yield_now();
    }
    let text = bench.run("inside-1", "iperf3", &["-c", &address.to_string(), "-t", "1"]);
    assert!(text.contains("receiver"), "{text}");
    server.wait(LIMIT).expect("one test ends it");
}

/// The server's kernel says that nobody listens, in an ICMP error that quotes the packet as the cluster had translated it:
/// the client's kernel knows its own packet by it.
fn refused_port(bench: &Bench<'_>, address: IpAddr) {
    let ns = bench.world.namespace("inside-1").expect("a host");
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let refused = bench.world.sandbox().run_in(ns, || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9_999))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"is anybody there?")?;
        socket.recv(&mut [0; 64])
    });
    let error = refused.expect("inside").expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}: {error}");
}

/// The outside takes 1,400 bytes: members break what may be broken, and tell the sender of all else.
fn narrows(scenario: &str, lab: &str) {
    let text = catalogue::lab_text(lab).expect("a shipped lab");
    let narrow = text.replace("    cluster: 198.18.1.1\n", "    cluster: 198.18.1.1\n    mtu: 1400\n");
    let lab = load_lab("narrow.yaml", &narrow).expect("a lab");
    let scenario = files::scenario(scenario).expect("a shipped scenario").scenario;
    in_lab(&lab, &scenario, |bench| {
        let ping = |target: IpAddr, forbid: &str| {
            let args = ["-c", "3", "-i", "0.2", "-W", "2", "-s", "1400", "-M", forbid, &target.to_string()];
            bench.tries("inside-1", "ping", &args).1
        };
        let broken = ping(OUTSIDE.into(), "dont");
        assert!(broken.contains("3 received"), "{broken}");
        let forbidden = ping(OUTSIDE.into(), "do");
        assert!(forbidden.contains(&format!("From {CLUSTER} ")) && forbidden.contains("mtu = 1400"), "{forbidden}");
        // The first dies; the kernel has learned by then, and breaks the others itself.
        let told = ping(OUTSIDE6.into(), "want");
        assert!(told.contains(&format!("From {CLUSTER6} ")) && told.contains("mtu=1400"), "{told}");
        assert!(told.contains("2 received"), "{told}");
    });
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
    if !needs_root() {
        works_through("maestro/steady");
    }
}

#[test]
fn netns_ping_curl_and_iperf3_work_through_elasticxl() {
    if !needs_root() {
        works_through("elasticxl/steady");
    }
}

#[test]
fn netns_maestro_breaks_what_may_be_broken_and_tells_of_what_is_too_big() {
    if !needs_root() && installed("ping") {
        narrows("maestro/steady", "maestro-single-site");
    }
}

#[test]
fn netns_elasticxl_breaks_what_may_be_broken_and_tells_of_what_is_too_big() {
    if !needs_root() && installed("ping") {
        narrows("elasticxl/steady", "elasticxl-single-site");
    }
}
