//! What nodes tell of their insides when a run is over and all is healed: class D, or what only the simulated world asks
//! for. Gauges by name; a node that does not give one is not judged by it, and a run in which none does is no evidence.

use std::collections::BTreeMap;

use scalebed_frame::MemberId;
use scalebed_record::{Fact, Verdict};

use crate::checks::Said;
use crate::evidence::Evidence;

/// S11, L8 and L3.
pub(crate) fn verdicts(evidence: &Evidence<'_>) -> Vec<Verdict> {
    let told = Told::of(evidence);
    let nothing = |wanted: &str| {
        let silent = told.values(wanted).next().is_none();
        silent.then(|| format!("no node told of {wanted}"))
    };
    let zero = |wanted: &str| -> Vec<String> {
        let some = told.values(wanted).filter(|(_, value)| *value != 0);
        some.map(|(node, value)| format!("{node}: {value} {wanted}")).collect()
    };
    let half = Said::of("s11-one-binding", "both tuples of every connection lead to it");
    let waiting = Said::of("l08-queues", "nothing stays in a queue");
    let alone = Said::of("l03-backups", "every connection older than the sync delay has its backup");
    vec![
        half.fail_if(zero("half_bindings")).invalid_if(nothing("half_bindings")).done(),
        waiting.fail_if([zero("frames_stuck"), zero("items_stuck")].concat()).invalid_if(nothing("items_stuck")).done(),
        alone
            .fail_if([zero("without_backup"), told.missing(evidence)].concat())
            .invalid_if(told.none_must().then(|| "no connection had to have a backup".to_owned()))
            .done(),
    ]
}

/// The gauges of each node at the end.
struct Told<'a>(BTreeMap<&'a str, &'a BTreeMap<String, u64>>);

impl<'a> Told<'a> {
    fn of(evidence: &Evidence<'a>) -> Self {
        let entries = evidence.input.history.entries.iter();
        // Of several the last counts.
        Self(
            entries
                .filter_map(|entry| match &entry.fact {
                    Fact::Counters { node, counters, .. } => Some((node.as_str(), counters)),
                    _ => None,
                })
                .collect(),
        )
    }

    fn values(&self, wanted: &str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.iter().filter_map(move |(node, gauges)| Some((*node, *gauges.get(wanted)?)))
    }

    fn none_must(&self) -> bool {
        !self.0.values().any(|gauges| gauges.keys().any(|name| name.starts_with("must_be_at ")))
    }

    /// What an owner believes to be at another member is compared with what is there.
    fn missing(&self, evidence: &Evidence<'_>) -> Vec<String> {
        let name = |member: MemberId| evidence.lab().by_id(member.into()).map(|(_, node)| node.name.as_str());
        let mut wrong = Vec::new();
        for (owner, other) in pairs(&evidence.places.members) {
            let gauge = |at: MemberId, what: String| self.0.get(name(at)?)?.get(&what).copied();
            let must = gauge(owner, format!("must_be_at {other}")).unwrap_or(0);
            let there = gauge(other, format!("copies_of {owner}")).unwrap_or(0);
            if there < must {
                wrong.push(format!("{other} has {there} of the {must} connections of {owner} whose next owner it is"));
            }
        }
        wrong
    }
}

fn pairs(members: &[MemberId]) -> impl Iterator<Item = (MemberId, MemberId)> + '_ {
    members.iter().flat_map(|&one| members.iter().filter(move |other| **other != one).map(move |&other| (one, other)))
}
