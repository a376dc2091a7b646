//! The scenario's events as they happened: when, to whom, and which flows each is predicted to hurt or to lose.

use scalebed_frame::control::Matrix;
use scalebed_frame::{MemberId, MhoId, NodeId};
use scalebed_record::{Fact, FlowKind};
use scalebed_topologies::fault::Kind;
use scalebed_topologies::lab::{Architecture, Lab, NetworkRole, NodeKind, PortRole, Sticky};
use scalebed_topologies::scenario::{Action, CableFault, Outcome};

use crate::evidence::{Evidence, MS};
use crate::places::Role;
use crate::states::{self, State};

/// Losses are counted to an event for so many heartbeat units after it: detection, the barrier, and one more packet of
/// the slowest flow, which opens an unsynced UDP connection again.
const WINDOW_UNITS: u64 = 20;
/// Packets within so much of a gap's edges count either way.
pub const EDGE: u64 = 20 * MS;
/// Connections within so much of the sync delay are in neither age class.
const AGE_MARGIN: u64 = 200 * MS;

/// Who or what is out of service through an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A member; it held the pivot role of ElasticXL.
    Member(u8, bool),
    /// An orchestrator.
    Mho(MhoId),
    /// Cables: [`Happening::cables`].
    Cables,
    /// Every member but one: what they have in common.
    Group,
    /// Nothing is taken away: a start, a cable that comes back, a pause shorter than the dead timer.
    Nobody,
}

/// What must become of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes on.
    Survives,
    /// Its state dies with its owner.
    Lost,
    /// Its state may have reached whoever gets its packets now: either way is right.
    Either,
    /// There was none, or its age is too near the sync delay.
    NotJudged,
}

/// What an event means for a flow.
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    /// May it lose packets?
    pub hurt: bool,
    /// By direction: seen to go through the victim just before.
    pub through: [bool; 2],
    /// Did the victim own its connection?
    pub owned: bool,
    /// Of a TCP connection.
    pub fate: Fate,
    /// Its state just before.
    pub state: Option<State>,
    /// Older than the sync delay.
    pub older: bool,
    /// A TCP connection that need not survive: it may lose packets to the end.
    pub doomed: bool,
}

/// An event as it happened.
#[derive(Debug)]
pub struct Happening {
    /// Its index in the scenario.
    pub index: usize,
    /// `kill sgm-1-03`.
    pub text: String,
    /// The node's name.
    pub node: String,
    /// Its instant, ns: before the injecting call.
    pub at: u64,
    /// After the injecting call.
    pub after: u64,
    /// Whom it hit.
    pub victim: Victim,
    /// The cables that it breaks or impairs, by their indexes in the lab.
    pub cables: Vec<u16>,
    /// What was done.
    pub action: Action,
    /// Declared outcome class.
    pub outcome: Outcome,
    /// When what it broke was to be mended, ns; of what stands until another event: its instant.
    pub healed: u64,
    /// Losses of packets due before here may be this event's.
    pub window: u64,
    /// The next event, or the end of the schedule: measurements end here.
    pub until: u64,
    /// One a flow.
    pub predictions: Vec<Prediction>,
}

/// Every event that was carried out, in order of time.
pub fn happenings(evidence: &Evidence<'_>) -> Vec<Happening> {
    let end = evidence.schedule.start + evidence.schedule.end;
    let mut list: Vec<Happening> = Vec::new();
    for entry in &evidence.input.history.entries {
        let Fact::Operation { event: Some(index), text, node, before, after, .. } = &entry.fact else { continue };
        let index = *index as usize;
        let Some(event) = evidence.scenario().events.get(index) else { continue };
        let (victim, cables) = victim(evidence, &event.action, node, *before);
        let stands = (event.healed_ms() - event.at_ms) * MS;
        list.push(Happening {
            index,
            text: text.clone(),
            node: node.clone(),
            at: *before,
            after: *after,
            victim,
            cables,
            action: event.action.clone(),
            outcome: event.outcome,
            healed: before + stands,
            window: before + stands + WINDOW_UNITS * evidence.unit().max(50 * MS),
            until: end,
            predictions: Vec::new(),
        });
    }
    list.sort_by_key(|happening| happening.at);
    for index in 0..list.len() {
        list[index].until = list.get(index + 1).map_or(end, |next| next.at);
        list[index].predictions = predict(evidence, &list[index]);
    }
    list
}

fn victim(evidence: &Evidence<'_>, action: &Action, node: &str, at: u64) -> (Victim, Vec<u16>) {
    let lab = evidence.lab();
    let nobody = (Victim::Nobody, Vec::new());
    let Some((place, spec)) = lab.node(node) else { return nobody };
    match action {
        Action::Start(_) | Action::DownlinkUp { .. } => return nobody,
        Action::Hang { units, .. } if *units < lab.group.dead_units => return nobody,
        Action::DownlinkDown { mho, .. } => {
            let port = lab.nodes[place].ports.iter().find(|port| port.role == PortRole::Downlink(*mho));
            return port.map_or(nobody, |port| (Victim::Cables, vec![port.cable]));
        }
        Action::Fault(fault) => return (of_cables(evidence, fault, at), fault.cables.clone()),
        Action::Kill(_) | Action::PowerOff(_) | Action::Hang { .. } => {}
    }
    let victim = match spec.kind {
        NodeKind::Member(member) => of_member(evidence, member, at),
        NodeKind::Mho(mho) => Victim::Mho(mho),
        NodeKind::Switch(_) | NodeKind::Host(_) | NodeKind::Generator => Victim::Nobody,
    };
    (victim, Vec::new())
}

