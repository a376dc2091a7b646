//! A perfect cluster, only as deep as the judge looks: it writes the history and the observations that a flawless run of a
//! scenario would leave. Tests break it in one place and ask who notices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use scalebed_frame::control::Matrix;
use scalebed_frame::signature::{Class, Direction};
use scalebed_frame::{Flow, Incarnation, Kind, Mac, MemberId, MhoId, NetworkId, NodeId, Protocol, Shim};
use scalebed_record::history::{Declared, Heard};
use scalebed_record::traffic::{GeneratorReport, TcpReport};
use scalebed_record::{Entry, Fact, FlowKind, FlowSpec, History, Observation, Probe, Schedule, Shape, TapId};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{Architecture, NetworkRole, NodeKind};
use scalebed_topologies::scenario::{Scenario, Traffic};

use crate::evidence::MS;
use crate::oracle::Oracle;
use crate::{Input, Judgement, judge};

mod reigns;

/// The schedule starts here.
pub const START: u64 = 10_000 * MS;
/// The phase clock starts so much later.
pub const WARM_UP: u64 = 1_000 * MS;
/// From a fault to the new matrix.
pub const GAP: u64 = 350 * MS;
/// From a start to Active.
const JOIN: u64 = 800 * MS;
const NAT_PORTS: u16 = 20_000;

/// One thing done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    None,
    AsymmetricHash,
    HardWired,
    NatLeak,
    DropOneIn(u64),
    /// One TCP segment, which is sent again.
    DropSegment,
    ProcessTwice,
    Loop,
    TtlKept,
    AlteredOnTheWay,
    CollidingPorts,
    /// The source of one IPv6 flow takes another address outside.
    Translate6,
    /// Every fifth IPv6 flow is processed by two members.
    Split6,
    /// Return packets of IPv6 are dealt to a member that must pass them on.
    Correct6,
    HurtOther,
    /// Not the cluster: the generator stood still, from and to, ns.
    Silent(u64, u64),
}

pub struct Run {
    pub lab: Lab,
    pub scenario: Scenario,
    pub history: History,
    pub observations: Vec<Observation>,
}

impl Run {
    pub fn input(&self) -> Input<'_> {
        Input {
            lab: &self.lab,
            scenario: &self.scenario,
            history: &self.history,
            observations: &self.observations,
            world: "sim",
            seed: 1,
        }
    }

    pub fn judge(&self) -> Judgement {
        judge(&self.input())
    }
}

/// A matrix with its time and the members alive under it.
#[derive(Clone)]
pub struct Reign {
    at: u64,
    matrix: Matrix,
    pivot: usize,
}

pub struct Cluster {
    pub lab: Lab,
    pub scenario: Scenario,
    pub mutant: Mutant,
    pub members: Vec<MemberId>,
    pub cables: BTreeMap<(String, String), TapId>,
    pub reigns: Vec<Reign>,
    /// Member out of service: index, from, to.
    pub out: Option<(usize, u64, u64)>,
    /// An orchestrator out of service, or only its downlink to a member: from, to.
    pub leg: Option<(MhoId, Option<usize>, u64, u64)>,
    pub observations: Vec<Observation>,
    pub sent: u64,
    pub segment: u64,
    pub skipped: u64,
}

/// Runs a shipped scenario with a small load.
pub fn run(name: &str, mutant: Mutant) -> Run {
    run_with(name, mutant, |_| ())
}

/// The same with another load.
pub fn run_with(name: &str, mutant: Mutant, change: impl Fn(&mut Traffic)) -> Run {
    let (lab, mut scenario) = scalebed_topologies::catalogue::scenario(name).unwrap().unwrap();
    scenario.traffic.probes = 24;
    scenario.traffic.probe_rate = 100;
    scenario.traffic.population = 400;
    change(&mut scenario.traffic);
    Cluster::new(lab, scenario, mutant).go()
}

