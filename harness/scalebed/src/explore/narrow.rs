//! Rare and legal: faults whose instants must fit for a safeguard to matter. Chance alone would need thousands of cases.

use scalebed_engine::Rng;
use scalebed_frame::NodeId;
use scalebed_topologies::Lab;
use scalebed_topologies::fault::{Fault, Kind};

use super::cases::{FIRST_MS, Times, cables_of, fault, member, pick};

/// A node that is switched off comes back after this, ms.
const OFF_MS: u64 = 1_500;

/// One of them.
pub(super) fn any(lab: &Lab, rng: &mut Rng) -> Vec<Fault> {
    match rng.below(6) {
        0 => missed_generations(lab, rng),
        1 => admitted_unheard(lab, rng),
        2 => list_on_a_lossy_cable(lab, rng),
        _ => unheard_and_still(lab, rng),
    }
}

fn members(lab: &Lab) -> Vec<&str> {
    let nodes = lab.breakable_nodes().into_iter();
    nodes.filter(|(_, id)| matches!(id, NodeId::Member(_))).map(|(name, _)| name).collect()
}

/// What fence and barrier are for: a node that the others declare dead while it believes that it was heard. Its last
/// heartbeat is lost, it stands still for less than its own lease, and an acceptor may not hear of the change.
fn unheard_and_still(lab: &Lab, rng: &mut Rng) -> Vec<Fault> {
    let times = Times::of(lab);
    let members = members(lab);
    let name = *pick(&members, rng);
    let at = FIRST_MS + rng.below(times.unit);
    let silent = times.unit * 9 / 10 + rng.below(times.unit / 5);
    let still = times.unit + rng.below(times.unit * 3 / 2);
    let mut faults = vec![fault(Kind::Mute, name, at, silent), fault(Kind::Hang, name, at + silent, still)];
    if rng.below(3) > 0 {
        // The author of the change speaks into a cable that takes what it says.
        let author = member(lab, usize::from(name == members[0]));
        let cable = *pick(&cables_of(lab, author), rng);
        let from_a = lab.nodes[usize::from(cable.a.node)].name == author;
        let kind = if from_a { Kind::CutToB } else { Kind::CutToA };
        faults.push(fault(kind, &cable.name, at, silent + still + 2 * times.unit));
    }
    faults
}

/// What reading is for: the successor hears nothing while the SMO makes two generations and falls. Acceptors then hold a
/// higher one than the successor would author.
fn missed_generations(lab: &Lab, rng: &mut Rng) -> Vec<Fault> {
    let times = Times::of(lab);
    let at = FIRST_MS + rng.below(times.unit);
    let step = times.unit / 10 + rng.below(times.unit / 4);
    let mut faults = vec![fault(Kind::Deafen, member(lab, 1), at, 3 * step + times.unit / 2 + rng.below(times.unit))];
    let others = members(lab).into_iter().skip(2).take(2);
    for (when, name) in (1..).zip(others.chain([member(lab, 0)])) {
        faults.push(fault(Kind::PowerOff, name, at + when * step, OFF_MS));
    }
    faults
}

/// What new lives are for: a joiner that asks while the SMO is busy (an orchestrator hears no Prepare) and is then not heard
/// and hears nothing. It is admitted and left out again without ever hearing of it, and asks once more.
fn admitted_unheard(lab: &Lab, rng: &mut Rng) -> Vec<Fault> {
    let times = Times::of(lab);
    let members = members(lab);
    let joiner = *pick(&members[1..], rng);
    let orchestrators = lab.breakable_nodes().into_iter().filter(|(_, id)| matches!(id, NodeId::Mho(_)));
    let busy = orchestrators.map(|(name, _)| name).next_back().unwrap_or(members[0]);
    let at = FIRST_MS + rng.below(times.unit);
    // Its next heartbeat, a unit after its start, says that the old life is over; the barrier of that waits until `free`.
    let free = at + 2 * times.unit + times.unit / 20 + rng.below(times.unit / 3);
    let busy_from = at + times.unit - 1 - rng.below(times.unit / 10);
    let mute = at + times.unit + 1 + rng.below(times.unit / 10);
    let deaf = free - 1 - rng.below(times.unit / 30 + 1);
    let left_out = at + times.unit + times.dead;
    // After the last Prepare that is for it, before the SMO's word that it is out: later it would begin anew by itself.
    let hears = left_out - 1 - rng.below(times.unit / 5);
    vec![
        fault(Kind::Deafen, busy, busy_from, free - busy_from),
        fault(Kind::Restart, joiner, at, 0),
        fault(Kind::Mute, joiner, mute, left_out + 1 + rng.below(times.unit / 2) - mute),
        fault(Kind::Deafen, joiner, deaf, hears - deaf),
    ]
}

/// What previous owners are for: the list of a planned move comes late, because a cable of the new owner loses most of what
/// it should carry.
fn list_on_a_lossy_cable(lab: &Lab, rng: &mut Rng) -> Vec<Fault> {
    let times = Times::of(lab);
    let joiner = *pick(&members(lab), rng);
    let at = FIRST_MS + rng.below(times.unit);
    let cable = *pick(&cables_of(lab, joiner), rng);
    let percent = *pick(&[50, 70, 85], rng);
    vec![
        fault(Kind::Restart, joiner, at, 0),
        fault(Kind::Loss(percent), &cable.name, at, 2 * times.unit + rng.below(6 * times.unit)),
    ]
}