fn of_member(evidence: &Evidence<'_>, member: MemberId, at: u64) -> Victim {
    let pivot = evidence.lab().architecture == Architecture::ElasticXl && evidence.agreement.smo_at(at) == Some(member);
    evidence.places.index(member).map_or(Victim::Nobody, |index| Victim::Member(index, pivot))
}

/// ElasticXL: a member without Sync goes down, and if it is gone for all, all but one do. So does one that has more data
/// ports down than another. Else it is the cables alone.
fn of_cables(evidence: &Evidence<'_>, fault: &CableFault, at: u64) -> Victim {
    let lab = evidence.lab();
    if let Some(node) = fault.node {
        return of_cut_off(evidence, usize::from(node), fault.for_ms, at);
    }
    let gone = fault.some(|kind| matches!(kind, Kind::Unplug | Kind::BlackHole | Kind::CutToA | Kind::CutToB));
    let hit: Vec<MemberId> = lab
        .nodes
        .iter()
        .filter(|node| node.ports.iter().any(|port| port.role == PortRole::Sync && fault.cables.contains(&port.cable)))
        .filter_map(|node| node.kind.id().and_then(NodeId::member))
        .collect();
    match hit[..] {
        [member] if gone => of_member(evidence, member, at),
        [_, ..] if gone => Victim::Group,
        _ => match worse_off(evidence, fault)[..] {
            [member] => of_member(evidence, member, at),
            [_, ..] => Victim::Group,
            [] => Victim::Cables,
        },
    }
}

/// A node of which the others hear nothing, or that hears nothing of them, for longer than the dead timer is out. A member of
/// ElasticXL, which has one network to be heard on, fences itself before: after 2.5 units.
fn of_cut_off(evidence: &Evidence<'_>, node: usize, for_ms: u64, at: u64) -> Victim {
    let group = &evidence.lab().group;
    let half_units = match evidence.lab().architecture {
        Architecture::Maestro => 2 * u64::from(group.dead_units),
        Architecture::ElasticXl => 5,
    };
    if 2 * for_ms < u64::from(group.unit_ms) * half_units {
        return Victim::Cables;
    }
    match evidence.lab().nodes[node].kind {
        NodeKind::Member(member) => of_member(evidence, member, at),
        NodeKind::Mho(mho) => Victim::Mho(mho),
        NodeKind::Switch(_) | NodeKind::Host(_) | NodeKind::Generator => Victim::Cables,
    }
}

/// Members of ElasticXL with more inside and outside ports down than some other. Turns of a flapping cable that are shorter
/// than half a unit are waited for.
fn worse_off(evidence: &Evidence<'_>, fault: &CableFault) -> Vec<MemberId> {
    let lab = evidence.lab();
    let noticed = |kind: &Kind| match kind {
        Kind::Unplug => true,
        Kind::Flap(turn) => u64::from(*turn) * MS >= evidence.unit() / 2,
        _ => false,
    };
    if lab.architecture != Architecture::ElasticXl || !fault.kinds.iter().any(noticed) {
        return Vec::new();
    }
    let down = |member: MemberId| ports_down(lab, member, fault);
    let least = evidence.places.members.iter().map(|&member| down(member)).min().unwrap_or(0);
    evidence.places.members.iter().copied().filter(|&member| down(member) > least).collect()
}

fn ports_down(lab: &Lab, member: MemberId, fault: &CableFault) -> usize {
    let carries = |role: PortRole| match role {
        PortRole::Data(id) => lab.network(id).is_some_and(|network| network.role != NetworkRole::Management),
        _ => false,
    };
    let ports = lab.by_id(member.into()).map_or(&[][..], |(_, node)| &node.ports);
    ports.iter().filter(|port| carries(port.role) && fault.cables.contains(&port.cable)).count()
}

fn predict(evidence: &Evidence<'_>, happening: &Happening) -> Vec<Prediction> {
    let matrix = evidence.agreement.before(happening.at).and_then(|epoch| epoch.matrix);
    (0..evidence.schedule.flows.len()).map(|flow| predict_flow(evidence, happening, matrix, flow)).collect()
}

