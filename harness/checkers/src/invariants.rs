//! What must hold under any faults, whatever was predicted: the safety invariants all the time, the liveness invariants
//! once everything is healed and its bound has passed. For runs whose faults no scenario declared.

use scalebed_frame::{Generation, MemberId, NodeId};
use scalebed_record::{FlowKind, Outcome, Verdict};

use crate::checks::{self, SHOWN, Said};
use crate::evidence::{EDGE_OF_FAULTS, Evidence, MS};
use crate::{Checker as _, Input};

/// After the last fault is healed, so many heartbeat units may pass until everything is in service again: a join, or the
/// boot of a group that fenced itself as a whole (30 units of waiting for who does not come).
pub const BOUND_UNITS: u64 = 40;

/// When the faults were, ms after the schedule's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one began.
    pub first_ms: u64,
    /// The last one was healed.
    pub healed_ms: u64,
    /// Some fault took frames from a cable whose carrier stood: what a tap did not see may have been sent.
    pub takes_frames: bool,
}

/// Invariants that this judge cannot hold against a run yet, each with its reason.
pub const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("S11", "both directions of a binding are one object of the table; nobody looks inside yet"),
    ("S12", "configurations never change: cloning is not built"),
    ("S13", "as S12"),
    ("S14", "nothing demotes itself softly: draining is not built"),
    ("S16", "sync items are not read at the taps yet"),
    ("S17", "first-packet deferral is not built"),
    ("S18", "the explored traffic has no denied flows"),
    ("S20", "several Security Groups are not built"),
    ("S24", "dual site is not built"),
    ("L2", "digests of connection tables (anti-entropy) are not built"),
    ("L3", "nobody looks inside the tables yet"),
    ("L8", "queues inside nodes are not read"),
];

/// Verdicts that failed. An empty list: everything held that could be seen.
#[must_use]
pub fn violations(input: &Input<'_>, span: Span) -> Vec<Verdict> {
    let Some(evidence) = Evidence::of(input) else { return Vec::new() };
    let mut verdicts = checks::symmetry::Symmetry.check(&evidence);
    verdicts.extend(checks::standing().iter().flat_map(|checker| checker.check(&evidence)));
    if span.takes_frames {
        // Taps sit at receiving ends: heartbeats that a cable took were sent all the same, and a claim that nobody could
        // hear is one of another component.
        verdicts.retain(|verdict| !["s05-one-smo", "s19-self-fence"].contains(&verdict.check.as_str()));
    }
    verdicts.push(checks::nat::unique(&evidence));
    verdicts.push(ledger(&evidence));
    verdicts.push(before(&evidence, span));
    verdicts.extend(after(&evidence, span));
    verdicts.retain(|verdict| matches!(verdict.outcome, Outcome::Fail(_)));
    verdicts
}

/// S21: an open ledger is no reason to doubt the taps of the simulated world: it is a violation.
fn ledger(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = checks::ledger(evidence);
    verdict.check = "s21-ledger".to_owned();
    if let Outcome::Invalid(reason) = &verdict.outcome {
        verdict.outcome = Outcome::Fail(vec![reason.clone()]);
    }
    verdict
}

/// Nothing is lost before anything is broken.
fn before(evidence: &Evidence<'_>, span: Span) -> Verdict {
    let until = evidence.schedule.start + span.first_ms * MS;
    let lost = evidence.losses.iter().filter(|loss| loss.at + EDGE_OF_FAULTS < until);
    let lost: Vec<String> = lost.take(SHOWN).map(|loss| evidence.path(loss.flow, loss.side, loss.sequence)).collect();
    Said::of("control", "0 lost before the first fault").fail_if(lost).done()
}

/// L1, L4, L5, L7 and L9.
fn after(evidence: &Evidence<'_>, span: Span) -> Vec<Verdict> {
    let start = evidence.schedule.start;
    let from = start + span.healed_ms * MS + BOUND_UNITS * evidence.unit();
    let end = start + evidence.schedule.end;
    vec![one_view(evidence, from), flowing(evidence, from), quiet(evidence, from, end)]
}

/// The last heartbeat of each node agrees with all others.
fn one_view(evidence: &Evidence<'_>, from: u64) -> Verdict {
    let mut wrong = Vec::new();
    let members: Vec<MemberId> = evidence.places.members.clone();
    let expected = members.iter().map(|member| NodeId::from(*member)).chain(evidence.orchestrators());
    let mut views: Vec<(NodeId, Generation, u64)> = Vec::new();
    let mut holders = Vec::new();
    for node in expected {
        let last = evidence.agreement.beats.iter().rev().find(|beat| beat.from == node && beat.at >= from);
        let Some(beat) = last else {
            wrong.push(format!("{node} is silent"));
            continue;
        };
        views.push((node, beat.accepted, beat.digest));
        if beat.smo {
            holders.push(node);
        }
    }
    for view in views.windows(2) {
        let [(a, first, one), (b, second, other)] = view else { continue };
        if (first, one) != (second, other) {
            wrong.push(format!("{a} holds {first}, {b} {second}"));
        }
    }
    if holders.len() != 1 {
        wrong.push(format!("the SMO (pivot) role is claimed by {holders:?}"));
    }
    let active: Vec<MemberId> = evidence
        .agreement
        .epochs
        .last()
        .and_then(|epoch| epoch.matrix)
        .map_or_else(Vec::new, |matrix| matrix.admitted.iter().map(|one| one.member).collect());
    let missing: Vec<String> =
        members.iter().filter(|member| !active.contains(member)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        wrong.push(format!("not admitted: {}", missing.join(", ")));
    }
    Said::of("l01-one-view", "one SMO, one generation, every member admitted").fail_if(wrong).done()
}

/// Packets of UDP flows arrive: such a flow opens again whatever became of its state.
fn flowing(evidence: &Evidence<'_>, from: u64) -> Verdict {
    let lost = evidence
        .losses
        .iter()
        .filter(|loss| loss.at >= from && evidence.schedule.flows[loss.flow].kind == FlowKind::Udp);
    let lost: Vec<String> = lost
        .take(SHOWN)
        .map(|loss| {
            format!("at {:.1} ms: {}", evidence.ms(loss.at), evidence.path(loss.flow, loss.side, loss.sequence))
        })
        .collect();
    Said::of("l05-flowing", "0 packets of UDP flows lost after everything is healed").fail_if(lost).done()
}

fn quiet(evidence: &Evidence<'_>, from: u64, end: u64) -> Verdict {
    let restless = evidence.agreement.changes.iter().filter(|(at, _)| (from..end).contains(at));
    let restless = restless.map(|(at, generation)| format!("{generation} at {:.0} ms", evidence.ms(*at))).collect();
    Said::of("l09-quiet-tail", "no generation in the quiet tail").fail_if(restless).done()
}
