//! The generator on the fabric, looped through a router.

/// Of both families.
mod connections;
mod dual;
mod router;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex};
use scalebed_fabric::{CableIndex, Fabric, Keep, NodeIndex, Rules, Settings};
use scalebed_frame::signature::{Class, Direction, Signature};
use scalebed_frame::view::{ACK, Arp, FIN, Network, PSH, RST, SYN, Transport};
use scalebed_frame::{Flow, Mac, NetworkId, Protocol, View, build, build::Envelope};
use scalebed_record::traffic::GeneratorReport;
use scalebed_record::{FlowKind, FlowSpec, Schedule, Shape};
use scalebed_topologies::lab::Prefix;

use crate::{Config, Generator, Place, Side};
use router::{Faults, Router};

const MS: u64 = 1_000_000;
const START: u64 = 100 * MS;
const KEY: [u8; 16] = *b"0123456789abcdef";
const RUN: u64 = 77;
/// One way through the bench: two cables.
const PATH: u64 = 20_000;

/// A generator that the test still reaches while it runs.
struct Shared(Rc<RefCell<Generator>>);

impl Engine for Shared {
    fn handle(&mut self, input: Input, now: Instant) {
        self.0.borrow_mut().handle(input, now);
    }
    fn poll(&mut self) -> Output {
        self.0.borrow_mut().poll()
    }
}

/// A frame that came out at the router.
#[derive(Clone, Debug)]
struct Seen {
    /// When it was put in.
    at: u64,
    place: Place,
    frame: Frame,
}

impl Seen {
    fn view(&self) -> View {
        View::parse(self.frame.bytes()).unwrap()
    }

    fn signature(&self) -> Option<Signature> {
        let view = self.view();
        let ip = view.ip()?;
        Signature::read(&KEY, &self.frame.bytes()[ip.payload()?..ip.end])
    }
}

struct Bench {
    fabric: Fabric,
    node: NodeIndex,
    generator: Rc<RefCell<Generator>>,
    faults: Rc<RefCell<Faults>>,
    seen: Rc<RefCell<Vec<Seen>>>,
}

fn address(third: u8, host: u8) -> std::net::Ipv4Addr {
    [198, 18, third, host].into()
}

fn config(end: u64, flows: Vec<FlowSpec>) -> Config {
    let side = |id: u8, mac_base| Side {
        network: NetworkId(id + 1),
        mac_base,
        on_link: (16..32).map(|host| address(id, host).into()).collect(),
        next_hop: address(id, 2),
        gateway: address(id, 1),
        ipv6: None,
    };
    Config {
        name: "generator".to_owned(),
        schedule: Schedule { run: RUN, key: KEY, seed: 1, start: START, end, flows },
        inside: side(0, 0x100),
        outside: side(1, 0x200),
        inside_prefixes: vec![Prefix { address: address(64, 0).into(), length: 18 }],
    }
}

fn flow(kind: FlowKind, number: u8, rate: u32, first: u64, last: u64) -> FlowSpec {
    let protocol = if kind == FlowKind::Udp { Protocol::UDP } else { Protocol::TCP };
    let (src, dst) = (address(64, number).into(), address(128, number).into());
    let forward = Flow { protocol, src, dst, src_port: 10_000 + u16::from(number), dst_port: 8_000 };
    FlowSpec { class: Class::Population, kind, forward, first, last, rate, shape: Shape::Steady }
}

impl Bench {
    fn new(config: Config, settings: Settings) -> Self {
        let mut fabric = Fabric::new(11);
        let faults = Rc::new(RefCell::new(Faults::default()));
        let router = Router::new(config.clone(), faults.clone());
        let generator = Rc::new(RefCell::new(Generator::new(config)));
        let node = fabric.add("generator", Box::new(Shared(generator.clone())), 2);
        let router = fabric.add("router", Box::new(router), 2);
        for port in [PortIndex(0), PortIndex(1)] {
            fabric.connect_with((node, port), (router, port), settings);
        }
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tap = seen.clone();
        fabric.on_deliver(Box::new(move |at, cable, at_b, frame| {
            if at_b {
                let place = Place::BOTH[cable.0];
                tap.borrow_mut().push(Seen { at: at.0 - 10_000, place, frame: frame.clone() });
            }
        }));
        fabric.keep(Keep { digests: true, ..Keep::default() });
        fabric.start(router);
        fabric.start(node);
        Self { fabric, node, generator, faults, seen }
    }

