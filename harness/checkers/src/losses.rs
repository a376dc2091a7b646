//! Every lost packet, with the event that it is predicted to belong to, if there is one.

use scalebed_topologies::scenario::Outcome;

use crate::events::{EDGE, Happening};
use crate::evidence::Evidence;

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

/// All losses, flow by flow.
pub fn losses(evidence: &Evidence<'_>) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (flow, _) in evidence.flows() {
        for side in 0..2 {
            for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                // Of many lost attempts the first and the last say whether all lie in a window.
                let [first, last] = journey.missed;
                for at in [first].into_iter().chain((last != first).then_some(last)).filter(|at| *at != 0) {
                    let excuse = evidence.happenings.iter().rposition(|happening| explains(happening, flow, at));
                    losses.push(Loss { flow, side, sequence, at, excuse });
                }
            }
        }
    }
    losses
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
