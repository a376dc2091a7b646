//! A control of the tester itself: two generator ports on one cable, no device between them. The link goes down and up at
//! known times, and what the generator and the taps make of it must read true.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scalebed_checkers::observe::observe;
use scalebed_frame::signature::{Class, Direction};
use scalebed_frame::{Mac, NetworkId};
use scalebed_netns::{Awake, NsId, ProcessSpec, Sandbox, Stack, TapSpec, Taps, VethEnd, monotonic};
use scalebed_record::TapId;
use scalebed_record::traffic::GeneratorReport;
use scalebed_tests::{needs_root, programs};
use scalebed_topologies::lab::Prefix;
use scalebed_topologies::scenario::Traffic;
use scalebed_traffic::{Addresses, Config, Profile, Side, profile};

const MS: u64 = 1_000_000;
const RATE: u32 = 200;
const LENGTH: u64 = 4_000 * MS;
/// The link is down so long, from so long after the schedule's start.
const GAP: Duration = Duration::from_millis(350);
const DOWN_AT: u64 = 1_500 * MS;

/// Each side's next hop is the other side's gateway: what one sends the other answers for.
fn config(start: u64) -> Config {
    let side = |network, mac_base, own: u8, other: u8| Side {
        network: NetworkId(network),
        mac_base,
        on_link: Vec::new(),
        next_hop: Ipv4Addr::new(198, 18, own, 2),
        gateway: Ipv4Addr::new(198, 18, other, 2),
        ipv6: None,
    };
    let behind = |third| vec![Prefix { address: Ipv4Addr::new(198, 18, third, 0).into(), length: 24 }];
    let traffic = Traffic {
        probes: 16,
        probe_rate: RATE,
        population: 0,
        population_rate: 2,
        young_percent: 0,
        states_percent: 0,
        denied: 0,
        ipv6_percent: 0,
    };
    let addresses = |third| Addresses { on_link: Vec::new(), behind: behind(third) };
    let schedule = profile(&Profile {
        seed: 1,
        run: 7,
        start,
        length: LENGTH,
        event: LENGTH / 2,
        traffic,
        clients: addresses(64),
        servers: addresses(128),
    });
    Config {
        name: "generator".to_owned(),
        schedule,
        inside: side(1, 0x0100_0000, 0, 1),
        outside: side(2, 0x0200_0000, 1, 0),
        inside_prefixes: behind(64),
    }
}

fn cable(sandbox: &mut Sandbox, ns: NsId) {
    let end = |name: &str, n| VethEnd { ns, name: name.to_owned(), mac: Mac::host(n).0, mtu: 1500 };
    sandbox.veth(&end("inside", 1), &end("outside", 2)).expect("a cable");
    for name in ["inside", "outside"] {
        sandbox.stack(ns, name, Stack::Cut).expect("no stack");
        sandbox.set_up(ns, name, true).expect("up");
    }
}

/// Lets time pass until an instant of CLOCK_MONOTONIC: the schedule's clock, not a state, is waited for.
fn until(at: u64) {
    std::thread::sleep(Duration::from_nanos(at.saturating_sub(monotonic())));
}

#[test]
fn netns_a_known_gap_reads_true() {
    if needs_root() {
        return;
    }
    // As in a run: where the generator skipped packets a gap that reads false says nothing, and it is asked again at most
    // twice. One that reads true is true: skipped packets only make gaps longer. A fail is a fail.
    for attempt in 1..=3 {
        match a_known_gap() {
            (Ok(()), _) => return,
            (Err(wrong), 0) => panic!("{wrong}"),
            (Err(wrong), skipped) => {
                println!("invalid: {wrong}, but the generator skipped {skipped} packets, attempt {attempt} of 3");
            }
        }
    }
    panic!("invalid three times: this machine is too busy to judge a gap");
}

