//! The agreement in virtual time: members and orchestrators over queues that behave like the internal network.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::Ipv4Addr;

use scalebed_cluster::{Ablations, ClusterMember, ClusterOrchestrator, NodeConfig, Port, Step};
use scalebed_engine::{Instant, NodeEvent, Rng};
use scalebed_frame::control::{Body, Control, MemberState};
use scalebed_frame::{Bucket, DistributionMode, GroupId, Incarnation, Mac, MemberId, MhoId, NetworkId, NodeId};
use scalebed_topologies::lab::{self, Architecture, Group, PivotForward, PortRole, Redeal, Sticky};

const UNIT: u64 = 100;
/// One way, between any two nodes.
const LATENCY: u64 = 40_000;

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

enum Machine {
    Member(Box<ClusterMember>),
    Mho(Box<ClusterOrchestrator>),
}

struct Node {
    machine: Machine,
    starts: u32,
    alive: bool,
    hung: bool,
    backlog: Vec<(Control, Instant)>,
}

/// Deliveries and wake-ups in order of time, ties by sequence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due(std::cmp::Reverse<(u64, u64)>);

struct World {
    architecture: Architecture,
    ablations: Ablations,
    members: Vec<MemberId>,
    starters: Vec<MemberId>,
    mhos: Vec<MhoId>,
    nodes: BTreeMap<NodeId, Node>,
    queue: BinaryHeap<Due>,
    content: BTreeMap<u64, (NodeId, Option<Control>)>,
    sequence: u64,
    now: Instant,
    events: Vec<(Instant, NodeId, NodeEvent)>,
    /// Downlinks without carrier.
    down: BTreeSet<(MemberId, MhoId)>,
    /// So many of 100 messages are lost.
    lose: u64,
    rng: Rng,
}

fn group() -> Group {
    Group {
        id: GroupId(1),
        distribution: DistributionMode::General,
        l4: false,
        buckets: 512,
        redeal: Redeal::MinimalMove,
        sync_delay_ms: 3000,
        unit_ms: 100,
        dead_units: 3,
        rules: Vec::new(),
        nat: Vec::new(),
        pivot_forward: PivotForward::Sync,
        sticky: Sticky::Table,
    }
}

fn port(role: PortRole) -> lab::Port {
    lab::Port { name: "p".to_owned(), role, mac: Mac::ZERO, mtu: 1600, cable: 0 }
}