fn predict_flow(evidence: &Evidence<'_>, happening: &Happening, matrix: Option<&Matrix>, flow: usize) -> Prediction {
    let at = happening.at;
    let last = [0, 1].map(|side| evidence.last_arrived(flow, side, at));
    let through =
        [0, 1].map(|side| last[side].is_some_and(|sequence| goes_through(evidence, happening, flow, side, sequence)));
    let dealt = dealt(evidence, matrix, flow);
    let (hurt, owned) = match happening.victim {
        Victim::Nobody => (false, false),
        // A direction that was not seen yet may take any leg.
        Victim::Mho(_) | Victim::Cables => (through != [false; 2] || last.contains(&None), false),
        Victim::Group => (true, true),
        Victim::Member(index, pivot) => {
            let member = evidence.places.members.get(usize::from(index)).copied();
            let by_matrix = dealt.iter().any(|owner| owner.is_none() || *owner == member);
            let seen = evidence.owner_before(flow, at);
            let owned = seen.map_or(dealt[0] == member, |owner| owner == index);
            (pivot || through != [false; 2] || by_matrix && last.contains(&None) || owned, owned)
        }
    };
    let state = states::at(evidence, flow, at);
    let (fate, older) =
        state.map_or((Fate::NotJudged, false), |state| fate(evidence, happening, flow, owned, dealt, state));
    let spec = &evidence.schedule.flows[flow];
    // A connection that opens while its owner is gone may be lost too; one that opens later may not.
    let begun = evidence.schedule.start + spec.first < happening.window;
    let doomed = spec.kind == FlowKind::Tcp && owned && begun && fate != Fate::Survives;
    Prediction { hurt, through, owned, fate, state, older, doomed }
}

/// Owners of the buckets of both directions by the algebra; `None`: can't be told.
fn dealt(evidence: &Evidence<'_>, matrix: Option<&Matrix>, flow: usize) -> [Option<MemberId>; 2] {
    let Some(matrix) = matrix else { return [None; 2] };
    let oracle = evidence.oracle();
    let forward = &evidence.schedule.flows[flow].forward;
    let of = |key: Vec<u8>| oracle.owner(&key, matrix);
    [of(oracle.forward_key(forward)), oracle.return_key(forward).and_then(of)]
}

/// Did a packet that arrived need the victim?
fn goes_through(evidence: &Evidence<'_>, happening: &Happening, flow: usize, side: usize, sequence: u32) -> bool {
    let path = evidence.packets.path(evidence.packets.id(flow, side, sequence));
    path.iter().any(|&index| {
        let tap = evidence.observations()[index as usize].tap;
        match happening.victim {
            Victim::Member(member, _) => evidence.places.at(tap).from == Role::Member(member),
            Victim::Mho(mho) => evidence.places.at(tap).from == Role::Mho(mho),
            Victim::Cables => happening.cables.contains(&tap.cable()),
            Victim::Group => matches!(evidence.places.at(tap).from, Role::Member(_)),
            Victim::Nobody => false,
        }
    })
}

/// A connection survives the loss of its owner iff its state had reached whoever gets its packets: synced to the backup
/// after the delay, or at once to the member of its return direction. A handshake needs no state: the client's SYN comes
/// again, and makes it anew.
fn fate(
    evidence: &Evidence<'_>,
    happening: &Happening,
    flow: usize,
    owned: bool,
    dealt: [Option<MemberId>; 2],
    state: State,
) -> (Fate, bool) {
    let established = evidence.tcp(flow).map_or(0, |tcp| tcp.established);
    if state == State::Handshaking {
        // The answer to the SYN may have passed the victim, which nobody will ask for again.
        let passed = established != 0 && established < happening.after + EDGE;
        return (if owned && passed { Fate::Either } else { Fate::Survives }, false);
    }
    // Who keeps serving may have what the others had, and may not: they could not tell it any more.
    if happening.victim == Victim::Group {
        return (Fate::Either, false);
    }
    let delay = u64::from(evidence.lab().group.sync_delay_ms) * MS;
    let age = happening.at - established;
    let older = age >= delay;
    if !owned {
        return (Fate::Survives, older);
    }
    if age.abs_diff(delay) <= AGE_MARGIN {
        return (Fate::NotJudged, older);
    }
    (if older { Fate::Survives } else { young(evidence, happening, dealt, age) }, older)
}

/// Of a connection that its owner had not given to its backup yet: another member has it if its return direction comes
/// in there (the pivot of `sticky: table` gets every such connection, and has none but its own).
fn young(evidence: &Evidence<'_>, happening: &Happening, dealt: [Option<MemberId>; 2], age: u64) -> Fate {
    // One that only hung, or went down for a cable, keeps its entries as copies, and answers who asks for them when it is
    // back.
    if matches!(happening.action, Action::Hang { .. } | Action::Fault(_)) {
        return Fate::Either;
    }
    let lab = evidence.lab();
    let by_table = lab.architecture == Architecture::ElasticXl && lab.group.sticky == Sticky::Table;
    let pivot = by_table && matches!(happening.victim, Victim::Member(_, true));
    match dealt {
        [Some(forward), Some(back)] if forward == back || pivot => Fate::Lost,
        [Some(_), Some(_)] if age >= EDGE => Fate::Survives,
        _ => Fate::Either,
    }
}
