//! Machines, time, and what must hold after every step.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::Ipv4Addr;

use scalebed_cluster::{Ablations, ClusterMember, ClusterOrchestrator, NodeConfig, Step};
use scalebed_engine::{Instant, NodeEvent, Rng};
use scalebed_frame::control::{Control, MemberState};
use scalebed_frame::{
    Bucket, DistributionMode, Generation, GroupId, Incarnation, Mac, MemberId, MhoId, NetworkId, NodeId,
};
use scalebed_topologies::lab::{self, Architecture, Group, PortRole};

pub(crate) const UNIT: u64 = 100;
/// One way, between any two nodes.
pub(crate) const LATENCY: u64 = 40_000;

pub(crate) fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

pub(crate) enum Machine {
    Member(Box<ClusterMember>),
    Mho(Box<ClusterOrchestrator>),
}

pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) starts: u32,
    pub(crate) alive: bool,
    pub(crate) hung: bool,
    pub(crate) backlog: Vec<(u16, Control, Instant)>,
}

/// Deliveries and wake-ups in order of time, ties by sequence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due(std::cmp::Reverse<(u64, u64)>);

pub(crate) struct World {
    pub(crate) architecture: Architecture,
    pub(crate) ablations: Ablations,
    pub(crate) members: Vec<MemberId>,
    pub(crate) starters: Vec<MemberId>,
    pub(crate) mhos: Vec<MhoId>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) queue: BinaryHeap<Due>,
    pub(crate) content: BTreeMap<u64, (NodeId, Option<(u16, Control)>)>,
    pub(crate) sequence: u64,
    /// The highest generation that each life of an orchestrator accepted.
    pub(crate) highest: BTreeMap<(NodeId, u32), Generation>,
    pub(crate) now: Instant,
    pub(crate) events: Vec<(Instant, NodeId, NodeEvent)>,
    /// What orchestrators did with their uplinks.
    pub(crate) uplinks: Vec<(NodeId, bool)>,
    /// Downlinks without carrier.
    pub(crate) down: BTreeSet<(MemberId, MhoId)>,
    /// Ports whose cable takes everything, both ways, and keeps its carrier.
    pub(crate) cut: BTreeSet<(NodeId, u16)>,
    /// Nodes that nothing comes to.
    pub(crate) deaf: BTreeSet<NodeId>,
    /// So many of 100 messages are lost, each path by itself.
    pub(crate) lose: u64,
    /// Is S5 asked for?
    pub(crate) strict: bool,
    pub(crate) rng: Rng,
}

pub(crate) fn group() -> Group {
    Group::new(GroupId(1), DistributionMode::General)
}

pub(crate) fn port(role: PortRole) -> lab::Port {
    lab::Port { name: "p".to_owned(), role, mac: Mac::ZERO, mtu: 1600, cable: 0 }
}

impl World {
    pub(crate) fn new(architecture: Architecture, members: u8, absent: &[u8], ablations: Ablations) -> Self {
        let members: Vec<MemberId> = (1..=members).map(|number| MemberId::new(1, number)).collect();
        let starters: Vec<MemberId> =
            members.iter().copied().filter(|member| !absent.contains(&member.number)).collect();
        let mhos = match architecture {
            Architecture::Maestro => vec![MhoId(1), MhoId(2)],
            Architecture::ElasticXl => Vec::new(),
        };
        let mut world = Self {
            architecture,
            ablations,
            members,
            starters: starters.clone(),
            mhos: mhos.clone(),
            nodes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            content: BTreeMap::new(),
            sequence: 0,
            highest: BTreeMap::new(),
            now: Instant(1),
            events: Vec::new(),
            uplinks: Vec::new(),
            down: BTreeSet::new(),
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            lose: 0,
            strict: true,
            rng: Rng::new(1, "loss"),
        };
        for mho in mhos {
            world.start(mho.into());
        }
        for member in starters {
            world.start(member.into());
        }
        world
    }

    pub(crate) fn ports(&self, id: NodeId) -> Vec<lab::Port> {
        match (id, self.architecture) {
            (NodeId::Member(_), Architecture::Maestro) => {
                self.mhos.iter().map(|&mho| port(PortRole::Downlink(mho))).collect()
            }
            (NodeId::Member(_), Architecture::ElasticXl) => {
                vec![
                    port(PortRole::Sync),
                    lab::Port { name: "inside".to_owned(), ..port(PortRole::Data(NetworkId(1))) },
                    lab::Port { name: "outside".to_owned(), ..port(PortRole::Data(NetworkId(2))) },
                ]
            }
            (NodeId::Mho(_), _) => {
                let mut ports: Vec<_> = self.members.iter().map(|&member| port(PortRole::DownlinkTo(member))).collect();
                ports.push(port(PortRole::Pair));
                ports
            }
        }
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let starts = self.nodes.get(&id).map_or(0, |node| node.starts) + 1;
        let config = NodeConfig {
            name: id.to_string(),
            id,
            incarnation: Incarnation(starts * 256),
            architecture: self.architecture,
            group: group(),
            config_digest: 7,
            networks: vec![lab::Network {
                id: NetworkId(1),
                name: "n".to_owned(),
                role: lab::NetworkRole::Inside,
                subnet: lab::Prefix { address: Ipv4Addr::new(198, 18, 0, 0).into(), length: 24 },
                cluster_ip: Ipv4Addr::new(198, 18, 0, 1),
                ipv6: None,
                mtu: 1500,
                cluster_mac: Mac::ZERO,
                routes: Vec::new(),
            }],
            ports: self.ports(id),
            members: self.members.clone(),
            starters: self.starters.clone(),
            orchestrators: self.mhos.clone(),
            ablations: self.ablations,
        };
        self.boot_up(id, starts, config);
    }