impl World {
    fn new(architecture: Architecture, members: u8, absent: &[u8], ablations: Ablations) -> Self {
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
            now: Instant(1),
            events: Vec::new(),
            down: BTreeSet::new(),
            lose: 0,
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

    fn ports(&self, id: NodeId) -> Vec<lab::Port> {
        match (id, self.architecture) {
            (NodeId::Member(_), Architecture::Maestro) => {
                self.mhos.iter().map(|&mho| port(PortRole::Downlink(mho))).collect()
            }
            (NodeId::Member(_), Architecture::ElasticXl) => {
                vec![port(PortRole::Sync), port(PortRole::Data(NetworkId(1)))]
            }
            (NodeId::Mho(_), _) => {
                let mut ports: Vec<_> = self.members.iter().map(|&member| port(PortRole::DownlinkTo(member))).collect();
                ports.push(port(PortRole::Pair));
                ports
            }
        }
    }

    fn start(&mut self, id: NodeId) {
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
                subnet: lab::Prefix { address: Ipv4Addr::new(198, 18, 0, 0), length: 24 },
                cluster_ip: Ipv4Addr::new(198, 18, 0, 1),
                cluster_mac: Mac::ZERO,
                routes: Vec::new(),
            }],
            ports: self.ports(id),
            members: self.members.clone(),
            starters: self.starters.clone(),
            orchestrators: self.mhos.clone(),
            ablations: self.ablations,
        };
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

    fn link(&mut self, id: NodeId, port: u16, up: bool) {
        let now = self.now;
        match &mut self.node(id).machine {
            Machine::Member(member) => member.on_link(port, up, 1, now),
            Machine::Mho(mho) => mho.on_link(port, up, 1, now),
        }
        self.settle(id);
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    fn member(&self, number: u8) -> &ClusterMember {
        match &self.nodes[&NodeId::Member(MemberId::new(1, number))].machine {
            Machine::Member(member) => member,
            Machine::Mho(_) => unreachable!("members are members"),
        }
    }

    fn kill(&mut self, id: NodeId) {
        self.node(id).alive = false;
    }

    fn hang(&mut self, id: NodeId) {
        self.node(id).hung = true;
    }

    fn unhang(&mut self, id: NodeId) {
        self.node(id).hung = false;
        self.wake(id);
        for (message, received) in std::mem::take(&mut self.node(id).backlog) {
            self.hand(id, &message, received);
        }
    }

    fn wake(&mut self, id: NodeId) {
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

    fn hand(&mut self, id: NodeId, message: &Control, received: Instant) {
        let now = self.now;
        let node = self.node(id);
        if !node.alive {
            return;
        }
        if node.hung {
            node.backlog.push((message.clone(), received));
            return;
        }
        match &mut node.machine {
            Machine::Member(member) => {
                member.on_time(now);
                member.on_control(0, message, received, now);
            }
            Machine::Mho(mho) => {
                mho.on_time(now);
                mho.on_control(0, message, received, now);
            }
        }
        self.settle(id);
    }

    /// Does every step of a node, then plans its next wake-up.
    fn settle(&mut self, id: NodeId) {
        loop {
            let (step, incarnation) = match &mut self.node(id).machine {
                Machine::Member(member) => (member.next_step(), member.incarnation()),
                Machine::Mho(mho) => (mho.next_step(), mho.incarnation()),
            };
            let Some(step) = step else { break };
            match step {
                Step::Send { port, to, body } => self.send(id, incarnation, port, to, body),
                Step::Event(event) => self.events.push((self.now, id, event)),
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
                Step::Accepted(_)
                | Step::Activated(_)
                | Step::Fenced
                | Step::Unfenced
                | Step::Smo(_)
                | Step::Uplinks(_) => {}
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

    fn plan(&mut self, at: u64, id: NodeId, message: Option<Control>) {
        self.sequence += 1;
        self.queue.push(Due(std::cmp::Reverse((at, self.sequence))));
        self.content.insert(self.sequence, (id, message));
    }

    fn send(&mut self, from: NodeId, incarnation: Incarnation, _port: Port, to: Option<NodeId>, body: Body) {
        let message = Control { from, incarnation, to, body };
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|&id| id != from).collect();
        for id in others {
            if to.is_some_and(|to| to != id) {
                continue;
            }
            // Every message takes two paths; it is lost if both lose it.
            let lost = (0..2).all(|_| self.rng.below(100) < self.lose);
            if lost || !self.path(from, id) {
                continue;
            }
            self.plan(self.now.0 + LATENCY, id, Some(message.clone()));
        }
    }

    /// Is there a way between two nodes?
    fn path(&self, a: NodeId, b: NodeId) -> bool {
        let serves = |mho: MhoId| self.nodes[&NodeId::Mho(mho)].alive;
        match (a, b) {
            (NodeId::Member(a), NodeId::Member(b)) if self.architecture == Architecture::Maestro => self
                .mhos
                .iter()
                .any(|&mho| serves(mho) && !self.down.contains(&(a, mho)) && !self.down.contains(&(b, mho))),
            _ => true,
        }
    }

    fn run(&mut self, until: Instant) {
        while let Some(Due(std::cmp::Reverse((at, sequence)))) = self.queue.peek() {
            if *at > until.0 {
                break;
            }
            let (at, sequence) = (*at, *sequence);
            self.queue.pop();
            self.now = Instant(at);
            let Some((id, message)) = self.content.remove(&sequence) else { continue };
            match message {
                Some(message) => self.hand(id, &message, self.now),
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

    fn live_members(&self) -> impl Iterator<Item = &ClusterMember> {
        self.nodes.values().filter(|node| node.alive && !node.hung).filter_map(|node| match &node.machine {
            Machine::Member(member) => Some(&**member),
            Machine::Mho(_) => None,
        })
    }

    /// S2, S5, S7, S8 at every step, for nodes that run. A bucket has one owner that may process it, per generation.
    fn safe(&self) {
        let mut digests = BTreeMap::new();
        for member in self.live_members().filter(|member| member.matrix().is_some()) {
            let known = digests.entry(member.accepted()).or_insert(member.digest());
            assert_eq!(*known, member.digest(), "S7: one generation, one digest");
        }
        let unfenced: Vec<_> = self.live_members().filter(|member| !member.is_fenced()).collect();
        for bucket in [0u16, 100, 300, 511] {
            let owners = unfenced.iter().filter(|member| {
                member.may_own(Bucket(bucket)) && unfenced.iter().all(|other| other.accepted() <= member.accepted())
            });
            assert!(owners.count() <= 1, "S2: bucket {bucket} at {}", self.now);
        }
        let smos = unfenced.iter().filter(|member| member.is_smo()).count();
        let tail: Vec<String> = self.events.iter().rev().take(14).map(|one| format!("{one:?}")).collect();
        assert!(smos <= 1, "S5: {smos} SMOs at {}\n{}", self.now, tail.join("\n"));
    }

    fn generations(&self) -> u32 {
        self.live_members().map(|member| member.activated().counter).max().unwrap_or(0)
    }

    fn all_active(&self, numbers: &[u8]) {
        for &number in numbers {
            let member = self.member(number);
            assert_eq!(member.state(), MemberState::Active, "1_{number:02}: {:?}", member.reason());
            assert_eq!(member.digest(), self.member(numbers[0]).digest());
        }
    }

    fn first_event(&self, after: Instant, wanted: impl Fn(&NodeEvent) -> bool) -> Option<Instant> {
        self.events.iter().find(|(at, _, event)| *at >= after && wanted(event)).map(|(at, ..)| *at)
    }
}

fn sgm(number: u8) -> NodeId {
    MemberId::new(1, number).into()
}

fn booted(architecture: Architecture, members: u8, absent: &[u8]) -> World {
    let mut world = World::new(architecture, members, absent, Ablations::default());
    world.run(ms(1000));
    world
}

#[test]
fn boot_makes_generation_one_with_everybody() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        let world = booted(architecture, members, &[]);
        assert_eq!(world.generations(), 1);
        world.all_active(&(1..=members).collect::<Vec<_>>());
        assert!(world.member(1).is_smo());
    }
}

#[test]
fn a_member_that_does_not_come_is_waited_for_and_then_left_out() {
    let mut world = World::new(Architecture::Maestro, 4, &[3], Ablations::default());
    let expecting = NodeConfig { starters: world.members.clone(), ..config_of(&world, 1) };
    let machine = Machine::Member(Box::new(ClusterMember::new(expecting)));
    world.nodes.insert(sgm(1), Node { machine, starts: 1, alive: true, hung: false, backlog: Vec::new() });
    world.link(sgm(1), 0, true);
    world.wake(sgm(1));
    world.run(ms(2500));
    assert_eq!(world.generations(), 0, "at most 30 units are waited");
    world.run(ms(4000));
    assert_eq!(world.generations(), 1);
    world.all_active(&[1, 2, 4]);
}

#[test]
fn a_killed_member_is_left_out_within_three_units_and_comes_back_by_join() {
    for (architecture, members, kept) in
        [(Architecture::Maestro, 4, vec![1, 2, 4]), (Architecture::ElasticXl, 3, vec![1, 2])]
    {
        let mut world = booted(architecture, members, &[]);
        world.kill(sgm(3));
        let killed = world.now;
        world.run(ms(2000));
        assert_eq!(world.generations(), 2);
        world.all_active(&kept);
        let activated = world.first_event(killed, |event| matches!(event, NodeEvent::Activated { .. }));
        let took = activated.expect("a generation").since(killed);
        assert!(took.as_millis() <= 3 * u128::from(UNIT) + 5, "detection, decision and barrier took {took:?}");
        world.start(sgm(3));
        world.run(ms(4000));
        assert_eq!(world.generations(), 3);
        world.all_active(&(1..=members).collect::<Vec<_>>());
    }
}

#[test]
fn the_lowest_active_id_takes_over_and_keeps_the_role() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        let mut world = booted(architecture, members, &[]);
        world.kill(sgm(1));
        world.run(ms(2000));
        assert_eq!(world.generations(), 2);
        assert!(world.member(2).is_smo());
        world.start(sgm(1));
        world.run(ms(4000));
        assert_eq!(world.generations(), 3);
        world.all_active(&(1..=members).collect::<Vec<_>>());
        assert!(world.member(2).is_smo() && !world.member(1).is_smo(), "a lower id that returns does not take it back");
    }
}

#[test]
fn a_hang_of_one_unit_is_nothing() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        for victim in [1, 2] {
            let mut world = booted(architecture, members, &[]);
            world.hang(sgm(victim));
            world.run(ms(1000 + UNIT));
            world.unhang(sgm(victim));
            world.run(ms(3000));
            assert_eq!(world.generations(), 1);
            world.all_active(&(1..=members).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_hang_of_five_units_is_left_out_fences_itself_and_rejoins() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        for victim in [1, 2] {
            let mut world = booted(architecture, members, &[]);
            world.hang(sgm(victim));
            world.run(ms(1000 + 5 * UNIT));
            assert_eq!(world.generations(), 2);
            world.unhang(sgm(victim));
            let fenced = world
                .events
                .iter()
                .any(|(_, id, event)| *id == sgm(victim) && matches!(event, NodeEvent::Fenced { .. }));
            assert!(fenced, "it fences itself before it reads its backlog");
            world.run(ms(4000));
            assert_eq!(world.generations(), 3);
            world.all_active(&(1..=members).collect::<Vec<_>>());
            assert_eq!(world.member(victim).incarnation(), Incarnation(257));
        }
    }
}

#[test]
fn without_the_self_fence_a_woken_owner_owns_what_another_owns() {
    let ablations = Ablations { no_self_fence: true, ..Ablations::default() };
    let mut world = World::new(Architecture::Maestro, 4, &[], ablations);
    world.run(ms(1000));
    world.hang(sgm(2));
    world.run(ms(1000 + 5 * UNIT));
    world.node(sgm(2)).hung = false;
    world.wake(sgm(2));
    // What it owned before is still its own, by its own matrix, and has another owner by the new one.
    let twice = (0..512).map(Bucket).filter(|&bucket| world.member(2).may_own(bucket) && !world.member(2).is_fenced());
    assert_eq!(twice.count(), 128);
}

#[test]
fn without_the_barrier_a_new_owner_processes_before_the_orchestrators_fence() {
    for (no_barrier, early) in [(false, 0), (true, 1)] {
        let mut world = World::new(Architecture::Maestro, 4, &[], Ablations { no_barrier, ..Ablations::default() });
        world.run(ms(1000));
        world.kill(sgm(3));
        world.run(ms(1000 + 2 * UNIT));
        // MHO 2 stands still when the change comes, not long enough to be dead: it has not fenced yet.
        world.hang(MhoId(2).into());
        world.run(ms(1000 + 3 * UNIT + 20));
        let new_owner = |world: &World| {
            let matrix = world.member(1).matrix().expect("a matrix");
            (0..512u16).find(|&index| matrix.buckets[usize::from(index)].moved.counter == 2).map(Bucket)
        };
        let bucket = new_owner(&world);
        let owns = bucket.is_some_and(|bucket| (1..=4).filter(|n| *n != 3).any(|n| world.member(n).may_own(bucket)));
        assert_eq!(u32::from(owns), early, "no_barrier {no_barrier}");
    }
}

#[test]
fn without_the_fence_an_orchestrator_passes_who_was_left_out() {
    for no_fence in [false, true] {
        let mut world = World::new(Architecture::Maestro, 4, &[], Ablations { no_fence, ..Ablations::default() });
        world.run(ms(1000));
        let incarnation = 256;
        world.hang(sgm(3));
        world.run(ms(2000));
        let Machine::Mho(mho) = &world.nodes[&NodeId::Mho(MhoId(1))].machine else { unreachable!("an orchestrator") };
        assert_eq!(mho.passes(sgm(3), incarnation), no_fence);
        assert!(mho.passes(sgm(2), incarnation));
    }
}

#[test]
fn the_loss_of_an_orchestrator_makes_no_generation_and_its_return_one() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let owners: Vec<_> =
        world.member(1).matrix().expect("a matrix").buckets.iter().map(|bucket| bucket.owner).collect();
    world.kill(MhoId(2).into());
    world.run(ms(2500));
    assert_eq!(world.generations(), 1);
    world.start(MhoId(2).into());
    world.run(ms(4000));
    assert_eq!(world.generations(), 2);
    let now: Vec<_> = world.member(1).matrix().expect("a matrix").buckets.iter().map(|bucket| bucket.owner).collect();
    assert_eq!(owners, now);
    let Machine::Mho(mho) = &world.nodes[&NodeId::Mho(MhoId(2))].machine else { unreachable!("an orchestrator") };
    assert!(!mho.is_fenced());
}

#[test]
fn the_barrier_goes_on_without_a_dead_orchestrator() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.kill(MhoId(2).into());
    world.kill(sgm(3));
    world.run(ms(2500));
    assert_eq!(world.generations(), 2);
    world.all_active(&[1, 2, 4]);
}