impl Cluster {
    fn new(lab: Lab, scenario: Scenario, mutant: Mutant) -> Self {
        let mut cables = BTreeMap::new();
        for (index, cable) in lab.cables.iter().enumerate() {
            let name = |node: u16| lab.nodes[usize::from(node)].name.clone();
            let (a, b) = (name(cable.a.node), name(cable.b.node));
            let index = u16::try_from(index).unwrap();
            cables.insert((a.clone(), b.clone()), TapId::new(index, true));
            cables.insert((b, a), TapId::new(index, false));
        }
        let members = lab.members();
        let (reigns, observations) = (Vec::new(), Vec::new());
        Self {
            lab,
            scenario,
            mutant,
            members,
            cables,
            reigns,
            out: None,
            leg: None,
            observations,
            sent: 0,
            segment: 0,
            skipped: 0,
        }
    }

    fn go(mut self) -> Run {
        let mut history = History::default();
        let schedule = self.schedule();
        self.rule(&mut history);
        let mut report = GeneratorReport::default();
        for (flow, spec) in schedule.flows.iter().enumerate() {
            let tcp = self.flow(flow, spec);
            report.tcp.extend(tcp);
        }
        (report.sent, report.skipped) = (self.sent, self.skipped);
        let end = START + schedule.end + 2_000 * MS;
        self.beats(&mut history, end);
        self.observations.sort_by_key(|seen| seen.at);
        let note = |at, fact| Entry { at, fact };
        history.entries.push(note(START - 1, Fact::Schedule(schedule)));
        if self.scenario.kernel_transfers {
            for ipv6 in [false, true] {
                let (from, to) = ("outside-1".to_owned(), "inside-1".to_owned());
                let fact = Fact::Transfer { from, to, ipv6, bytes: 1_000_000, intact: true, took: MS, error: None };
                history.entries.push(note(START, fact));
            }
        }
        history.entries.push(note(end, Fact::Generator(report)));
        history.entries.push(note(end, Fact::TapDrops { frames: 0 }));
        for cable in 0..u16::try_from(self.lab.cables.len()).unwrap() {
            let at = |at_b| self.observations.iter().filter(|seen| seen.tap == TapId::new(cable, at_b)).count() as u64;
            let (a, b) = (at(false), at(true));
            let fact = Fact::Ledger { cable, put_in_a: b, got_out_b: b, put_in_b: a, got_out_a: a };
            history.entries.push(note(end, fact));
        }
        history.entries.sort_by_key(|entry| entry.at);
        Run { lab: self.lab, scenario: self.scenario, history, observations: self.observations }
    }

    fn schedule(&self) -> Schedule {
        let last = self.scenario.events.last().map_or(self.scenario.baseline_ms, |event| event.at_ms);
        let end = WARM_UP + (last + self.scenario.settle_ms) * MS;
        let traffic = self.scenario.traffic;
        let all = traffic.probes + traffic.population;
        let mut flows = Vec::new();
        for index in 0..all {
            let probe = index < traffic.probes;
            // Multiplicative mixing: addresses spread over their prefixes, none twice.
            let mixed = if index == 33 { 29 } else { index }.wrapping_mul(2_654_435_761_u32);
            // Every second pair of flows is of IPv6, as far as that is wanted.
            let (src, dst) = if traffic.ipv6_percent > 0 && index / 2 % 2 == 1 {
                let (client, server) = ((0x1000 + index) as u16, (mixed >> 14) as u16 | 1);
                (IpAddr::from([0x2001, 2, 0, 0x40, 0, 0, 0, client]), [0x2001, 2, 0, 0x80, 0, 0, 0, server].into())
            } else {
                let client = [198, 18, 64 + (index / 250 % 64) as u8, (1 + index % 250) as u8];
                let server = [198, 18, 128 + (mixed >> 25) as u8, (mixed >> 17) as u8];
                (IpAddr::from(client), server.into())
            };
            let tcp = !probe && index % 2 == 1;
            let rate = if probe { traffic.probe_rate } else { traffic.population_rate };
            let young = !probe && (index / 2) % 5 == 0;
            let first = if young {
                100 * MS + (end - 1_200 * MS) * u64::from(index) / u64::from(all)
            } else {
                100 * MS + 1_000 * MS / u64::from(rate) * u64::from(index % 97) / 97
            };
            flows.push(FlowSpec {
                class: if probe { Class::Probe } else { Class::Population },
                kind: if tcp { FlowKind::Tcp } else { FlowKind::Udp },
                forward: Flow {
                    protocol: if tcp { Protocol::TCP } else { Protocol::UDP },
                    src,
                    dst,
                    src_port: 10_000 + u16::try_from(index).unwrap(),
                    dst_port: 8_000,
                },
                first,
                last: end,
                rate,
                shape: Shape::Steady,
            });
        }
        Schedule { run: 1, key: [7; 16], seed: 1, start: START, end, flows }
    }

