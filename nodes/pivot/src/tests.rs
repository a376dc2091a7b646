//! Three members, two data networks and the sync network in virtual time.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use scalebed_cluster::{Ablations, NodeConfig};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, Status};
use scalebed_fabric::{Fabric, Keep, NodeIndex};
use scalebed_frame::build::{self, Envelope};
use scalebed_frame::{
    DistributionMode, Flow, GroupId, Incarnation, Mac, MemberId, NetworkId, Protocol, Quote, View, mac,
};
use scalebed_switch::Switch;
use scalebed_topologies::lab::{Architecture, Group, HideNat, Network, NetworkRole, Port, PortRole, Prefix, Rule};

use crate::Pivot;

const NETWORKS: [NetworkId; 3] = [NetworkId(1), NetworkId(2), NetworkId::SYNC];
/// Servers, whose addresses spread the answers: all clients hide behind one address.
const SERVERS: u8 = 16;
/// Clients behind the inside's station, each a connection of its own.
const CLIENTS: u8 = 60;
/// On the servers' side; its address is in no client's tuple.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 250);

fn config(number: u8) -> NodeConfig {
    let (group, me) = (GroupId(1), MemberId::new(1, number));
    let network = |id: u8, role| Network {
        id: NetworkId(id),
        name: format!("net{id}"),
        role,
        subnet: Prefix { address: Ipv4Addr::new(10, id, 0, 0).into(), length: 24 },
        cluster_ip: Ipv4Addr::new(10, id, 0, 1),
        ipv6: None,
        mtu: 1500,
        cluster_mac: Mac([2, 0x5b, 0xed, 1, 0xa0, id]),
        routes: Vec::new(),
    };
    let port = |role, mac| Port { name: "p".to_owned(), role, mac, mtu: 1600, cable: 0 };
    let hide =
        HideNat { from: NetworkId(1), to: NetworkId(2), address: Ipv4Addr::new(10, 2, 0, 1), ports: (10000, 39999) };
    NodeConfig {
        name: format!("member-{me}"),
        id: me.into(),
        incarnation: Incarnation(256),
        architecture: Architecture::ElasticXl,
        group: Group {
            rules: vec![Rule { src: None, dst: None, protocol: None, dst_ports: None, accept: true }],
            nat: vec![hide],
            ..Group::new(group, DistributionMode::General)
        },
        config_digest: 1,
        networks: vec![network(1, NetworkRole::Inside), network(2, NetworkRole::Outside)],
        ports: vec![
            port(PortRole::Data(NetworkId(1)), mac::member_mac(group, me, NetworkId(1))),
            port(PortRole::Data(NetworkId(2)), mac::member_mac(group, me, NetworkId(2))),
            port(PortRole::Sync, mac::smac(group, me)),
        ],
        members: (1..=3).map(|number| MemberId::new(1, number)).collect(),
        starters: (1..=3).map(|number| MemberId::new(1, number)).collect(),
        orchestrators: Vec::new(),
        ablations: Ablations::default(),
    }
}

/// Answers every UDP packet, to whom it came from, or has a router say that it could not be delivered; the inside's keeps
/// quiet but for what it is told to send.
struct Station {
    answers: bool,
    refuses: Rc<Cell<bool>>,
    out: Vec<Frame>,
}

impl Engine for Station {
    fn handle(&mut self, input: Input, _: Instant) {
        let Input::Frame { frame, .. } = input else { return };
        let Some(view) = View::parse(frame.bytes()) else { return };
        let Some(ip) = view.ip().filter(|ip| self.answers && ip.protocol == Protocol::UDP && view.shim.is_none())
        else {
            return;
        };
        let cluster = Mac([2, 0x5b, 0xed, 1, 0xa0, 2]);
        let envelope = Envelope {
            src: view.dst,
            dst: cluster,
            ttl: 64,
            identification: u16::try_from(ip.identification).expect("of IPv4"),
        };
        let router = Flow { protocol: Protocol::ICMP, src: ROUTER.into(), dst: ip.src, src_port: 0, dst_port: 0 };
        let quoted = [&[0; 4], &frame.bytes()[view.l3..ip.end]].concat();
        self.out.push(if self.refuses.get() {
            build::icmp(envelope, router, 3, 1, &quoted)
        } else {
            build::udp(envelope, ip.flow().reversed(), b"answer")
        });
    }

    fn poll(&mut self) -> Output {
        match self.out.pop() {
            Some(frame) => Output::Transmit { port: PortIndex(0), frame },
            None => Output::Idle(None),
        }
    }
}

/// The client's own packet that an error quotes, if that came from the router.
fn told(frame: &Frame) -> Option<Flow> {
    let view = View::parse(frame.bytes())?;
    let ip = view.ip().filter(|ip| ip.src == ROUTER)?;
    Quote::parse(frame.bytes(), ip).map(|quote| quote.flow)
}

