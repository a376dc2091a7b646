//! A life that was left out once is never admitted again (the agreement's rule; S22 is about the next one).

use std::collections::BTreeMap;

use scalebed_frame::control::Admitted;
use scalebed_frame::{Generation, NodeId};
use scalebed_record::history::Declared;
use scalebed_record::{Fact, Verdict};

use crate::checks::Said;
use crate::evidence::Evidence;

/// A generation that some member activated: whom it admits, and which lives said so.
type Active = (Vec<Admitted>, Vec<Admitted>);

/// By what members declared active. A generation counts as left behind only where a member that knew it is still in: one
/// that died with all who knew it was never agreed on.
pub(crate) fn left_out(evidence: &Evidence<'_>) -> Verdict {
    let generations = activated(evidence);
    let mut wrong = Vec::new();
    for (newer, (now, _)) in &generations {
        for (older, (then, knew)) in generations.range(..*newer) {
            if !knew.iter().any(|one| now.contains(one)) {
                continue;
            }
            let back = now.iter().filter(|one| !then.contains(one));
            let before = |one: &&Admitted| generations.range(..*older).any(|(_, (admitted, _))| admitted.contains(one));
            wrong.extend(back.filter(before).map(|one| {
                format!("{} in life {} was left out by {older} and is in {newer}", one.member, one.incarnation.0)
            }));
        }
    }
    Said::of("s22-left-out-stays-out", "no life is admitted again").fail_if(wrong).done()
}

fn activated(evidence: &Evidence<'_>) -> BTreeMap<Generation, Active> {
    let mut accepted: BTreeMap<(NodeId, Generation), &[Admitted]> = BTreeMap::new();
    let mut generations: BTreeMap<Generation, Active> = BTreeMap::new();
    for entry in &evidence.input.history.entries {
        let Fact::Declared { node, what, .. } = &entry.fact else { continue };
        let Some(id) = evidence.lab().node(node).and_then(|(_, node)| node.kind.id()) else { continue };
        match what {
            Declared::Accepted { generation, admitted, .. } => {
                accepted.insert((id, *generation), admitted);
            }
            Declared::Activated(generation) => {
                let Some(admitted) = accepted.get(&(id, *generation)) else { continue };
                let me = admitted.iter().find(|one| NodeId::from(one.member) == id);
                let (_, knew) = generations.entry(*generation).or_insert_with(|| (admitted.to_vec(), Vec::new()));
                knew.extend(me);
            }
            _ => {}
        }
    }
    generations
}