    /// A member that runs with another configuration than the others.
    pub(crate) fn replace(&mut self, number: u8, config: NodeConfig) {
        self.boot_up(sgm(number), 1, config);
    }

    pub(crate) fn boot_up(&mut self, id: NodeId, starts: u32, config: NodeConfig) {
        let ports = u16::try_from(config.ports.len()).expect("few ports");
        let machine = match id {
            NodeId::Member(_) => Machine::Member(Box::new(ClusterMember::new(config))),
            NodeId::Mho(_) => Machine::Mho(Box::new(ClusterOrchestrator::new(config))),
        };
        self.nodes.insert(id, Node { machine, starts, alive: true, hung: false, backlog: Vec::new() });
        for port in 0..ports {
            self.link(id, port, true);
        }
        self.wake(id);
    }

    pub(crate) fn link(&mut self, id: NodeId, port: u16, up: bool) {
        let now = self.now;
        match &mut self.node(id).machine {
            Machine::Member(member) => member.on_link(port, up, 1, now),
            Machine::Mho(mho) => mho.on_link(port, up, 1, now),
        }
        self.settle(id);
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    pub(crate) fn member(&self, number: u8) -> &ClusterMember {
        match &self.nodes[&NodeId::Member(MemberId::new(1, number))].machine {
            Machine::Member(member) => member,
            Machine::Mho(_) => unreachable!("members are members"),
        }
    }

    pub(crate) fn kill(&mut self, id: NodeId) {
        self.node(id).alive = false;
    }

    pub(crate) fn hang(&mut self, id: NodeId) {
        self.node(id).hung = true;
    }

    pub(crate) fn unhang(&mut self, id: NodeId) {
        self.node(id).hung = false;
        self.wake(id);
        for (port, message, received) in std::mem::take(&mut self.node(id).backlog) {
            self.hand(id, port, &message, received);
        }
    }

    pub(crate) fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        if !node.alive || node.hung {
            return;
        }
        match &mut node.machine {
            Machine::Member(member) => member.on_time(now),
            Machine::Mho(mho) => mho.on_time(now),
        }
        self.settle(id);
    }

    pub(crate) fn hand(&mut self, id: NodeId, port: u16, message: &Control, received: Instant) {
        let now = self.now;
        let node = self.node(id);
        if !node.alive {
            return;
        }
        if node.hung {
            node.backlog.push((port, message.clone(), received));
            return;
        }
        match &mut node.machine {
            Machine::Member(member) => {
                member.on_time(now);
                member.on_control(port, message, received, now);
            }
            Machine::Mho(mho) => {
                mho.on_time(now);
                mho.on_control(port, message, received, now);
            }
        }
        self.settle(id);
    }

    /// Does every step of a node, then plans its next wake-up.
    pub(crate) fn settle(&mut self, id: NodeId) {
        loop {
            let (step, incarnation) = match &mut self.node(id).machine {
                Machine::Member(member) => (member.next_step(), member.incarnation()),
                Machine::Mho(mho) => (mho.next_step(), mho.incarnation()),
            };
            let Some(step) = step else { break };
            match step {
                Step::Send { port, to, body } => self.send(id, incarnation, port, to, body),
                Step::Event(event) => self.events.push((self.now, id, event)),
                // The bench has no neighbours; they answer at once.
                Step::Probe => {
                    let now = self.now;
                    if let Some(node) = self.nodes.get_mut(&id)
                        && let Machine::Member(member) = &mut node.machine
                    {
                        member.probed(now);
                    }
                }
                Step::StartSync { .. } => {
                    let now = self.now;
                    if let Machine::Member(member) = &mut self.node(id).machine {
                        member.synced(now);
                    }
                }
                // A previous owner's list takes its way through the gateway; here it arrives at once.
                Step::SendMove { to, generation, .. } => {
                    let now = self.now;
                    if let (NodeId::Member(previous), Machine::Member(member)) = (id, &mut self.node(to.into()).machine)
                    {
                        member.move_complete(generation, previous, 0, now);
                    }
                    self.settle(to.into());
                }
                Step::Uplinks(up) => self.uplinks.push((id, up)),
                Step::Accepted(_) | Step::Activated(_) | Step::Fenced | Step::Unfenced | Step::Smo(_) => {}
            }
        }
        let deadline = match &self.node(id).machine {
            Machine::Member(member) => member.deadline(),
            Machine::Mho(mho) => mho.deadline(),
        };
        if let Some(at) = deadline {
            self.plan(at.0.max(self.now.0), id, None);
        }
    }