    fn run_to_ms(&mut self, ms: u64) {
        self.fabric.run_until(Instant::from_millis(ms));
    }

    fn report(&self) -> GeneratorReport {
        self.generator.borrow().report()
    }

    /// (put in at, flow, direction, sequence) of everything with a signature.
    fn packets(&self) -> Vec<(u64, u32, Direction, u64)> {
        let seen = self.seen.borrow();
        let signed = seen.iter().filter_map(|seen| Some((seen.at, seen.signature()?)));
        signed.map(|(at, own)| (at, own.flow, own.direction, own.sequence)).collect()
    }
}

/// Everything that is due by a schedule, in order of time.
fn due(schedule: &Schedule) -> Vec<(u64, u32, Direction, u64)> {
    let mut all = Vec::new();
    for (index, flow) in (0..).zip(&schedule.flows) {
        for direction in [Direction::Forward, Direction::Reverse] {
            let times = (0..).map_while(|k| flow.due(direction, k).map(|at| (START + at, index, direction, k)));
            all.extend(times);
        }
    }
    all.sort();
    all
}

/// Runs a schedule to its end: all that is due went out once, on time, and came back.
fn whole_run(config: Config) -> Bench {
    let mut expected = due(&config.schedule);
    let mut bench = Bench::new(config, Settings::default());
    bench.run_to_ms(3_000);
    let mut packets = bench.packets();
    packets.sort();
    expected.sort();
    assert_eq!(packets, expected);
    let report = bench.report();
    assert_eq!((report.sent, report.received), (expected.len() as u64, expected.len() as u64));
    bench
}

#[test]
fn all_that_is_due_goes_out_once_and_on_time_from_the_right_side() {
    let mut flows = vec![flow(FlowKind::Udp, 1, 300, 0, 500 * MS), flow(FlowKind::Udp, 2, 7, 3 * MS, 400 * MS)];
    // A client outside, and stations on link.
    flows.push(FlowSpec { forward: flows[0].forward.reversed(), ..flow(FlowKind::Udp, 3, 10, 0, 500 * MS) });
    let on_link = Flow { src: address(0, 16).into(), dst: address(1, 31).into(), ..flows[0].forward };
    flows.push(FlowSpec { forward: on_link, ..flow(FlowKind::Udp, 4, 10, 0, 500 * MS) });
    let config = config(500 * MS, flows);
    let bench = whole_run(config);
    let report = bench.report();
    assert_eq!((report.skipped, report.not_opened, report.unsendable), (0, 0, 0));
    assert_eq!((report.worst_late, report.p99_late, report.foreign, report.corrupt), (0, 0, 0, 0));
    // MACs: the next hop's for what lies behind it, their own for stations on link.
    let seen = bench.seen.borrow();
    let sources: BTreeMap<_, _> =
        seen.iter().filter_map(|seen| Some(((seen.signature()?.flow, seen.place), seen.view().src))).collect();
    assert_eq!(sources[&(0, Place::Inside)], Mac::host(0x100));
    assert_eq!(sources[&(2, Place::Outside)], Mac::host(0x200));
    assert_eq!(sources[&(3, Place::Inside)], Mac::host(0x101));
    assert_eq!(sources[&(3, Place::Outside)], Mac::host(0x210));
}

