//! The decisions of impaired cables, frame by frame: the wire is a part of the tester, and one that does not do as it is
//! told makes a run say nothing.

use std::collections::BTreeSet;

use scalebed_record::history::Decided;
use scalebed_record::{Fact, Verdict};
use scalebed_topologies::scenario::Event;

use super::Said;
use crate::Checker;
use crate::evidence::{Evidence, MS};

/// In namespaces a frame comes out at most so long after its time, beside what the wire's own loop says that it stood still.
const LATE: u64 = 100 * MS;

/// Every impaired cable, both ways.
pub struct Decisions;

impl Checker for Decisions {
    fn name(&self) -> &'static str {
        "cable-decisions"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let decided = evidence.input.history.entries.iter().filter_map(|entry| match &entry.fact {
            Fact::Decided(said) => Some(said),
            _ => None,
        });
        let all: Vec<&Decided> = decided.collect();
        let bent = bent(evidence);
        if all.is_empty() && bent.is_empty() {
            return Vec::new();
        }
        let mut wrong: Vec<String> = bent
            .iter()
            .filter(|cable| !all.iter().any(|said| said.cable == **cable))
            .map(|cable| format!("{}: nobody knows what it did", name(evidence, *cable)))
            .collect();
        wrong.extend(all.iter().flat_map(|said| of_way(evidence, said)));
        let reason = (!wrong.is_empty()).then(|| format!("cables did not do as they were told: {}", wrong.join("; ")));
        let said = Said::of("cable-decisions", "what comes out is what the rules say, frame by frame");
        let late = |place: usize| all.iter().map(|said| said.late[place]).max().unwrap_or(0) as f64 / MS as f64;
        let accuracy = format!("late by {:.2} ms at p99, {:.2} ms at most", late(0), late(1));
        vec![said.value(words(&all)).accuracy(accuracy).invalid_if(reason).done()]
    }
}

/// Cables to whose frames the lab or an event does something.
fn bent(evidence: &Evidence<'_>) -> BTreeSet<u16> {
    let of_lab = evidence.lab().impairments.iter();
    let all = of_lab.chain(evidence.scenario().events.iter().filter_map(Event::cable_fault));
    all.filter(|fault| fault.some(|kind| !kind.unplugs())).flat_map(|fault| &fault.cables).copied().collect()
}

fn name<'a>(evidence: &Evidence<'a>, cable: u16) -> &'a str {
    evidence.lab().cables.get(usize::from(cable)).map_or("?", |cable| cable.name.as_str())
}

fn words(all: &[&Decided]) -> String {
    let sum = |count: fn(&Decided) -> u64| all.iter().map(|said| count(said)).sum::<u64>();
    let mut words = format!(
        "{} frames into {} cables: {} lost, {} doubled, {} corrupted, {} cut short, {} held back",
        sum(|said| said.put_in),
        all.iter().map(|said| said.cable).collect::<BTreeSet<_>>().len(),
        sum(|said| said.lost),
        sum(|said| said.doubled),
        sum(|said| said.altered),
        sum(|said| said.truncated),
        sum(Decided::held_back),
    );
    for (count, what) in [
        (sum(|said| said.hidden), "corrupted behind what taps keep"),
        (sum(|said| said.no_carrier), "met no carrier"),
        (sum(|said| said.deviates), "otherwise than told"),
    ] {
        if count > 0 {
            words += &format!(", {count} {what}");
        }
    }
    words
}

/// What is wrong with one way of a cable.
fn of_way(evidence: &Evidence<'_>, said: &Decided) -> Vec<String> {
    let facts = || evidence.input.history.entries.iter().map(|entry| &entry.fact);
    let mut wrong = said.first.clone();
    if said.deviates > said.first.len() as u64 {
        wrong.push(format!("{} frames in all", said.deviates));
    }
    // By the sender's own kernel, and by what whoever carries the rules out took.
    for fact in facts() {
        let (what, counted, recomputed) = match fact {
            Fact::Ledger { cable, put_in_a, put_in_b, .. } if *cable == said.cable => {
                ("were put in", if said.to_b { *put_in_a } else { *put_in_b }, said.put_in)
            }
            Fact::Taken { cable, a_to_b, b_to_a, .. } if *cable == said.cable => {
                ("were taken", if said.to_b { *a_to_b } else { *b_to_a }, said.lost + said.no_carrier)
            }
            _ => continue,
        };
        if counted != recomputed {
            wrong.push(format!("{counted} frames {what}, {recomputed} by the rules"));
        }
    }
    let stood = facts().map(|fact| match fact {
        Fact::Stall { who, late } if who == "wires" => *late,
        _ => 0,
    });
    let limit = if evidence.input.world == "sim" { 0 } else { LATE + stood.max().unwrap_or(0) };
    if said.late[1] > limit {
        wrong.push(format!("a frame came {:.1} ms late", said.late[1] as f64 / MS as f64));
    }
    let way = if said.to_b { "a to b" } else { "b to a" };
    wrong.into_iter().map(|words| format!("{} {way}: {words}", name(evidence, said.cable))).collect()
}