/// Whether the gap read true, or what did not, and how many packets the generator skipped.
fn a_known_gap() -> (Result<(), String>, u64) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let _awake = Awake::keep();
    let mut sandbox = Sandbox::create(place.path()).expect("a sandbox");
    let ns = sandbox.namespace("generator").expect("a namespace");
    cable(&mut sandbox, ns);
    // Arrivals by flow and direction: the sequence numbers and stamps of the taps.
    type Arrivals = BTreeMap<(u32, Direction), BTreeMap<u32, u64>>;
    let arrivals: Arc<Mutex<Arrivals>> = Arc::default();
    let sink = Arc::clone(&arrivals);
    let taps: Vec<TapSpec> =
        [("inside", 0), ("outside", 1)].map(|(name, tap)| TapSpec { ns, ifname: name.to_owned(), tap }).to_vec();
    let taps = Taps::open(&sandbox, taps, move |tap, at, length, bytes| {
        if let Some(probe) = observe(TapId(tap), at, length, bytes).probe.filter(|probe| probe.class == Class::Probe) {
            let mut arrivals = sink.lock().expect("no panic before");
            arrivals.entry((probe.flow, probe.direction)).or_default().insert(probe.sequence, at);
        }
    })
    .expect("taps");
    let start = monotonic() + 1_000 * MS;
    let config = config(start);
    let mut process = run_generator(&sandbox, ns, place.path(), &config);
    until(start + DOWN_AT);
    let down = monotonic();
    sandbox.set_up(ns, "outside", false).expect("down");
    until(down + u64::try_from(GAP.as_nanos()).expect("short"));
    sandbox.set_up(ns, "outside", true).expect("up");
    let up = monotonic();
    until(start + LENGTH + 2_500 * MS);
    process.wait(Duration::from_secs(5)).expect("the generator ends by itself");
    let stats = taps.stop().expect("taps");
    assert_eq!(stats.drops.values().sum::<u64>(), 0, "a tap lost frames");
    let report = std::fs::read(place.path().join("report.json")).expect("a report");
    let report: GeneratorReport = serde_json::from_slice(&report).expect("json");
    let arrivals = arrivals.lock().expect("no panic before");
    assert_eq!(arrivals.len(), 32, "16 flows, both ways");
    let read = arrivals.iter().try_for_each(|((flow, direction), seen)| {
        let spec = &config.schedule.flows[*flow as usize];
        reads_true(seen, (down, up), start, &|number| spec.due(*direction, number))
            .map_err(|wrong| format!("flow {flow} {direction:?}: {wrong}"))
    });
    sandbox.teardown().expect("a clean end");
    (read, report.skipped)
}

/// Loss-derived and as the longest silence, within the accuracy of a probe.
fn reads_true(
    seen: &BTreeMap<u32, u64>,
    (down, up): (u64, u64),
    start: u64,
    due: &dyn Fn(u64) -> Option<u64>,
) -> Result<(), String> {
    let interval = 1_000_000_000 / u64::from(RATE);
    // The kernel takes a port down within the call and brings carrier back shortly after it: one packet either way, and
    // the server sends nothing before it has seen its client's first packet.
    let margin = 2 * interval + 20 * MS;
    let real = up - down;
    // What is missing elsewhere was skipped, and is no part of the gap.
    let near = |at: u64| (down - margin..up + margin).contains(&(start + at));
    let lost = (0u32..).map_while(|number| Some((number, due(u64::from(number))?)));
    let lost = lost.filter(|(number, at)| near(*at) && !seen.contains_key(number)).count() as u64;
    let stamps: Vec<u64> = seen.values().copied().collect();
    let gap = stamps.windows(2).map(|pair| pair[1] - pair[0]).max().ok_or("nothing arrived")?;
    for (name, value) in [("loss-derived", lost * interval), ("gap", gap)] {
        if value.abs_diff(real) > margin {
            return Err(format!("{name} {value} ns, real {real} ns"));
        }
    }
    Ok(())
}

fn run_generator(sandbox: &Sandbox, ns: NsId, place: &Path, config: &Config) -> scalebed_netns::Process {
    let file = |name: &str| place.join(name).to_string_lossy().into_owned();
    std::fs::write(file("schedule.json"), serde_json::to_string(config).expect("json")).expect("a file");
    let args = ["--config", &file("schedule.json"), "--inside", "inside", "--outside", "outside", "--report"];
    let mut args: Vec<String> = args.map(str::to_owned).to_vec();
    args.extend([file("report.json"), "--events".to_owned(), file("events.jsonl")]);
    let spec = ProcessSpec {
        program: programs().join("traffic-gen"),
        args,
        env: Vec::new(),
        stdout: place.join("out"),
        stderr: place.join("err"),
        fifo_priority: Some(20),
    };
    sandbox.spawn(ns, &spec).expect("the generator")
}