    fn reign(&self, at: u64) -> &Reign {
        self.reigns.iter().rev().find(|reign| reign.at <= at).unwrap()
    }

    /// Who is the pivot at `at`.
    pub fn pivot(&self, at: u64) -> usize {
        self.reign(at).pivot
    }

    fn index(&self, member: MemberId) -> usize {
        self.members.iter().position(|one| *one == member).unwrap()
    }

    /// Who owns the bucket of a direction at `at`.
    pub fn dealt(&self, spec: &FlowSpec, side: usize, at: u64) -> usize {
        let oracle = Oracle::new(&self.lab);
        let key = if side == 0 { Some(oracle.forward_key(&spec.forward)) } else { oracle.return_key(&spec.forward) };
        self.index(oracle.owner(&key.unwrap(), &self.reign(at).matrix).unwrap())
    }

    fn flow(&mut self, flow: usize, spec: &FlowSpec) -> Option<TcpReport> {
        let opened = START + spec.first - 45 * MS;
        let owner = if self.mutant == Mutant::HardWired { 0 } else { self.dealt(spec, 0, opened) };
        let mut state = Connection { owner, port: NAT_PORTS + u16::try_from(flow).unwrap(), dead: false };
        if self.mutant == Mutant::CollidingPorts && flow == 33 {
            state.port -= 4;
        }
        let count = spec.count(Direction::Forward);
        let mut last = 0;
        for sequence in 0..count {
            for side in 0..2 {
                let direction = [Direction::Forward, Direction::Reverse][side];
                let Some(due) = spec.due(direction, sequence) else { continue };
                let mut at = START + due + 30_000;
                if matches!(self.mutant, Mutant::Silent(from, to) if (from..to).contains(&at)) {
                    self.skipped += 1;
                    continue;
                }
                let probe = Probe {
                    flow: u32::try_from(flow).unwrap(),
                    direction,
                    class: spec.class,
                    sequence: sequence as u32,
                    late: 30_000,
                    attempt: 0,
                };
                if (flow, sequence, side) == (27, 5, 0) {
                    self.segment = self.sent + 1;
                }
                let mut sent = self.packet(spec, probe, at, self.adopted(spec, at, opened, state));
                if !sent && spec.kind == FlowKind::Tcp {
                    at += 600 * MS;
                    let again = Probe { late: 600_030_000, attempt: 1, ..probe };
                    sent = self.packet(spec, again, at, self.adopted(spec, at, opened, state));
                }
                last = if sent { at } else { last };
            }
        }
        (spec.kind == FlowKind::Tcp).then(|| TcpReport {
            flow: u32::try_from(flow).unwrap(),
            opened: opened.saturating_sub(MS),
            established: opened,
            last_round: last,
            ..TcpReport::default()
        })
    }

    /// The connection at `at`: after its owner's death it goes to the bucket's backup, with its state if that was synced.
    fn adopted(&self, spec: &FlowSpec, at: u64, opened: u64, state: Connection) -> Connection {
        let Some((gone, from, _)) = self.out else { return state };
        let stays = state.owner != gone || at < from + GAP || opened > from + GAP || self.mutant == Mutant::HardWired;
        if stays {
            return state;
        }
        let owner = self.dealt(spec, 0, from + GAP);
        let delay = u64::from(self.lab.group.sync_delay_ms) * MS;
        // Whoever gets its replies has it at once: the pivot, if its owner is another.
        let elastic = self.lab.architecture == Architecture::ElasticXl;
        let [forward, back] = [0, 1].map(|side| self.dealt(spec, side, from));
        let told = forward != back && !(elastic && gone == self.pivot(from));
        if told || opened + delay <= from {
            return Connection { owner, ..state };
        }
        // A UDP client opens anew, under another port.
        Connection { owner, port: state.port + 10_000, dead: spec.kind == FlowKind::Tcp }
    }