#[test]
fn flows_that_are_due_together_go_in_batches_at_the_same_instant() {
    let flows = (0..100).map(|number| flow(FlowKind::Udp, number, 2, 0, 100 * MS)).collect();
    let mut bench = Bench::new(config(100 * MS, flows), Settings::default());
    bench.run_to_ms(1_000);
    let packets = bench.packets();
    assert_eq!(packets.len(), 100);
    assert!(packets.iter().all(|&(at, ..)| at == START));
}

#[test]
fn a_server_says_nothing_before_it_has_seen_its_client() {
    let mut bench = Bench::new(config(500 * MS, vec![flow(FlowKind::Udp, 1, 100, 0, 500 * MS)]), Settings::default());
    bench.faults.borrow_mut().drop_from = Some(Place::Inside);
    bench.run_to_ms(200);
    assert_eq!(bench.report().not_opened, 10);
    bench.faults.borrow_mut().drop_from = None;
    bench.run_to_ms(3_000);
    let report = bench.report();
    assert_eq!((report.sent, report.not_opened, report.skipped), (50 + 40, 10, 0));
}

#[test]
fn after_a_stall_what_is_too_late_is_skipped_and_nothing_comes_in_a_burst() {
    let config = config(500 * MS, vec![flow(FlowKind::Udp, 1, 1_000, 0, 500 * MS)]);
    let all = due(&config.schedule).len() as u64;
    let mut bench = Bench::new(config, Settings::default());
    bench.run_to_ms(200);
    bench.fabric.hang(bench.node);
    bench.run_to_ms(250);
    bench.fabric.wake(bench.node);
    bench.run_to_ms(3_000);
    let packets = bench.packets();
    let (early, late): (Vec<_>, Vec<_>) = packets.iter().partition(|&&(at, ..)| at <= 200 * MS);
    assert_eq!(early.len(), 201);
    // Due at 248, 248.5, 249, 249.5 and 250 ms; what was due before was over 2 ms late.
    assert_eq!(late.iter().filter(|&&&(at, ..)| at == 250 * MS).count(), 5);
    let report = bench.report();
    assert_eq!(report.skipped, 95);
    assert_eq!(report.sent + report.skipped, all);
    assert_eq!(report.worst_late, 2 * MS);
    let seen = bench.seen.borrow();
    let lates: Vec<u32> =
        seen.iter().filter_map(|seen| Some(seen.signature()?.late)).filter(|&late| late > 0).collect();
    assert_eq!(lates, [2_000_000, 1_500_000, 1_000_000, 500_000]);
}

/// What a person would want to read of a TCP connection.
fn summary(bench: &Bench) -> String {
    let seen = bench.seen.borrow();
    let mut text = String::new();
    for seen in seen.iter() {
        let view = seen.view();
        let Some(ip) = view.ip() else { continue };
        let Transport::Tcp(tcp) = ip.transport else { continue };
        let names = [(SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, ".")];
        let flags: String = names.iter().filter(|(bit, _)| tcp.has(*bit)).map(|(_, name)| *name).collect();
        let round =
            seen.signature().map(|own| format!(" round {} late {}", own.sequence, own.late)).unwrap_or_default();
        text += &format!("{} {:?} [{flags}] {}{round}\n", Instant(seen.at), seen.place, ip.flow());
    }
    text
}