#[test]
fn a_pulled_downlink_makes_no_generation() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.down.insert((MemberId::new(1, 3), MhoId(2)));
    world.link(sgm(3), 1, false);
    world.link(MhoId(2).into(), 2, false);
    world.run(ms(3000));
    assert_eq!(world.generations(), 1);
    world.all_active(&[1, 2, 3, 4]);
}

#[test]
fn carrier_lost_on_both_downlinks_is_death_at_once() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let at = world.now;
    world.kill(sgm(3));
    for mho in [MhoId(1), MhoId(2)] {
        world.down.insert((MemberId::new(1, 3), mho));
        world.link(mho.into(), 2, false);
    }
    world.run(ms(1050));
    let activated = world.first_event(at, |event| matches!(event, NodeEvent::Activated { .. }));
    assert!(activated.is_some_and(|then| then.since(at).as_millis() < 2), "{activated:?}");
}

#[test]
fn scale_out_moves_a_quarter_and_the_next_change_forgets_the_previous_owners() {
    let mut world = booted(Architecture::Maestro, 4, &[4]);
    world.all_active(&[1, 2, 3]);
    world.start(sgm(4));
    world.run(ms(3000));
    world.all_active(&[1, 2, 3, 4]);
    assert_eq!(world.generations(), 2);
    let moved = |world: &World| {
        world.member(1).matrix().expect("a matrix").buckets.iter().filter(|bucket| bucket.previous.is_some()).count()
    };
    assert_eq!(moved(&world), 128);
    assert_eq!(world.member(4).waiting_for(Bucket(0)), None);
    world.kill(sgm(3));
    world.run(ms(5000));
    assert_eq!(moved(&world), 0);
}

