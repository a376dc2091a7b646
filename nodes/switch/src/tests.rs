//! The switch on the fabric: frames go in at a port, and the transcript says where they come out.

use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Status};
use scalebed_fabric::{CableIndex, Fabric, Keep, NodeIndex};
use scalebed_frame::{Mac, MhoId, NetworkId};
use scalebed_topologies::lab::{Port, PortRole};

use super::{Config, Switch};

/// Ports of the bench's switch.
const LEG1: u16 = 0;
const LEG2: u16 = 1;
const HOST1: u16 = 2;
const HOST2: u16 = 3;
const NAMES: [&str; 4] = ["mho1", "mho2", "host1", "host2"];

/// Never says anything.
struct Sink;

impl Engine for Sink {
    fn handle(&mut self, _: Input, _: Instant) {}
    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}

struct Bench {
    fabric: Fabric,
    switch: NodeIndex,
}

impl Bench {
    fn new() -> Self {
        let port = |(index, name): (usize, &&str)| Port {
            name: (*name).to_owned(),
            role: if index < 2 { PortRole::BondLeg } else { PortRole::Access },
            mac: Mac::ZERO,
            mtu: 1500,
            cable: u16::try_from(index).unwrap(),
        };
        let config = Config { name: "sw".to_owned(), ports: NAMES.iter().enumerate().map(port).collect() };
        let mut fabric = Fabric::new(0);
        fabric.keep(Keep { transcript: true, ..Keep::default() });
        let switch = fabric.add("sw", Box::new(Switch::new(config)), 4);
        for (port, name) in (0..).zip(NAMES) {
            let station = fabric.add(name, Box::new(Sink), 1);
            fabric.connect((switch, PortIndex(port)), (station, PortIndex(0)));
        }
        fabric.start(switch);
        Self { fabric, switch }
    }

    /// A frame comes in on `port`; returns the names of the stations that got it, in order.
    fn send(&mut self, port: u16, dst: Mac, src: Mac, ips: [u32; 2]) -> Vec<String> {
        let mut bytes = [dst.0, src.0].concat();
        bytes.extend([0x08, 0x00]);
        bytes.resize(26, 0);
        bytes.extend(ips.map(u32::to_be_bytes).concat());
        self.send_bytes(port, bytes)
    }

    fn send_bytes(&mut self, port: u16, bytes: Vec<u8>) -> Vec<String> {
        let received = self.fabric.now();
        let frame = Input::Frame { port: PortIndex(port), frame: Frame(bytes), received };
        self.fabric.inject(self.switch, frame);
        while self.fabric.step() {}
        let transcript = self.fabric.take_transcript();
        let to = |line: &str| line.split(['>', ':']).nth(2).unwrap_or_default().to_owned();
        transcript.lines().map(to).collect()
    }

    fn status(&mut self) -> Status {
        self.fabric.take_events();
        self.fabric.command(self.switch, Command::Status { id: 9 });
        match self.fabric.take_events().remove(0).2 {
            NodeEvent::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn drops(&mut self) -> Vec<(String, u64)> {
        self.status().drops.into_iter().collect()
    }
}

const A: Mac = Mac::host(1);
const B: Mac = Mac::host(2);
const CLUSTER: Mac = Mac([0x02, 0x5b, 0xed, 1, 0x81, 5]);

#[test]
fn ready_comes_once_after_the_first_timeout() {
    let mut bench = Bench::new();
    let ready = (Instant(0), bench.switch, NodeEvent::Ready);
    assert_eq!(bench.fabric.take_events(), [ready]);
    bench.fabric.inject(bench.switch, Input::Timeout);
    assert_eq!(bench.fabric.events(), []);
}

#[test]
fn unknown_and_group_frames_go_to_every_place_once_and_known_ones_to_theirs() {
    let mut bench = Bench::new();
    // 2 ^ 1 ^ 0x0800 ^ 1 ^ 2 = 0x0800, folded 0x0808: even, the first leg.
    assert_eq!(bench.send(HOST1, B, A, [1, 2]), ["host2", "mho1"]);
    assert_eq!(bench.send(HOST2, A, B, [2, 1]), ["host1"]);
    assert_eq!(bench.send(HOST1, B, A, [1, 2]), ["host2"]);
    assert_eq!(bench.send(HOST1, Mac::BROADCAST, A, [1, 3]), ["host2", "mho1"]);
    assert_eq!(bench.send(HOST1, Mac([1, 0, 0x5e, 0, 0, 18]), A, [1, 3]).len(), 2);
}

#[test]
fn what_comes_from_a_leg_never_goes_to_a_leg() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(LEG1, Mac::BROADCAST, CLUSTER, [1, 2]), ["host1", "host2"]);
    assert_eq!(bench.send(LEG2, CLUSTER, A, [1, 2]), [""; 0]);
    assert_eq!(bench.drops(), [("same-place".to_owned(), 1)]);
}