    pub(crate) fn plan(&mut self, at: u64, id: NodeId, message: Option<(u16, Control)>) {
        self.sequence += 1;
        self.queue.push(Due(std::cmp::Reverse((at, self.sequence))));
        self.content.insert(self.sequence, (id, message));
    }

    pub(crate) fn run(&mut self, until: Instant) {
        while let Some(Due(std::cmp::Reverse((at, sequence)))) = self.queue.peek() {
            if *at > until.0 {
                break;
            }
            let (at, sequence) = (*at, *sequence);
            self.queue.pop();
            self.now = Instant(at);
            let Some((id, message)) = self.content.remove(&sequence) else { continue };
            match message {
                Some((port, message)) => self.hand(id, port, &message, self.now),
                None => {
                    let deadline = match &self.nodes[&id].machine {
                        Machine::Member(member) => member.deadline(),
                        Machine::Mho(mho) => mho.deadline(),
                    };
                    if deadline.is_some_and(|due| due <= self.now) {
                        self.wake(id);
                    }
                }
            }
            self.safe();
        }
        self.now = until;
    }

    pub(crate) fn live_members(&self) -> impl Iterator<Item = &ClusterMember> {
        self.nodes.values().filter(|node| node.alive && !node.hung).filter_map(|node| match &node.machine {
            Machine::Member(member) => Some(&**member),
            Machine::Mho(_) => None,
        })
    }

    /// S2, S4, S5, S7, S8 after every step, for nodes that run.
    pub(crate) fn safe(&mut self) {
        let mut digests = BTreeMap::new();
        for member in self.live_members().filter(|member| member.matrix().is_some()) {
            let known = digests.entry(member.accepted()).or_insert(member.digest());
            assert_eq!(*known, member.digest(), "S7: one generation, one digest");
        }
        for (&id, node) in &self.nodes {
            let Machine::Mho(mho) = &node.machine else { continue };
            let highest = self.highest.entry((id, node.starts)).or_insert(mho.accepted());
            assert!(mho.accepted() >= *highest, "S4: {id} went back");
            *highest = mho.accepted();
        }
        let mut owners = BTreeMap::new();
        for member in self.live_members() {
            for bucket in (0..512).step_by(37).map(Bucket).filter(|&bucket| member.may_own(bucket)) {
                assert_eq!(member.state(), MemberState::Active, "S8: only Active members own");
                let other = owners.insert((member.accepted(), bucket), member.id());
                assert_eq!(other, None, "S2: {bucket:?} twice in {:?}, at {}", member.accepted(), self.now);
            }
        }
        let smos = self.live_members().filter(|member| member.is_smo()).count();
        let tail: Vec<String> = self.events.iter().rev().take(14).map(|one| format!("{one:?}")).collect();
        assert!(smos <= 1 || !self.strict, "S5: {smos} SMOs at {}\n{}", self.now, tail.join("\n"));
    }

    pub(crate) fn generations(&self) -> u32 {
        self.live_members().map(|member| member.activated().counter).max().unwrap_or(0)
    }

    pub(crate) fn all_active(&self, numbers: &[u8]) {
        for &number in numbers {
            let member = self.member(number);
            assert_eq!(member.state(), MemberState::Active, "1_{number:02}: {:?}", member.reason());
            assert_eq!(member.digest(), self.member(numbers[0]).digest());
        }
    }

    pub(crate) fn first_event(&self, after: Instant, wanted: impl Fn(&NodeEvent) -> bool) -> Option<Instant> {
        self.events.iter().find(|(at, _, event)| *at >= after && wanted(event)).map(|(at, ..)| *at)
    }
}

pub(crate) fn sgm(number: u8) -> NodeId {
    MemberId::new(1, number).into()
}

pub(crate) fn booted(architecture: Architecture, members: u8, absent: &[u8]) -> World {
    let mut world = World::new(architecture, members, absent, Ablations::default());
    world.run(ms(1000));
    world
}

pub(crate) fn config_of(world: &World, number: u8) -> NodeConfig {
    NodeConfig {
        name: "late".to_owned(),
        id: sgm(number),
        incarnation: Incarnation(256),
        architecture: world.architecture,
        group: group(),
        config_digest: 7,
        networks: Vec::new(),
        ports: world.ports(sgm(number)),
        members: world.members.clone(),
        starters: world.starters.clone(),
        orchestrators: world.mhos.clone(),
        ablations: Ablations::default(),
    }
}