#[test]
fn a_joiner_with_another_configuration_stays_ready() {
    let mut world = booted(Architecture::ElasticXl, 3, &[3]);
    // Its digest differs from the others'.
    let mut other = NodeConfig { config_digest: 8, ..config_of(&world, 3) };
    other.starters = world.starters.clone();
    let machine = Machine::Member(Box::new(ClusterMember::new(other)));
    world.nodes.insert(sgm(3), Node { machine, starts: 1, alive: true, hung: false, backlog: Vec::new() });
    world.link(sgm(3), 0, true);
    world.wake(sgm(3));
    world.run(ms(4000));
    assert_eq!(world.generations(), 1);
    assert_eq!(world.member(3).state(), MemberState::Ready);
    assert!(world.member(3).reason().is_some_and(|reason| reason.contains("differs")));
}

fn config_of(world: &World, number: u8) -> NodeConfig {
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

#[test]
fn lost_messages_delay_and_never_divide() {
    for seed in 0..30 {
        for architecture in [Architecture::Maestro, Architecture::ElasticXl] {
            let mut world = World::new(architecture, 3, &[], Ablations::default());
            world.rng = Rng::new(seed, "loss");
            world.run(ms(1000));
            // Three heartbeats in a row lost by everybody is what the dead timer cannot tell from death: kept rare.
            world.lose = 10;
            world.kill(sgm(2));
            world.run(ms(6000));
            world.lose = 0;
            world.run(ms(12_000));
            world.all_active(&[1, 3]);
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_events() {
    let run = || {
        let mut world = booted(Architecture::Maestro, 4, &[]);
        world.kill(sgm(1));
        world.run(ms(2000));
        world.start(sgm(1));
        world.run(ms(4000));
        format!("{:?}", world.events)
    };
    assert_eq!(run(), run());
}