#[test]
fn the_bond_is_one_place_and_the_hash_picks_the_leg() {
    let mut bench = Bench::new();
    bench.send(LEG1, Mac::BROADCAST, CLUSTER, [1, 2]);
    // The cluster's MAC was seen on leg 1; frames to it use both legs nonetheless. 5 ^ 1 ^ 0x0800 = 0x0804, folded 0x080c:
    // even addresses take the first leg.
    let legs: Vec<_> = (0..4).flat_map(|host| bench.send(HOST1, CLUSTER, A, [host, 0])).collect();
    assert_eq!(legs, ["mho1", "mho2", "mho1", "mho2"]);
    let before = bench.status().counters["mac-moves"];
    bench.send(LEG2, Mac::BROADCAST, CLUSTER, [1, 2]);
    assert_eq!(bench.status().counters["mac-moves"], before, "from leg to leg is no move");
}

#[test]
fn a_leg_without_carrier_is_not_used_and_nothing_is_forgotten() {
    let mut bench = Bench::new();
    bench.send(LEG1, Mac::BROADCAST, CLUSTER, [1, 2]);
    bench.fabric.cut(CableIndex(usize::from(LEG1)));
    while bench.fabric.step() {}
    let legs: Vec<_> = (0..4).flat_map(|host| bench.send(HOST1, CLUSTER, A, [host, 0])).collect();
    assert_eq!(legs, ["mho2"; 4]);
    bench.fabric.cut(CableIndex(usize::from(LEG2)));
    while bench.fabric.step() {}
    assert_eq!(bench.send(HOST1, CLUSTER, A, [1, 0]), [""; 0]);
    assert_eq!(bench.drops(), [("no-carrier".to_owned(), 1)]);
    assert_eq!(bench.send(HOST1, Mac::BROADCAST, A, [1, 0]), ["host2"], "flooding goes on without the bond");
    bench.fabric.mend(CableIndex(usize::from(LEG1)));
    while bench.fabric.step() {}
    assert_eq!(bench.send(HOST1, CLUSTER, A, [0, 0]), ["mho1"]);
}

#[test]
fn a_gratuitous_arp_from_elsewhere_moves_the_address() {
    let mut bench = Bench::new();
    bench.send(HOST1, Mac::BROADCAST, CLUSTER, [1, 2]);
    assert_eq!(bench.send(LEG1, CLUSTER, B, [1, 2]), ["host1"]);
    let announced = scalebed_frame::build::gratuitous(CLUSTER, [198, 18, 0, 1].into());
    let mut bytes = [Mac::BROADCAST.0, CLUSTER.0].concat();
    bytes.extend(announced.bytes().get(12..).unwrap_or(&[8, 6]));
    bench.send_bytes(HOST2, bytes);
    assert_eq!(bench.send(LEG1, CLUSTER, B, [1, 2]), ["host2"]);
    assert_eq!(bench.status().counters["mac-moves"], 1);
}

#[test]
fn a_single_port_that_loses_carrier_forgets_its_stations() {
    let mut bench = Bench::new();
    bench.send(HOST1, Mac::BROADCAST, A, [1, 2]);
    assert_eq!(bench.send(HOST2, A, B, [1, 2]), ["host1"]);
    bench.fabric.cut(CableIndex(usize::from(HOST1)));
    bench.fabric.mend(CableIndex(usize::from(HOST1)));
    while bench.fabric.step() {}
    assert_eq!(bench.send(HOST2, A, B, [1, 2]), ["host1", "mho1"]);
}