#[test]
fn stations_answer_arp_and_nobody_else_does() {
    let mut bench = Bench::new(config(MS, vec![]), Settings::default());
    let asked = |target: std::net::Ipv4Addr, bench: &mut Bench| -> Option<(Mac, Mac)> {
        bench.seen.borrow_mut().clear();
        let (sender_mac, sender_ip) = (Mac::host(9), address(0, 1));
        let request = Arp { operation: 1, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip: target };
        let frame = build::arp(sender_mac, Mac::BROADCAST, request);
        let received = bench.fabric.now();
        bench.fabric.inject(bench.node, Input::Frame { port: PortIndex(0), frame, received });
        bench.fabric.run_until(received + Duration::from_micros(15));
        let seen = bench.seen.borrow();
        let arp = seen.first().map(|seen| (seen.view().src, seen.view().network))?;
        match arp.1 {
            Network::Arp(reply) => {
                assert_eq!((reply.operation, reply.sender_ip, reply.target_ip), (2, target, address(0, 1)));
                Some((arp.0, reply.sender_mac))
            }
            other => panic!("{other:?}"),
        }
    };
    bench.run_to_ms(1);
    assert_eq!(asked(address(0, 2), &mut bench), Some((Mac::host(0x100), Mac::host(0x100))));
    assert_eq!(asked(address(0, 31), &mut bench), Some((Mac::host(0x110), Mac::host(0x110))));
    assert_eq!(asked(address(0, 32), &mut bench), None);
    assert_eq!(asked(address(1, 16), &mut bench), None, "a station of the other side");
    // Somebody announces a station's address as its own: no question, no answer.
    bench.seen.borrow_mut().clear();
    let announced = build::gratuitous(Mac::host(9), address(0, 16));
    bench.fabric.inject(bench.node, Input::Frame { port: PortIndex(0), frame: announced, received: Instant(0) });
    bench.run_to_ms(2);
    assert_eq!(bench.seen.borrow().len(), 0);
}

#[test]
fn ready_comes_once_both_gateways_are_known_and_an_announcement_moves_them() {
    let mut bench =
        Bench::new(config(2_000 * MS, vec![flow(FlowKind::Udp, 1, 10, 0, 2_000 * MS)]), Settings::default());
    bench.run_to_ms(50);
    let ready = (Instant(PATH), bench.node, NodeEvent::Ready);
    assert_eq!(bench.fabric.take_events(), [ready]);
    bench.run_to_ms(550);
    for mac in [Mac::host(0x999), Mac::BROADCAST] {
        let announced = build::gratuitous(mac, address(0, 1));
        bench.fabric.inject(bench.node, Input::Frame { port: PortIndex(0), frame: announced, received: Instant(0) });
    }
    bench.seen.borrow_mut().clear();
    bench.run_to_ms(950);
    let to = |place| {
        let seen = bench.seen.borrow();
        let to: Vec<Mac> = (seen.iter())
            .filter(|seen| seen.place == place && seen.signature().is_some())
            .map(|seen| seen.view().dst)
            .collect();
        to
    };
    assert!(to(Place::Inside).iter().all(|&mac| mac == Mac::host(0x999)) && to(Place::Inside).len() == 4);
    // It asks again each second, and the router gives its own MAC.
    bench.run_to_ms(1_150);
    bench.seen.borrow_mut().clear();
    bench.run_to_ms(1_500);
    let seen = bench.seen.borrow();
    assert!(seen.iter().filter(|seen| seen.place == Place::Inside).all(|seen| seen.view().dst == Router::MAC));
    drop(seen);
    assert_eq!(bench.fabric.take_events(), []);
}

#[test]
fn without_a_gateway_nothing_is_sent_and_every_packet_is_counted() {
    let flows = vec![flow(FlowKind::Udp, 1, 100, 0, 200 * MS), flow(FlowKind::Tcp, 2, 100, 0, 200 * MS)];
    let config = config(200 * MS, flows);
    let mut bench = Bench::new(config.clone(), Settings::default());
    bench.fabric.restart(NodeIndex(1), Box::new(router::Silent));
    bench.fabric.restart(bench.node, Box::new(Shared(bench.generator.clone())));
    *bench.generator.borrow_mut() = Generator::new(config);
    bench.run_to_ms(50);
    bench.seen.borrow_mut().clear();
    bench.run_to_ms(1_050);
    assert_eq!(bench.seen.borrow().len(), 2 * 10, "each side asks each 100 ms");
    bench.run_to_ms(3_000);
    assert_eq!(bench.packets(), []);
    let report = bench.report();
    assert_eq!((report.sent, report.unsendable, report.not_opened), (0, 40, 20));
}

