//! Fence and barrier, packet by packet on the fabric: with the safeguard nothing stale gets out, without it something does.

use std::collections::{BTreeMap, BTreeSet};

use scalebed_cluster::Ablations;
use scalebed_fabric::{CableIndex, NodeIndex};
use scalebed_frame::signature::Direction;
use scalebed_frame::{MemberId, MhoId, NodeId};
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files::{self, Loaded};
use scalebed_harness::traffic;
use scalebed_harness::world::sim::Sim;
use scalebed_harness::world::{Evidence, World};
use scalebed_record::{Observation, Probe};
use scalebed_topologies::lab::{NodeKind, PortRole};

const MS: u64 = 1_000_000;
/// The labs' heartbeat unit.
const UNIT: u64 = 100 * MS;
/// The member that everybody loses sight of. Not the SMO.
const STALE: MemberId = MemberId::new(1, 3);
const SMO: MemberId = MemberId::new(1, 1);

/// A Maestro lab in service under load, whose cables a test bends by hand.
struct Bench {
    loaded: Loaded,
    sim: Sim,
    start: u64,
}

impl Bench {
    fn new(ablations: Ablations) -> Self {
        let loaded = files::scenario("maestro/hang-5-units").expect("a shipped scenario");
        let mut sim = Sim::new(&loaded.lab, 1);
        driver::boot(&mut sim, &loaded.lab, &loaded.scenario, Settings { seed: 1, ablations }).expect("a lab");
        let first = sim.now() + 1000 * MS;
        let offered = traffic::generator(&loaded.lab, &loaded.scenario, 1, first, 8000 * MS).expect("a schedule");
        sim.offer(&offered).expect("a generator");
        let mut bench = Self { loaded, sim, start: first + 1000 * MS };
        bench.pass(0);
        bench
    }

    /// Lets time pass until so many tenths of a unit after the warm-up.
    fn pass(&mut self, tenths: u64) {
        let until = self.start + tenths * UNIT / 10;
        while self.sim.now() < until {
            self.sim.advance(until).expect("virtual time passes");
        }
    }

    fn node(&self, id: NodeId) -> usize {
        self.loaded.lab.by_id(id).expect("a node of the lab").0
    }

    /// Cuts one way of the downlink between a member and an orchestrator, without carrier loss; `from` speaks into it.
    fn cut(&mut self, member: MemberId, mho: MhoId, from: NodeId, cut: bool) {
        let (node, port) = {
            let (node, spec) = self.loaded.lab.by_id(member.into()).expect("a member");
            let port = spec.ports.iter().position(|port| port.role == PortRole::Downlink(mho)).expect("a downlink");
            (node, u16::try_from(port).expect("few ports"))
        };
        let cable =
            self.loaded.lab.cables.iter().position(|cable| {
                [cable.a, cable.b].iter().any(|end| usize::from(end.node) == node && end.port == port)
            });
        let cable = cable.expect("a cable");
        let from_a = usize::from(self.loaded.lab.cables[cable].a.node) == self.node(from);
        let rules = scalebed_cable::Rules { cut, ..scalebed_cable::Rules::default() };
        let mut settings = scalebed_cable::Settings::default();
        *(if from_a { &mut settings.to_b } else { &mut settings.to_a }) = rules;
        self.sim.fabric().set_cable(CableIndex(cable), settings);
    }

    fn hang(&mut self, member: MemberId) {
        let node = NodeIndex(self.node(member.into()));
        self.sim.fabric().hang(node);
    }

    fn wake(&mut self, member: MemberId) {
        let node = NodeIndex(self.node(member.into()));
        self.sim.fabric().wake(node);
    }

    /// Ends the run; what each orchestrator was given by a member for an uplink, and what came out of its uplinks.
    fn finish(mut self) -> Passages {
        self.pass(60);
        let Evidence { observations, .. } = self.sim.finish().expect("evidence");
        Passages::read(&self.loaded, &observations)
    }
}

type Packet = (u32, bool, u32, u8);

fn packet(probe: Probe) -> Packet {
    (probe.flow, probe.direction == Direction::Reverse, probe.sequence, probe.attempt)
}

/// Generated packets that members sent towards uplinks, in order of their way out.
struct Passages {
    /// By the first member that sent it: `(time, packet)`.
    sent: BTreeMap<Packet, MemberId>,
    /// What came out of an uplink.
    out: Vec<(u64, Packet)>,
}