    /// Heartbeats of all nodes, as taps saw them.
    fn beats(&mut self, history: &mut History, end: u64) {
        let nodes: Vec<NodeId> = self.lab.nodes.iter().filter_map(|node| node.kind.id()).collect();
        let mut at = START - 4_000 * MS;
        while at < end {
            let reign = self.reign(at).clone();
            for node in &nodes {
                let member = node.member().map(|member| self.index(member));
                let absent = node.member().is_some_and(|one| reign.matrix.admitted.iter().all(|a| a.member != one));
                let gone = self.out.is_some_and(|(gone, from, to)| member == Some(gone) && (from..to).contains(&at));
                let off = |(mho, only, from, to): (MhoId, Option<usize>, u64, u64)| {
                    node.mho() == Some(mho) && only.is_none() && (from..to).contains(&at)
                };
                let dead = gone || self.leg.is_some_and(off);
                if absent || dead {
                    continue;
                }
                let life = reign.matrix.admitted.iter().find(|one| Some(one.member) == node.member());
                // An orchestrator that came back is in its second life.
                let back =
                    self.leg.is_some_and(|(mho, only, _, to)| node.mho() == Some(mho) && only.is_none() && at >= to);
                let other = Incarnation(1 + u32::from(back));
                let heartbeat = Heard::Heartbeat {
                    from: *node,
                    incarnation: life.map_or(other, |one| one.incarnation),
                    sent: at,
                    accepted: reign.matrix.generation,
                    activated: reign.matrix.generation,
                    digest: u64::from(reign.matrix.generation.counter),
                    state: "active".to_owned(),
                    smo: member == Some(reign.pivot),
                };
                history.entries.push(Entry { at, fact: Fact::Heard(heartbeat) });
                if let Some(member) = node.member() {
                    let tap = self.internal(member);
                    let shim = Shim::new(Kind::Control, NetworkId::SYNC, self.lab.group.id);
                    self.observations.push(Observation {
                        at,
                        tap,
                        length: 200,
                        ttl: 1,
                        tcp_flags: 0,
                        src: Mac::ZERO,
                        shim: Some(shim),
                        flow: None,
                        probe: None,
                    });
                }
            }
            at += 100 * MS;
        }
        for reign in &self.reigns[1..] {
            let node = "sgm".to_owned();
            let what = Declared::Activated(reign.matrix.generation);
            let fact = Fact::Declared { node, text: "active".to_owned(), what };
            history.entries.push(Entry { at: reign.at, fact });
        }
    }
}

impl Cluster {
    /// The tap that hears a member's heartbeats.
    fn internal(&self, member: MemberId) -> TapId {
        let (_, node) = self.lab.by_id(member.into()).unwrap();
        let far = if self.lab.architecture == Architecture::Maestro { "mho1" } else { "sw-sync" };
        self.cables[&(node.name.clone(), far.to_owned())]
    }
}

/// A connection's state at a time.
#[derive(Clone, Copy)]
pub struct Connection {
    pub owner: usize,
    pub port: u16,
    pub dead: bool,
}

/// A data frame of a member at `at`, on its first cable.
pub fn stray(run: &Run, member: &str, at: u64) -> Observation {
    let (node, _) = run.lab.node(member).unwrap();
    let place =
        run.lab.cables.iter().position(|cable| usize::from(cable.a.node) == node || usize::from(cable.b.node) == node);
    let cable = u16::try_from(place.unwrap()).unwrap();
    let from_a = usize::from(run.lab.cables[usize::from(cable)].a.node) == node;
    let inside = run.lab.role(NetworkRole::Inside).map_or(NetworkId(1), |network| network.id);
    let flow = run.observations[0].flow;
    let shim = Some(Shim::new(Kind::Data, inside, run.lab.group.id));
    assert!(matches!(run.lab.nodes[node].kind, NodeKind::Member(_)));
    Observation { at, tap: TapId::new(cable, from_a), shim, probe: None, flow, ..run.observations[0] }
}