struct Bench {
    fabric: Fabric,
    members: Vec<NodeIndex>,
    switches: Vec<NodeIndex>,
    /// Answers that came back to the inside.
    answered: Rc<Cell<u64>>,
    /// Does the outside refuse what it gets?
    refuses: Rc<Cell<bool>>,
}

impl Bench {
    /// Booted, next hops known, 1_01 the pivot.
    fn new() -> Self {
        let mut fabric = Fabric::new(7);
        fabric.keep(Keep { digests: true, ..Keep::default() });
        let members: Vec<_> = (1..=3u8)
            .map(|number| fabric.add(&format!("m{number}"), Box::new(Pivot::new(config(number))), 3))
            .collect();
        let access = Port { name: "p".into(), role: PortRole::Access, mac: Mac::ZERO, mtu: 1600, cable: 0 };
        let switches: Vec<_> = NETWORKS
            .iter()
            .map(|network| {
                let ports = vec![access.clone(); 4];
                let config = scalebed_switch::Config { name: format!("sw{}", network.0), ports };
                fabric.add(&format!("sw{}", network.0), Box::new(Switch::new(config)), 4)
            })
            .collect();
        for (index, &switch) in (0u16..).zip(&switches) {
            for (place, &member) in (0u16..).zip(&members) {
                fabric.connect((member, PortIndex(index)), (switch, PortIndex(place)));
            }
        }
        let answered = Rc::new(Cell::new(0));
        let refuses = Rc::new(Cell::new(false));
        for (network, answers) in [(0usize, false), (1, true)] {
            let station =
                fabric.add("station", Box::new(Station { answers, refuses: Rc::clone(&refuses), out: Vec::new() }), 1);
            let cable = fabric.connect((station, PortIndex(0)), (switches[network], PortIndex(3)));
            fabric.start(station);
            if !answers {
                let answered = Rc::clone(&answered);
                fabric.on_deliver(Box::new(move |_, at, to_b, frame| {
                    let flow = View::parse(frame.bytes()).and_then(|view| view.flow());
                    let refused = told(frame).is_some_and(|flow| client_of(&flow));
                    if at == cable && !to_b && (refused || flow.is_some_and(|flow| flow.src_port == 53)) {
                        answered.set(answered.get() + 1);
                    }
                }));
            }
        }
        switches.iter().chain(&members).for_each(|&node| fabric.start(node));
        let mut bench = Self { fabric, members, switches, answered, refuses };
        bench.run(5_000);
        for server in 0..SERVERS {
            bench.station(1, build::gratuitous(Mac::host(u32::from(server)), server_of(server)));
        }
        for client in 0..CLIENTS {
            bench.station(0, build::gratuitous(Mac::host(100 + u32::from(client)), address(client)));
        }
        bench.run(100);
        bench
    }

    fn run(&mut self, ms: u64) {
        let until = Instant(self.fabric.now().0 + ms * 1_000_000);
        self.fabric.run_until(until);
    }

    /// A station's frame arrives at its switch.
    fn station(&mut self, network: usize, frame: Frame) {
        let received = self.fabric.now();
        self.fabric.inject(self.switches[network], Input::Frame { port: PortIndex(3), frame, received });
    }

    /// Every client says something; gives how many were answered.
    fn round(&mut self) -> u64 {
        let before = self.answered.get();
        for client in 0..CLIENTS {
            let flow = question(client);
            let (src, dst) = (Mac::host(100 + u32::from(client)), Mac([2, 0x5b, 0xed, 1, 0xa0, 1]));
            self.station(0, build::udp(Envelope { src, dst, ttl: 64, identification: 1 }, flow, b"question"));
        }
        self.run(60);
        self.answered.get() - before
    }

    /// A member's declared status; its other declarations are passed over.
    fn status(&mut self, member: usize) -> Status {
        self.fabric.take_events();
        self.fabric.command(self.members[member], Command::Status { id: 1 });
        let told = self.fabric.take_events().into_iter().find_map(|(_, _, event)| match event {
            NodeEvent::Status(status) => Some(*status),
            _ => None,
        });
        told.expect("a running member answers")
    }

    fn sum(&mut self, members: &[usize], counter: &str) -> u64 {
        members.iter().map(|&member| self.status(member).counters.get(counter).copied().unwrap_or(0)).sum()
    }
}

fn server_of(client: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 10 + client % SERVERS)
}

fn address(client: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 100 + client)
}

/// Is it the tuple of what a client says, as that one sent it?
fn client_of(flow: &Flow) -> bool {
    (0..CLIENTS).any(|client| *flow == question(client))
}

