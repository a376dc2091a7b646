//! What the agreement promises: generations as predicted, none in the quiet tail (L9), and S4, S5, S7, S22.

use std::collections::BTreeMap;

use scalebed_frame::{Generation, Incarnation, NodeId};
use scalebed_record::history::Declared;
use scalebed_record::{Fact, Verdict};

use super::Said;
use crate::Checker;
use crate::evidence::{Evidence, MS};

/// The quiet tail: nothing may change any more in the last part of a run, ns. At most half of its settling time.
const QUIET: u64 = 2_000 * MS;

/// As many generations as the scenario predicts, and none in the end.
pub struct Generations;

impl Checker for Generations {
    fn name(&self) -> &'static str {
        "generations"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let start = evidence.schedule.start;
        let end = start + evidence.schedule.end;
        let made: Vec<_> = evidence.agreement.changes.iter().filter(|(at, _)| *at >= start).collect();
        let expected: u32 = evidence.scenario().events.iter().map(|event| event.generations).sum();
        let words: Vec<String> =
            made.iter().map(|(at, generation)| format!("{generation} at {:.0} ms", evidence.ms(*at))).collect();
        let wrong = if made.len() == expected as usize {
            Vec::new()
        } else {
            vec![format!("{} generations, predicted {expected}: {}", made.len(), words.join(", "))]
        };
        let silent =
            evidence.agreement.changes.is_empty().then(|| "no heartbeat of an ingress node was seen".to_owned());
        let quiet = end - QUIET.min(evidence.scenario().settle_ms * MS / 2).min(evidence.schedule.end);
        let restless = made.iter().filter(|(at, _)| *at >= quiet);
        let restless = restless.map(|(at, generation)| format!("{generation} at {:.0} ms", evidence.ms(*at))).collect();
        vec![
            Said::of("generations", format!("{expected} changes of the matrix"))
                .value(if words.is_empty() { "none".to_owned() } else { words.join(", ") })
                .fail_if(wrong)
                .invalid_if(silent.clone())
                .done(),
            Said::of("l09-quiet-tail", "no generation in the quiet tail")
                .value(format!("the last {:.1} s", (end - quiet) as f64 / 1e9))
                .fail_if(restless)
                .invalid_if(silent)
                .done(),
        ]
    }
}

/// S4, S5, S7, S22.
pub struct Promises;

impl Checker for Promises {
    fn name(&self) -> &'static str {
        "promises"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let beats = evidence.agreement.beats.len();
        let silent = || (beats == 0).then(|| "no heartbeat was seen".to_owned());
        let value = || format!("{beats} heartbeats");
        let verdict = |check: &str, limit: &str, wrong: Vec<String>| {
            Said::of(check, limit).value(value()).fail_if(wrong).invalid_if(silent()).done()
        };
        vec![
            verdict("s04-generation-never-goes-back", "per node and life", never_back(evidence)),
            verdict("s05-one-smo", "at most one holder at a time", one_smo(evidence)),
            verdict("s07-equal-digests", "equal generation, equal digest", equal_digests(evidence)),
            verdict("s22-restart-is-a-new-life", "a higher incarnation after each start", new_lives(evidence)),
        ]
    }
}

/// By what nodes declared, and by their heartbeats.
fn never_back(evidence: &Evidence<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut heard: BTreeMap<(NodeId, Incarnation), Generation> = BTreeMap::new();
    // In the order in which they were sent: a slow cable shows an old one late.
    let mut beats: Vec<_> = evidence.agreement.beats.iter().collect();
    beats.sort_by_key(|beat| beat.sent);
    for beat in beats {
        let last = heard.entry((beat.from, beat.incarnation)).or_insert(beat.accepted);
        if beat.accepted < *last {
            wrong.push(format!("{} showed {} after {last}", beat.from, beat.accepted));
        }
        *last = beat.accepted.max(*last);
    }
    let mut declared: BTreeMap<&str, Generation> = BTreeMap::new();
    for entry in &evidence.input.history.entries {
        match &entry.fact {
            // A new process knows nothing yet.
            Fact::Operation { node, text, .. } if text.starts_with("start") => {
                declared.remove(node.as_str());
            }
            Fact::Declared { node, what: Declared::Accepted { generation, .. }, .. } => {
                let last = declared.entry(node).or_insert(*generation);
                if generation < last {
                    wrong.push(format!("{node} accepted {generation} after {last}"));
                }
                *last = (*generation).max(*last);
            }
            _ => {}
        }
    }
    wrong
}

/// Claims that alternate: A, B, A again in the same life means that both held the role.
fn one_smo(evidence: &Evidence<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ended: BTreeMap<(NodeId, Incarnation), u64> = BTreeMap::new();
    let mut holder: Option<(NodeId, Incarnation)> = None;
    for beat in &evidence.agreement.beats {
        let life = (beat.from, beat.incarnation);
        if !beat.smo {
            if holder == Some(life) {
                holder = None;
            }
            ended.remove(&life);
            continue;
        }
        if let Some(at) = ended.get(&life) {
            let now = evidence.ms(beat.at);
            wrong.push(format!(
                "{} still claims the role at {now:.0} ms, another does since {:.0} ms",
                beat.from,
                evidence.ms(*at)
            ));
        }
        if let Some(old) = holder.filter(|old| *old != life) {
            ended.insert(old, beat.at);
        }
        holder = Some(life);
    }
    wrong
}

fn equal_digests(evidence: &Evidence<'_>) -> Vec<String> {
    let mut digests: BTreeMap<Generation, (u64, NodeId)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for beat in evidence.agreement.beats.iter().filter(|beat| beat.accepted > Generation::NONE) {
        let (digest, first) = *digests.entry(beat.accepted).or_insert((beat.digest, beat.from));
        if digest != beat.digest {
            wrong.push(format!("{}: {first} has {digest:016x}, {} has {:016x}", beat.accepted, beat.from, beat.digest));
        }
    }
    wrong
}

fn new_lives(evidence: &Evidence<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in &evidence.input.history.entries {
        let Fact::Operation { node, text, before: at, .. } = &entry.fact else { continue };
        if !text.starts_with("start") {
            continue;
        }
        let Some(id) = evidence.lab().node(node).and_then(|(_, node)| node.kind.id()) else { continue };
        let mine = || evidence.agreement.beats.iter().filter(|beat| beat.from == id);
        let before = mine().filter(|beat| beat.at < *at).map(|beat| beat.incarnation).max();
        let after = mine().filter(|beat| beat.at >= *at).map(|beat| beat.incarnation).min();
        if let (Some(before), Some(after)) = (before, after)
            && after <= before
        {
            wrong.push(format!("{id} came back in life {} after life {}", after.0, before.0));
        }
    }
    wrong
}
