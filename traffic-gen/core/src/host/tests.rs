//! Two hosts on one cable, each the other's gateway.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use scalebed_fabric::{Fabric, Rules, Settings};

use super::*;

const BYTES: u64 = 300_000;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 20);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 0x10);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 0x20);
const BULK: u16 = 5_001;
const PACED: u16 = 5_002;
const ECHO: u16 = 5_004;

struct Shared(Rc<RefCell<Host>>);

impl Engine for Shared {
    fn handle(&mut self, input: Input, now: Instant) {
        self.0.borrow_mut().handle(input, now);
    }
    fn poll(&mut self) -> Output {
        self.0.borrow_mut().poll()
    }
}

fn call(at_ms: u64, port: u16, says: Says) -> Call {
    Call { at: Instant::from_millis(at_ms), to: SERVER.into(), port, says }
}

/// The same over IPv6.
fn call6(call: Call) -> Call {
    Call { to: SERVER6.into(), ..call }
}

/// Each is the other's gateway.
fn stacks(addresses: [IpAddr; 2], gateways: [IpAddr; 2]) -> Vec<Stack> {
    addresses.into_iter().zip(gateways).map(|(address, gateway)| Stack { address, gateway }).collect()
}

/// What came of calls by then.
fn fetch(settings: Settings, calls: Vec<Call>, until_ms: u64) -> Vec<Option<Fetched>> {
    let mut fabric = Fabric::new(3);
    let pace = Some(Pace { bytes: 10_000, every: Duration::from_millis(100) });
    let serves = BTreeMap::from([
        (BULK, Says::Content { bytes: BYTES, pace: None }),
        (PACED, Says::Content { bytes: 50_000, pace }),
        (ECHO, Says::Echo),
    ]);
    let all = 0..calls.len();
    let (here, there) = ([SERVER.into(), SERVER6.into()], [CLIENT.into(), CLIENT6.into()]);
    let server = HostConfig { mac: Mac::host(1), stacks: stacks(here, there), serves, calls: Vec::new() };
    let client = HostConfig { mac: Mac::host(2), stacks: stacks(there, here), serves: BTreeMap::new(), calls };
    let client = Rc::new(RefCell::new(Host::new(client)));
    let nodes = [
        fabric.add("server", Box::new(Host::new(server)), 1),
        fabric.add("client", Box::new(Shared(Rc::clone(&client))), 1),
    ];
    fabric.connect_with((nodes[0], PortIndex(0)), (nodes[1], PortIndex(0)), settings);
    nodes.into_iter().for_each(|node| fabric.start(node));
    fabric.run_until(Instant::from_millis(until_ms));
    all.map(|call| client.borrow().fetched(call)).collect()
}

fn whole(fetched: Option<Fetched>, bytes: u64) -> Fetched {
    let fetched = fetched.expect("a call that was begun");
    assert!(fetched.intact && fetched.complete && !fetched.reset && fetched.bytes == bytes, "{fetched:?}");
    fetched
}

#[test]
fn a_stream_comes_whole_and_in_order() {
    let bulk = || vec![call(0, BULK, Says::Nothing), call6(call(0, BULK, Says::Nothing))];
    let lossy = Settings::both_ways(Rules::loss(20_000));
    for family in 0..2 {
        whole(fetch(Settings::default(), bulk(), 200)[family], BYTES);
        // Lost segments are sent again until all are there.
        whole(fetch(lossy, bulk(), 60_000)[family], BYTES);
        assert_eq!(fetch(Settings::both_ways(Rules::cut()), bulk(), 1_000)[family], None, "it never finds its gateway");
    }
}

#[test]
fn calls_at_a_pace_of_lines_and_many_at_once() {
    let lines = Says::Lines(vec![Instant::from_millis(20), Instant::from_millis(900)]);
    let mut calls = vec![call(0, PACED, Says::Nothing), call(10, ECHO, lines)];
    calls.extend((0..20).map(|index| call(50 + index, BULK, Says::Nothing)));
    calls[2..].iter_mut().step_by(2).for_each(|call| *call = call6(call.clone()));
    calls.push(call(5_000, BULK, Says::Nothing));
    let all = fetch(Settings::both_ways(Rules::loss(5_000)), calls, 4_000);
    let paced = whole(all[0], 50_000);
    assert!(paced.last.since(paced.began) >= Duration::from_millis(400), "{paced:?}");
    assert!(paced.gap >= Duration::from_millis(90), "{paced:?}");
    let session = whole(all[1], 2 * LINE);
    assert!(session.gap >= Duration::from_millis(800), "{session:?}");
    all[2..22].iter().for_each(|bulk| {
        whole(*bulk, BYTES);
    });
    assert_eq!(all[22], None, "its time has not come");
}

#[test]
fn a_byte_out_of_place_shows() {
    let mut outputs = VecDeque::new();
    let flow = Flow { protocol: Protocol::TCP, src: CLIENT.into(), dst: SERVER.into(), src_port: 1, dst_port: BULK };
    let (mac, gateway, now) = (Mac::host(1), Mac::host(2), Instant(0));
    let mut here = Here { mac, gateway, flow, now, outputs: &mut outputs };
    let mut client = Conversation::new(CLIENT.into(), Says::Nothing, now);
    let tcp = |sequence, flags| Tcp {
        src_port: BULK,
        dst_port: 1,
        sequence,
        acknowledgement: 0,
        flags,
        window: 0,
        payload: 0,
    };
    client.on_tcp(&mut here, &tcp(7, SYN), &[]);
    client.on_tcp(&mut here, &tcp(8, 0), &[0, 1, 2]);
    assert!(client.fetched().intact);
    client.on_tcp(&mut here, &tcp(11, 0), &[3, 5]);
    assert!(!client.fetched().intact);
    assert_eq!(client.fetched().bytes, 5);
}

/// A family whose gateway does not answer holds the other one up in nothing.
#[test]
fn a_family_without_a_gateway_does_not_hold_up_the_other() {
    let calls = (0..6).map(|index| call(10 * index, BULK, Says::Nothing));
    let calls: Vec<Call> = calls.enumerate().map(|(at, call)| if at % 2 == 0 { call6(call) } else { call }).collect();
    let mut host = Host::new(HostConfig {
        mac: Mac::host(2),
        stacks: stacks([CLIENT.into(), CLIENT6.into()], [SERVER.into(), SERVER6.into()]),
        serves: BTreeMap::new(),
        calls,
    });
    let (sender_mac, target_mac) = (Mac::host(1), Mac::host(2));
    let arp = Arp { operation: REPLY, sender_mac, sender_ip: SERVER, target_mac, target_ip: CLIENT };
    host.on_arp(&arp);
    host.handle(Input::Timeout, Instant::from_millis(100));
    assert_eq!(
        (0..6).map(|call| host.fetched(call).is_some()).collect::<Vec<_>>(),
        [false, true, false, true, false, true]
    );
    assert_eq!(host.deadline(), Some(host.ask), "it goes on asking for the other");
}