fn question(client: u8) -> Flow {
    Flow {
        protocol: Protocol::UDP,
        src: address(client).into(),
        dst: server_of(client).into(),
        src_port: 1000,
        dst_port: 53,
    }
}

const ALL: &[usize] = &[0, 1, 2];

#[test]
fn the_pivot_hands_out_and_nothing_is_ever_corrected() {
    let mut bench = Bench::new();
    assert_eq!(bench.round(), u64::from(CLIENTS));
    bench.run(4_000);
    assert_eq!(bench.round(), u64::from(CLIENTS));
    assert_eq!(bench.sum(ALL, "created"), u64::from(CLIENTS));
    assert_eq!(bench.sum(ALL, "corrected_out"), 0);
    let owned: Vec<u64> = ALL.iter().map(|&member| bench.status(member).connections).collect();
    assert!(owned.iter().all(|&owned| owned > 0), "{owned:?}");
    // Both directions of both rounds of what the others own.
    assert_eq!(bench.sum(&[0], "handover_out"), 4 * (owned[1] + owned[2]));
}

/// Each comes home to its client, quoting what that one sent, by the owner that the pivot's table knows.
#[test]
fn icmp_errors_are_handed_out_by_the_connection_that_they_quote() {
    let mut bench = Bench::new();
    bench.refuses.set(true);
    assert_eq!(bench.round(), u64::from(CLIENTS));
    bench.run(4_000);
    assert_eq!(bench.round(), u64::from(CLIENTS));
    assert_eq!(
        (bench.sum(ALL, "icmp_errors"), bench.sum(ALL, "created")),
        (2 * u64::from(CLIENTS), u64::from(CLIENTS))
    );
    assert_eq!((bench.sum(ALL, "corrected_out"), bench.sum(ALL, "queries")), (0, 0));
    let owned: Vec<u64> = ALL.iter().map(|&member| bench.status(member).connections).collect();
    assert!(owned.iter().all(|&owned| owned > 0), "{owned:?}");
    assert_eq!(bench.sum(&[0], "handover_out"), 4 * (owned[1] + owned[2]));
}

/// What became of a killed member's connections.
struct Killed {
    owned: u64,
    /// Entries that it had sent before.
    synced: u64,
    taken_over: u64,
    /// Created anew by their clients' next packets.
    created: u64,
}

/// Kills a member when its connections have this age.
fn kill(member: usize, age_ms: u64) -> Killed {
    let mut bench = Bench::new();
    bench.round();
    bench.run(age_ms);
    let (owned, synced) = (bench.status(member).connections, bench.sum(&[member], "sync_tx_entries"));
    let rest: Vec<usize> = ALL.iter().copied().filter(|&one| one != member).collect();
    let created = bench.sum(&rest, "created");
    bench.fabric.kill(bench.members[member]);
    bench.run(1_000);
    assert_eq!(bench.round(), u64::from(CLIENTS), "everybody is served again");
    let created = bench.sum(&rest, "created") - created;
    Killed { owned, synced, taken_over: bench.sum(&rest, "taken_over"), created }
}

#[test]
fn old_connections_survive_the_kill_of_their_owner() {
    let killed = kill(2, 5_000);
    assert!(killed.owned > 0);
    assert_eq!((killed.taken_over, killed.created), (killed.owned, 0));
}

#[test]
fn of_young_ones_those_survive_whose_answers_land_elsewhere() {
    let killed = kill(2, 1_000);
    // An asymmetric connection was told of twice: at its first packet, and at the first answer.
    let asymmetric = killed.synced / 2;
    assert!(0 < asymmetric && asymmetric < killed.owned, "both kinds are there");
    assert_eq!((killed.taken_over, killed.created), (asymmetric, killed.owned - asymmetric));
}

#[test]
fn old_connections_survive_the_kill_of_the_pivot() {
    let killed = kill(0, 5_000);
    assert!(killed.owned > 0);
    assert_eq!((killed.taken_over, killed.created), (killed.owned, 0));
}

#[test]
fn the_next_connection_of_a_tuple_is_newer_than_the_end_of_the_last() {
    let mut bench = Bench::new();
    bench.round();
    bench.run(42_000);
    assert_eq!(bench.sum(ALL, "deleted"), u64::from(CLIENTS));
    assert_eq!(bench.round(), u64::from(CLIENTS));
    assert_eq!((bench.sum(ALL, "created"), bench.sum(ALL, "sync_rx_old")), (2 * u64::from(CLIENTS), 0));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let play = || {
        let mut bench = Bench::new();
        bench.round();
        bench.fabric.kill(bench.members[1]);
        bench.run(2_000);
        bench.round();
        bench.fabric.outputs_digest()
    };
    assert_eq!(play(), play());
}