#[test]
fn what_is_not_ours_is_foreign_and_what_was_altered_is_corrupt() {
    let mut bench = Bench::new(config(200 * MS, vec![flow(FlowKind::Udp, 1, 100, 0, 200 * MS)]), Settings::default());
    bench.run_to_ms(150);
    let packet = bench.seen.borrow().iter().rev().find(|seen| seen.signature().is_some()).cloned().unwrap();
    let mut inject = |change: &mut dyn FnMut(&mut Vec<u8>), port: u16| {
        let before = bench.report();
        let mut frame = packet.frame.clone();
        frame.bytes_mut()[..6].copy_from_slice(&Mac::host(if port == 0 { 0x100 } else { 0x200 }).0);
        change(frame.bytes_mut());
        bench.fabric.inject(bench.node, Input::Frame { port: PortIndex(port), frame, received: Instant(0) });
        let after = bench.report();
        (after.received - before.received, after.foreign - before.foreign, after.corrupt - before.corrupt)
    };
    let arrives_at = 1 - packet.place as u16;
    assert_eq!(inject(&mut |_| {}, arrives_at), (1, 0, 0));
    assert_eq!(inject(&mut |_| {}, 1 - arrives_at), (0, 1, 0), "came back where it left");
    assert_eq!(inject(&mut |bytes| bytes[22] ^= 1, arrives_at), (0, 0, 1), "checksum of the header");
    assert_eq!(inject(&mut |bytes| bytes[35] ^= 1, arrives_at), (0, 0, 1), "checksum of a port");
    let other_run = |bytes: &mut Vec<u8>| {
        let view = View::parse(bytes).unwrap();
        let signature = Signature { run: RUN + 1, ..packet.signature().unwrap() };
        let mut payload = [0; 48];
        assert!(signature.write(&KEY, &mut payload));
        let envelope = Envelope { src: view.src, dst: view.dst, ttl: 64, identification: 0 };
        *bytes = build::udp(envelope, view.flow().unwrap(), &payload).0;
    };
    assert_eq!(inject(&mut { other_run }, arrives_at), (0, 1, 0), "another run's");
    // A change that the checksum agrees with: words swapped in the signature's due time.
    assert_eq!(inject(&mut |bytes| bytes[66..74].rotate_left(2), arrives_at).2, 1, "hash");
    assert_eq!(inject(&mut |bytes| bytes.truncate(30), arrives_at), (0, 1, 0));
    assert_eq!(inject(&mut |bytes| bytes[..6].copy_from_slice(&[2; 6]), arrives_at), (0, 0, 0), "flooded");
    let Some(NodeEvent::Status(status)) = ({
        bench.fabric.take_events();
        bench.fabric.command(bench.node, Command::Status { id: 4 });
        bench.fabric.take_events().pop().map(|(_, _, event)| event)
    }) else {
        panic!("no status")
    };
    assert_eq!((status.id, status.state.as_str(), status.drops["flooded"]), (4, "active", 1));
}

#[test]
fn same_schedule_same_bytes() {
    let run = |seed| {
        let mut flows: Vec<_> = (0..10).map(|number| flow(FlowKind::Tcp, number, 10, 100 * MS, 900 * MS)).collect();
        flows.extend((10..20).map(|number| flow(FlowKind::Udp, number, 10, 100 * MS, 900 * MS)));
        let mut config = config(900 * MS, flows);
        config.schedule.run = seed;
        let mut bench = Bench::new(config, Settings::both_ways(Rules::loss(100_000)));
        bench.run_to_ms(4_000);
        assert!(bench.fabric.ledger(CableIndex(0)).put_in_a > 200);
        bench.fabric.outputs_digest()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn after_the_drain_it_is_silent() {
    let mut bench =
        Bench::new(config(200 * MS, vec![flow(FlowKind::Tcp, 1, 10, 100 * MS, 200 * MS)]), Settings::default());
    bench.faults.borrow_mut().drop_from = Some(Place::Inside);
    while bench.fabric.step() {}
    assert!(bench.fabric.now() <= Instant(START + 2_200 * MS + PATH));
    assert_eq!(bench.report().tcp[0].established, 0);
}
