//! Very many TCP connections with next to no traffic: a lab on the fabric, and an engine in the generator's place that opens
//! them one after the other and then says nothing more. Judged by nobody: for what a group holds, not for what it does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use scalebed_cluster::Ablations;
use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_fabric::{Fabric, NodeIndex};
use scalebed_frame::build::{self, Envelope, TcpFields};
use scalebed_frame::view::{ACK, Arp, Network as Layer3, SYN, Transport};
use scalebed_frame::{Flow, Mac, Protocol, View};
use scalebed_gateway::{Footprint, Gateway};
use scalebed_harness::nodes::{self, Config};
use scalebed_orchestrator::Orchestrator;
use scalebed_switch::Switch;
use scalebed_topologies::lab::{End, Network, NetworkRole, NodeKind, PortRole, Prefix};
use scalebed_topologies::scenario::Overrides;
use scalebed_topologies::{Lab, catalogue, load_lab};

/// Connections a virtual millisecond: 1,000,000 take 25 s, eight times the sync delay.
const A_MS: u32 = 40;
/// From power on until the crowd starts: everybody is Active then.
const BOOT: Duration = Duration::from_secs(20);

/// An engine that is asked after the fabric took it.
struct Shared<E>(Rc<RefCell<E>>);

impl<E: Engine> Engine for Shared<E> {
    fn handle(&mut self, input: Input, now: Instant) {
        self.0.borrow_mut().handle(input, now);
    }

    fn poll(&mut self) -> Output {
        self.0.borrow_mut().poll()
    }
}

/// Clients behind the inside's next hop, servers behind the outside's.
struct Crowd {
    /// Inside, then outside: where the port is, who we are there, who the cluster is.
    sides: [Side; 2],
    wanted: u32,
    opened: u32,
    established: u32,
    outputs: Vec<Output>,
}

struct Side {
    port: u16,
    mac: Mac,
    /// The first IPv4 prefix behind the next hop.
    hosts: Prefix,
    cluster: Mac,
}

impl Crowd {
    fn new(lab: &Lab, wanted: u32) -> Self {
        let node = lab.nodes.iter().find(|node| node.kind == NodeKind::Generator).expect("a generator");
        let side = |role| {
            let network: &Network = lab.role(role).expect("a network of the role");
            let place = node.ports.iter().position(|port| port.role == PortRole::Station(network.id));
            let port = place.expect("a port on it");
            let mut behind = network.routes.iter().map(|route| route.prefix);
            let hosts = behind.find(|prefix| prefix.address.is_ipv4()).expect("a route to the crowd");
            Side {
                port: u16::try_from(port).expect("few ports"),
                mac: node.ports[port].mac,
                hosts,
                cluster: network.cluster_mac,
            }
        };
        Self {
            sides: [side(NetworkRole::Inside), side(NetworkRole::Outside)],
            wanted,
            opened: 0,
            established: 0,
            outputs: Vec::new(),
        }
    }

    /// The `n`-th connection: addresses that are spread over the prefixes, and a port that tells equal pairs apart.
    fn flow(&self, n: u32) -> Flow {
        // Neither the network's nor the broadcast address.
        let host = |prefix: Prefix, n: u32| prefix.host(1 + u64::from(n) % (prefix.addresses() - 2));
        Flow {
            protocol: Protocol::TCP,
            src: host(self.sides[0].hosts, n),
            dst: host(self.sides[1].hosts, n.wrapping_mul(2_654_435_761) >> 8),
            src_port: u16::try_from(1_024 + n / 8_192).expect("few connections an address"),
            dst_port: 443,
        }
    }

    /// When the next connections are opened.
    fn due(&self) -> Instant {
        Instant(0) + BOOT + Duration::from_millis(u64::from(self.opened / A_MS))
    }

    fn send(&mut self, side: usize, flow: Flow, flags: u8) {
        let Side { port, mac, cluster, .. } = self.sides[side];
        let envelope = Envelope { src: mac, dst: cluster, ttl: 64, identification: 0 };
        let fields = TcpFields { sequence: 1, acknowledgement: 1, flags, window: 100 };
        self.transmit(port, build::tcp(envelope, flow, fields, b""));
    }

    fn transmit(&mut self, port: u16, frame: Frame) {
        self.outputs.push(Output::Transmit { port: PortIndex(port), frame });
    }

    fn take(&mut self, port: u16, frame: &Frame) {
        let Some(side) = self.sides.iter().position(|side| side.port == port) else { return };
        match View::parse(frame.bytes()).map(|view| view.network) {
            // The crowd is its own next hop; whoever else is asked for lives elsewhere.
            Some(Layer3::Arp(arp)) if arp.operation == 1 && arp.sender_ip != arp.target_ip => {
                let mac = self.sides[side].mac;
                let answer = Arp {
                    operation: 2,
                    sender_mac: mac,
                    sender_ip: arp.target_ip,
                    target_mac: arp.sender_mac,
                    target_ip: arp.sender_ip,
                };
                self.transmit(port, build::arp(mac, arp.sender_mac, answer));
            }
            Some(Layer3::Ip(ip)) => {
                let Transport::Tcp(tcp) = ip.transport else { return };
                let answer = ip.flow().reversed();
                match (tcp.has(SYN), tcp.has(ACK)) {
                    (true, false) => self.send(side, answer, SYN | ACK),
                    (true, true) => self.send(side, answer, ACK),
                    _ => self.established += 1,
                }
            }
            _ => {}
        }
    }
}