#[test]
fn a_station_whose_port_is_down_gets_nothing() {
    let mut bench = Bench::new();
    bench.fabric.cut(CableIndex(usize::from(HOST1)));
    while bench.fabric.step() {}
    // Its last frame is read only after the carrier was lost.
    bench.send(HOST1, Mac::BROADCAST, A, [1, 2]);
    assert_eq!(bench.send(HOST2, A, B, [1, 2]), [""; 0]);
    assert_eq!(bench.drops(), [("no-carrier".to_owned(), 1)]);
}

#[test]
fn an_address_is_forgotten_after_300_s_without_a_frame() {
    let mut bench = Bench::new();
    bench.send(HOST1, Mac::BROADCAST, A, [1, 2]);
    bench.fabric.run_until(Instant::from_millis(299_999));
    assert_eq!(bench.send(HOST2, A, B, [1, 2]).len(), 1);
    bench.fabric.run_until(Instant::from_millis(300_001));
    assert_eq!(bench.send(HOST2, A, B, [1, 2]).len(), 2);
    // Each frame starts the time anew.
    bench.send(HOST1, Mac::BROADCAST, A, [1, 2]);
    bench.fabric.run_until(Instant::from_millis(500_000));
    bench.send(HOST1, Mac::BROADCAST, A, [1, 2]);
    bench.fabric.run_until(Instant::from_millis(700_000));
    assert_eq!(bench.send(HOST2, A, B, [1, 2]).len(), 1);
}

#[test]
fn every_drop_has_a_reason() {
    let mut bench = Bench::new();
    bench.send_bytes(HOST1, vec![0; 13]);
    bench.send(HOST1, B, Mac::BROADCAST, [1, 2]);
    bench.send(77, B, A, [1, 2]);
    for port in [LEG1, LEG2, HOST2] {
        bench.fabric.cut(CableIndex(usize::from(port)));
    }
    while bench.fabric.step() {}
    bench.send(HOST1, B, A, [1, 2]);
    let drops = bench.drops();
    let expected = [("group-source", 1), ("nowhere", 1), ("runt", 1), ("unknown-port", 1)];
    assert_eq!(drops, expected.map(|(reason, frames)| (reason.to_owned(), frames)));
}

#[test]
fn status_counts_frames_in_and_out_by_port() {
    let mut bench = Bench::new();
    bench.send(HOST1, B, A, [1, 2]);
    let status = bench.status();
    assert_eq!((status.id, status.node.as_str(), status.state.as_str()), (9, "sw", "active"));
    let counters: Vec<String> = status.counters.iter().map(|(name, count)| format!("{name}={count}")).collect();
    insta::assert_snapshot!(counters.join(" "), @"flooded=1 in.host1=1 in.host2=0 in.mho1=0 in.mho2=0 mac-moves=0 macs=1 out.host1=0 out.host2=1 out.mho1=1 out.mho2=0 table-full=0");
}

#[test]
fn the_sync_network_of_elasticxl_has_no_bond() {
    // All ports are single there; the member's and MHO's roles must not matter to a switch.
    let roles = [PortRole::Access, PortRole::Sync, PortRole::Downlink(MhoId(1)), PortRole::Data(NetworkId(1))];
    let ports = roles.map(|role| Port { name: String::new(), role, mac: Mac::ZERO, mtu: 1600, cable: 0 }).to_vec();
    let mut switch = Switch::new(Config { name: "sw-sync".to_owned(), ports });
    for port in 0..4 {
        switch.handle(Input::Link { port: PortIndex(port), up: true, changes: 1 }, Instant(0));
    }
    let mut bytes = vec![0xff; 6];
    bytes.extend(A.0);
    bytes.extend([0x88, 0xb5]);
    let frame = Input::Frame { port: PortIndex(0), frame: Frame(bytes), received: Instant(0) };
    switch.handle(frame, Instant(0));
    let out = std::iter::from_fn(|| match switch.poll() {
        Output::Transmit { port, .. } => Some(port.0),
        _ => None,
    });
    assert_eq!(out.collect::<Vec<_>>(), [1, 2, 3]);
}
