//! Every lost packet, with the event that it is predicted to belong to, if there is one.

use std::collections::BTreeMap;

use scalebed_record::TapId;
use scalebed_topologies::fault::Kind;
use scalebed_topologies::scenario::Outcome;

use crate::events::{EDGE, Happening, Victim};
use crate::evidence::Evidence;
use crate::places::Role;

/// An attempt that was offered and never arrived. Loss belongs to the moment it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The flow.
    pub flow: usize,
    /// 0 forward, 1 return.
    pub side: usize,
    /// The packet.
    pub sequence: u32,
    /// When it was offered, ns.
    pub at: u64,
    /// Which happening explains it; `None`: nothing does.
    pub excuse: Option<usize>,
}

impl Loss {
    /// Which packet: flow, side, sequence.
    pub const fn packet(&self) -> (usize, usize, u32) {
        (self.flow, self.side, self.sequence)
    }
}

/// All losses, flow by flow, and how many packets more were lost on cables that the lab itself impairs.
pub fn losses(evidence: &Evidence<'_>) -> (Vec<Loss>, u64) {
    let mut losses = Vec::new();
    let mut of_lab = 0;
    let lossy = evidence.lab().impairments.iter().filter(|fault| fault.some(Kind::takes_frames));
    let lossy: Vec<u16> = lossy.flat_map(|fault| &fault.cables).copied().collect();
    for (flow, _) in evidence.flows() {
        for side in 0..2 {
            for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                // Of many lost attempts the first and the last say whether all lie in a window.
                let [first, last] = journey.missed;
                let mut by_lab = false;
                for at in [first].into_iter().chain((last != first).then_some(last)).filter(|at| *at != 0) {
                    let excuse = evidence.happenings.iter().rposition(|happening| {
                        explains(happening, flow, at) && where_it_can(evidence, happening, flow, side, sequence)
                    });
                    if excuse.is_none() && ended_at(evidence, &lossy, flow, side, sequence) {
                        by_lab = true;
                        continue;
                    }
                    losses.push(Loss { flow, side, sequence, at, excuse });
                }
                of_lab += u64::from(by_lab);
            }
        }
    }
    (losses, of_lab)
}

fn explains(happening: &Happening, flow: usize, at: u64) -> bool {
    let prediction = &happening.predictions[flow];
    let after = at + EDGE >= happening.at;
    match happening.outcome {
        Outcome::NoLoss => false,
        Outcome::BoundedLoss => after && at < happening.window && prediction.hurt,
        Outcome::YoungLost => after && (at < happening.window && prediction.hurt || prediction.doomed),
    }
}

/// A cable loses what goes over it, and nothing else.
fn where_it_can(evidence: &Evidence<'_>, happening: &Happening, flow: usize, side: usize, sequence: u32) -> bool {
    happening.victim != Victim::Cables || ended_at(evidence, &happening.cables, flow, side, sequence)
}

/// Was every attempt at a packet that did not arrive seen last at an end of one of these cables?
fn ended_at(evidence: &Evidence<'_>, broken: &[u16], flow: usize, side: usize, sequence: u32) -> bool {
    let cables = &evidence.lab().cables;
    let ends = broken.iter().filter_map(|cable| cables.get(usize::from(*cable)));
    let ends: Vec<u16> = ends.flat_map(|cable| [cable.a.node, cable.b.node]).collect();
    let seen = evidence.packets.path(evidence.packets.id(flow, side, sequence)).iter();
    let seen = seen.map(|index| &evidence.observations()[*index as usize]);
    // Where each attempt at it came last.
    let mut last: BTreeMap<u8, TapId> = BTreeMap::new();
    for one in seen {
        last.insert(one.probe.map_or(0, |probe| probe.attempt), one.tap);
    }
    last.into_values().all(|tap| {
        let node = cables.get(usize::from(tap.cable())).map(|cable| cable.end(tap.at_b()).node);
        let arrived = matches!(evidence.places.at(tap).to, Role::Generator(_));
        arrived || node.is_some_and(|node| ends.contains(&node))
    })
}