impl Engine for Crowd {
    fn handle(&mut self, input: Input, now: Instant) {
        if let Input::Frame { port, frame, .. } = &input {
            self.take(port.0, frame);
        }
        while self.opened < self.wanted && self.due() <= now {
            for _ in 0..A_MS.min(self.wanted - self.opened) {
                let flow = self.flow(self.opened);
                self.send(0, flow, SYN);
                self.opened += 1;
            }
        }
    }

    fn poll(&mut self) -> Output {
        match self.outputs.pop() {
            Some(output) => output,
            None => Output::Idle((self.opened < self.wanted).then(|| self.due())),
        }
    }
}

/// What a group holds, and what sync cost it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Sums over all members.
    pub footprint: Footprint,
    /// Connections that the crowd saw through their handshake.
    pub established: u32,
    /// Entries for other members.
    pub entries: u64,
    /// Bytes of all sync frames.
    pub sync_bytes: u64,
}

/// The lab of 31 members with fewer, and without hide NAT: a pool has 50,000 ports.
///
/// # Panics
/// The shipped lab changed so that it can't be made from it.
#[must_use]
pub fn lab(members: u8) -> Lab {
    let text = catalogue::lab_text("maestro-31-members").expect("a shipped lab");
    let text = text.replace("members: 31 ", &format!("members: {members} "));
    let lab = load_lab("crowd.yaml", &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lab.members().len(), usize::from(members));
    lab.with(&Overrides { hide_nat: Some(false), ..Overrides::default() })
}

/// A lab, in service, with its crowd not yet there.
pub struct Group {
    fabric: Fabric,
    members: Vec<Rc<RefCell<Gateway>>>,
    crowd: Rc<RefCell<Crowd>>,
}

impl Group {
    /// Boots a Maestro lab.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn boot(lab: &Lab, connections: u32) -> Self {
        let mut fabric = Fabric::new(1);
        let mut members = Vec::new();
        let crowd = Rc::new(RefCell::new(Crowd::new(lab, connections)));
        for node in &lab.nodes {
            let engine: Box<dyn Engine> = match nodes::config(lab, &[], node, 1, Ablations::default()) {
                Some(Config::Mho(config)) => Box::new(Orchestrator::new(*config)),
                Some(Config::Sgm(config)) => {
                    let member = Rc::new(RefCell::new(Gateway::new(*config)));
                    members.push(Rc::clone(&member));
                    Box::new(Shared(member))
                }
                Some(Config::Pivot(_)) => panic!("a Maestro lab has no pivot"),
                Some(Config::Switch(config)) => Box::new(Switch::new(config)),
                None => Box::new(Shared(Rc::clone(&crowd))),
            };
            fabric.add(&node.name, engine, u16::try_from(node.ports.len()).expect("few ports"));
        }
        let place = |end: End| (NodeIndex(usize::from(end.node)), PortIndex(end.port));
        for cable in &lab.cables {
            fabric.connect(place(cable.a), place(cable.b));
        }
        // Hosts stay silent.
        for (index, node) in lab.nodes.iter().enumerate() {
            if !matches!(node.kind, NodeKind::Host(_)) {
                fabric.start(NodeIndex(index));
            }
        }
        fabric.run_until(Instant(0) + BOOT);
        fabric.take_events();
        Self { fabric, members, crowd }
    }

    /// Lets the crowd come, and then the sync delay pass. Each connection is established then, and owned once.
    ///
    /// # Panics
    /// One is not.
    pub fn fill(&mut self) -> Held {
        let wanted = self.crowd.borrow().wanted;
        let time = BOOT + Duration::from_millis(u64::from(wanted / A_MS) + 5_000);
        self.fabric.run_until(Instant(0) + time);
        self.fabric.take_events();
        let held = self.held();
        assert_eq!((held.established, held.footprint.owned), (wanted, wanted as usize), "established and owned");
        held
    }

    fn held(&self) -> Held {
        let mut held = Held { established: self.crowd.borrow().established, ..Held::default() };
        for member in &self.members {
            let member = member.borrow();
            let Footprint { owned, copies, bytes } = member.footprint();
            held.footprint.owned += owned;
            held.footprint.copies += copies;
            held.footprint.bytes += bytes;
            let (entries, bytes) = member.sync_cost();
            held.entries += entries;
            held.sync_bytes += bytes;
        }
        held
    }
}
