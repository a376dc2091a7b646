//! L5 for the binding: while the member that carries a flow lives, the flow keeps the tuple that servers see it under. A
//! new owner of its bucket must find the connection, not begin another one.

use scalebed_frame::control::Admitted;
use scalebed_frame::{Flow, NodeId};
use scalebed_record::history::Declared;
use scalebed_record::{Fact, Verdict};

use crate::checks::{SHOWN, Said};
use crate::evidence::Evidence;
use crate::journey::NOBODY;

/// A packet that arrived: when, under which tuple, carried by which member.
type Seen = (u64, Flow, u8);

pub(crate) fn kept(evidence: &Evidence<'_>) -> Verdict {
    let mut wrong = Vec::new();
    for (flow, _) in evidence.flows() {
        let mut last: Option<Seen> = None;
        for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, 0)) {
            if journey.delivered == 0 || journey.owner == NOBODY {
                continue;
            }
            let Some(tuple) = evidence.observations()[journey.arrival as usize].flow else { continue };
            let now = (journey.delivered, tuple, journey.owner);
            if let Some(before) = last
                && before.1 != tuple
                // One that waited somewhere and came later says nothing about what was before.
                && before.0 <= now.0
                && lives(evidence, before, now.0)
                && wrong.len() <= SHOWN
            {
                let (at, carrier) = (evidence.ms(now.0), evidence.places.name(before.2));
                let path = evidence.path(flow, 0, sequence);
                wrong.push(format!("at {at:.1} ms {} became {tuple} though {carrier} lives: {path}", before.1));
            }
            // What was overtaken says nothing about the order.
            last = Some(last.filter(|before| before.0 > now.0).unwrap_or(now));
        }
    }
    Said::of("l05-binding", "a flow keeps its binding while its carrier lives").fail_if(wrong).done()
}

/// Was the carrier of a packet in service in one life from then until `now`, by its own word and by that of all others?
/// Declared, not heard: a generation of a lone member passes no cable.
fn lives(evidence: &Evidence<'_>, (from, _, carrier): Seen, now: u64) -> bool {
    let Some(&member) = evidence.places.members.get(usize::from(carrier)) else { return false };
    let own = |one: &&Admitted| one.member == member;
    let mut life: Option<Admitted> = None;
    for entry in evidence.input.history.entries.iter().filter(|entry| entry.at <= now) {
        let Fact::Declared { node, what, .. } = &entry.fact else { continue };
        let id = evidence.lab().node(node).and_then(|(_, node)| node.kind.id());
        let itself = id == Some(NodeId::from(member));
        match what {
            Declared::Fenced(_) | Declared::Ready if itself => life = None,
            Declared::Accepted { admitted, .. } if itself && entry.at <= from => {
                life = admitted.iter().find(own).copied();
            }
            Declared::Accepted { admitted, .. } if life.is_some_and(|life| !admitted.contains(&life)) => life = None,
            _ => {}
        }
    }
    life.is_some()
}