impl Passages {
    fn read(loaded: &Loaded, observations: &[Observation]) -> Self {
        let lab = &loaded.lab;
        let (mut sent, mut out) = (BTreeMap::new(), Vec::new());
        for seen in observations {
            let Some(probe) = seen.probe else { continue };
            let cable = &lab.cables[usize::from(seen.tap.cable())];
            let (from, to) = if seen.tap.at_b() { (cable.a, cable.b) } else { (cable.b, cable.a) };
            let kind = |node: u16| &lab.nodes[usize::from(node)].kind;
            match (kind(from.node), kind(to.node)) {
                (NodeKind::Member(member), NodeKind::Mho(_)) => {
                    sent.entry(packet(probe)).or_insert(*member);
                }
                (NodeKind::Mho(_), NodeKind::Switch(_)) => out.push((seen.at, packet(probe))),
                _ => {}
            }
        }
        Self { sent, out }
    }

    /// Packets that `member` sent on after `at`, and how many of them came out of an uplink.
    fn of(&self, member: MemberId, at: u64) -> usize {
        let passed = |(time, packet): &&(u64, Packet)| *time > at && self.sent.get(packet) == Some(&member);
        self.out.iter().filter(passed).count()
    }

    /// Packets of flows that another member had taken over when `member` still got one of theirs out.
    fn after_a_successor(&self, member: MemberId, since: u64) -> usize {
        let mut taken: BTreeSet<u32> = BTreeSet::new();
        let mut stale = 0;
        let begun: BTreeSet<u32> = self.flows_of(member, since);
        for (at, packet) in &self.out {
            if *at < since || !begun.contains(&packet.0) {
                continue;
            }
            match self.sent.get(packet) {
                Some(sender) if *sender == member => stale += usize::from(taken.contains(&packet.0)),
                Some(_) => {
                    taken.insert(packet.0);
                }
                None => {}
            }
        }
        stale
    }

    /// Flows that only `member` carried before an instant.
    fn flows_of(&self, member: MemberId, before: u64) -> BTreeSet<u32> {
        let mut own: BTreeMap<u32, bool> = BTreeMap::new();
        for (at, packet) in &self.out {
            if *at < before {
                let is = self.sent.get(packet) == Some(&member);
                own.entry(packet.0).and_modify(|all| *all &= is).or_insert(is);
            }
        }
        own.into_iter().filter(|(_, all)| *all).map(|(flow, _)| flow).collect()
    }
}

#[test]
fn fabric_without_the_fence_a_left_out_members_packets_get_out() {
    for no_fence in [false, true] {
        let mut bench = Bench::new(Ablations { no_fence, no_self_fence: true, ..Ablations::default() });
        bench.pass(2);
        bench.hang(STALE);
        // Declared dead after three units, left out at once; it wakes and does not know.
        bench.pass(52);
        let woken = bench.sim.now();
        bench.wake(STALE);
        let passed = bench.finish().of(STALE, woken);
        assert_eq!(passed > 0, no_fence, "no_fence {no_fence}: {passed} packets of a left-out member got out");
    }
}

/// Nobody hears the stale member for a unit, and it does not know: its last heartbeat was lost. Then it stands still for
/// `still` tenths of a unit. What MHO 2 should accept is lost, so MHO 2 goes on to deal to it and to pass what it sends.
fn packets_after_the_new_owners(ablations: Ablations, still: u64) -> usize {
    let mut bench = Bench::new(ablations);
    let orchestrators = [MhoId(1), MhoId(2)];
    bench.pass(2);
    bench.cut(SMO, MhoId(2), SMO.into(), true);
    orchestrators.iter().for_each(|mho| bench.cut(STALE, *mho, STALE.into(), true));
    bench.pass(12);
    orchestrators.iter().for_each(|mho| bench.cut(STALE, *mho, STALE.into(), false));
    bench.hang(STALE);
    let hung = bench.sim.now();
    bench.pass(12 + still);
    bench.wake(STALE);
    bench.finish().after_a_successor(STALE, hung)
}

#[test]
fn fabric_without_the_barrier_two_members_carry_a_flow_at_once() {
    // Where in its unit the member's heartbeats fall is the lab's business: every length from dead to self-fence is tried.
    let worst = |no_barrier| {
        let ablations = Ablations { no_barrier, ..Ablations::default() };
        (10..26).map(|still| packets_after_the_new_owners(ablations, still)).max()
    };
    assert_eq!(worst(false), Some(0), "the barrier holds the new owners back until MHO 2 fences");
    assert!(worst(true) > Some(0), "without it both carry the same flows");
}
