//! The process over real veths, through a kernel router in a namespace of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use scalebed_frame::NetworkId;
use scalebed_port::clock;
use scalebed_record::traffic::GeneratorReport;
use scalebed_topologies::lab::Prefix;
use scalebed_topologies::scenario::Traffic;
use scalebed_traffic::{Addresses, Config, Profile, Side, Side6, profile};

/// $1 the generator, $2 the folder. Everything is in namespaces that end with these processes. The two ends of a cable
/// have different indexes, or carrier comes up late.
const SCRIPT: &str = r#"
set -e
bin=$1; cd "$2"
unshare -n sleep 30 & router=$!
trap 'kill $router' EXIT
until [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add gin index 10 type veth peer name rin index 20 netns $router
ip link add gout index 11 type veth peer name rout index 21 netns $router
for port in gin gout; do
    echo 1 > /proc/sys/net/ipv6/conf/$port/disable_ipv6
    ip link set $port arp off up
done
nsenter -t $router -n sh -ec '
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip addr add 198.18.0.1/24 dev rin; ip addr add 2001:2::1/64 dev rin nodad; ip link set rin up
    ip addr add 198.18.1.1/24 dev rout; ip addr add 2001:2:0:1::1/64 dev rout nodad; ip link set rout up
    ip route add 198.18.64.0/18 via 198.18.0.2; ip route add 198.18.128.0/17 via 198.18.1.2
    ip route add 2001:2:0:40::/58 via 2001:2::2; ip route add 2001:2:0:80::/57 via 2001:2:0:1::2'
"$bin" --config config.json --inside gin --outside gout --report report.json --events events.jsonl & generator=$!
[ -z "$3" ] || { sleep "$3"; kill -TERM $generator; }
wait $generator
"#;

fn config(length: u64, traffic: Traffic) -> Config {
    let address = |third: u8, host: u8| Ipv4Addr::from([198, 18, third, host]);
    let address6 = |network: u8, host: u8| Ipv6Addr::from([0x2001, 2, 0, network.into(), 0, 0, 0, host.into()]);
    let both = |network, host| [IpAddr::from(address(network, host)), address6(network, host).into()];
    let side = |third: u8| Side {
        network: NetworkId(third + 1),
        mac_base: 0x1000 * (u32::from(third) + 1),
        on_link: (16..32).flat_map(|host| both(third, host)).collect(),
        next_hop: address(third, 2),
        gateway: address(third, 1),
        ipv6: Some(Side6 { next_hop: address6(third, 2), gateway: address6(third, 1) }),
    };
    let (inside, outside) = (side(0), side(1));
    let prefixes = |first, lengths: [u8; 2]| -> Vec<Prefix> {
        both(first, 0).into_iter().zip(lengths).map(|(address, length)| Prefix { address, length }).collect()
    };
    let (clients, servers) = (prefixes(64, [18, 58]), prefixes(128, [17, 57]));
    let schedule = profile(&Profile {
        seed: 5,
        run: 6,
        start: clock::monotonic().0 + 1_000_000_000,
        length,
        event: length / 2,
        traffic,
        clients: Addresses { on_link: inside.on_link.clone(), behind: clients.clone() },
        servers: Addresses { on_link: outside.on_link.clone(), behind: servers },
    });
    Config { name: "generator".to_owned(), schedule, inside, outside, inside_prefixes: clients }
}

/// The thread of a test has its name.
fn test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// Runs the generator; `stop_after`: seconds until it gets a SIGTERM. Returns its report and its events.
fn run(config: &Config, stop_after: &str) -> Option<(GeneratorReport, String)> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: {}: namespaces need root", test());
        return None;
    }
    if Command::new("ip").arg("-Version").output().is_err() {
        println!("skipped: {}: ip (iproute2) is not installed", test());
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let status = Command::new("unshare")
        .args(["-n", "bash", "-c", SCRIPT, "bash", env!("CARGO_BIN_EXE_traffic-gen")])
        .arg(folder.path())
        .arg(stop_after)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let events = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    Some((serde_json::from_slice(&report).unwrap(), events))
}

#[test]
fn netns_everything_comes_back_through_a_kernel_router() {
    let traffic = Traffic { population: 400, ipv6_percent: 50, ..Traffic::SMALL };
    let Some((report, events)) = run(&config(3_000_000_000, traffic), "") else { return };
    eprintln!(
        "sent {} skipped {} received {} worst {} us p99 {} us, {} frames, {} ns CPU a frame",
        report.sent,
        report.skipped,
        report.received,
        report.worst_late / 1_000,
        report.p99_late / 1_000,
        report.frames,
        report.cpu_ns / report.frames
    );
    assert!(events.lines().next().unwrap().ends_with(r#""event":"ready"}"#), "{events}");
    assert_eq!((report.foreign, report.corrupt, report.receive_drops, report.unsendable), (0, 0, 0, 0));
    assert_eq!(report.received, report.sent);
    // A machine that stalls makes it skip, which it says; what it sent is whole all the same.
    assert!(report.sent > 0 && report.sent + report.skipped > 35_000, "{report:?}");
    assert!(report.worst_late <= 2_000_000);
    assert_eq!(report.tcp.len(), 200);
    assert!(report.tcp.iter().all(|tcp| tcp.established > 0 && tcp.reset == 0 && !tcp.broken));
}

#[test]
fn netns_sigterm_ends_it_with_what_there_is() {
    let traffic = Traffic {
        probes: 4,
        probe_rate: 100,
        population: 0,
        population_rate: 1,
        young_percent: 0,
        states_percent: 0,
        denied: 0,
        ipv6_percent: 0,
    };
    let Some((report, _)) = run(&config(600_000_000_000, traffic), "2") else { return };
    assert!(report.sent > 0 && report.tcp.is_empty());
}
