//! What must hold under any faults, whatever was predicted: the safety invariants all the time, the liveness invariants
//! once everything is healed and its bound has passed. For runs whose faults no scenario declared.

use std::collections::BTreeMap;

use scalebed_frame::control::Admitted;
use scalebed_frame::{Generation, MemberId, NodeId};
use scalebed_record::history::{Declared, Heard};
use scalebed_record::{Entry, Fact, FlowKind, Outcome, Verdict};
use scalebed_topologies::fault::Full;
use scalebed_topologies::lab::NodeKind;

use crate::checks::{self, SHOWN, Said};
use crate::evidence::{EDGE_OF_FAULTS, Evidence, MS};
use crate::journey::NOBODY;
use crate::{Checker as _, Input};

/// Beyond the sync delay, a copy is certainly there.
const SYNCED: u64 = 300 * MS;
/// A connection completes a round within this, if it goes on.
const ROUND: u64 = 1_500 * MS;

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
    /// There was one fault only: what one fault may do to connections is known.
    pub single: bool,
    /// All that happened is that members died, or were started anew.
    pub deaths: bool,
    /// The longest delay that a fault put on a cable.
    pub delay_ms: u64,
    /// What every member had little of.
    pub full: Option<Full>,
    /// Some fault took frames from a cable whose carrier stood: what a tap did not see may have been sent.
    pub takes_frames: bool,
    /// Some fault made two of a frame: taps and members may have seen a packet twice.
    pub doubles_frames: bool,
    /// Some fault altered frames: what is on a cable may be nobody's.
    pub alters_frames: bool,
}

/// Invariants that this judge cannot hold against a run yet, each with its reason.
pub const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("S12", "configurations never change: cloning is not built"),
    ("S13", "as S12"),
    ("S20", "several Security Groups are not built"),
    ("S24", "dual site is not built"),
    ("L2", "digests of connection tables (anti-entropy) are not built"),
];

/// Verdicts that failed. An empty list: everything held, and was seen to hold. What could not be judged is a violation too:
/// the simulated tester is never unfit, so that only a run in which nothing happened leaves no evidence.
#[must_use]
pub fn violations(input: &Input<'_>, span: Span) -> Vec<Verdict> {
    let Some(evidence) = Evidence::of(input) else {
        let nothing = vec!["the history has no schedule: no traffic was offered".to_owned()];
        return vec![Said::of("evidence", "a schedule").fail_if(nothing).done()];
    };
    let mut verdicts = checks::standing().iter().flat_map(|checker| checker.check(&evidence)).collect::<Vec<_>>();
    // Taps sit at receiving ends: heartbeats that a cable took were sent all the same, and a claim that nobody could hear is
    // one of another component. What a cable doubled is on it twice, what it altered is nobody's.
    let excused: [(bool, &[&str]); 3] = [
        (span.takes_frames, &["s05-one-smo", "s19-self-fence"]),
        (span.doubles_frames, &["s03-processed-once", "s15-no-loop"]),
        (span.alters_frames, &["s23-sync-carries-no-data"]),
    ];
    verdicts.retain(|verdict| !excused.iter().any(|(is, checks)| *is && checks.contains(&verdict.check.as_str())));
    verdicts.push(checks::nat::unique(&evidence));
    verdicts.push(Verdict { check: "s21-ledger".to_owned(), ..checks::ledger(&evidence) });
    verdicts.push(before(&evidence, span));
    verdicts.push(at_once(&evidence, span));
    verdicts.push(one_carrier(&evidence, span));
    verdicts.push(echoes(&evidence));
    verdicts.push(denied(&evidence));
    verdicts.push(crate::lives::left_out(&evidence));
    verdicts.push(crate::last_man::stays(&evidence, span.delay_ms));
    verdicts.push(crate::bindings::kept(&evidence));
    if span.deaths {
        verdicts.push(bystanders(&evidence, span));
    }
    verdicts.extend(after(&evidence, span));
    verdicts.extend(crate::inside::verdicts(&evidence));
    for verdict in &mut verdicts {
        if let Outcome::Invalid(reason) = &verdict.outcome {
            verdict.outcome = Outcome::Fail(vec![reason.clone()]);
        }
    }
    // A packet that a slow cable held for longer than an epoch's margin belongs to no epoch. Too few eligible flows are no
    // violation: among many faults an epoch may be short.
    if span.delay_ms * MS < evidence.unit() / 2 {
        verdicts.extend(checks::symmetry::Symmetry.check(&evidence));
    }
    if let Some(full) = span.full {
        verdicts.retain(|verdict| !crate::full::excused(full).contains(&verdict.check.as_str()));
        verdicts.push(crate::full::exercised(&evidence, full));
    }
    verdicts.retain(|verdict| matches!(verdict.outcome, Outcome::Fail(_)));
    verdicts
}

/// S18, and that there was something to deny.
fn denied(evidence: &Evidence<'_>) -> Verdict {
    let [verdict] = &checks::denied(evidence)[..] else {
        let nothing = vec!["no flow of the schedule is denied".to_owned()];
        return Said::of("s18-denied-is-never-forwarded", "0 packets").fail_if(nothing).done();
    };
    verdict.clone()
}

/// Nothing is lost before anything is broken.
fn before(evidence: &Evidence<'_>, span: Span) -> Verdict {
    let until = evidence.schedule.start + span.first_ms * MS;
    let lost = evidence.losses.iter().filter(|loss| loss.at + EDGE_OF_FAULTS < until);
    let lost: Vec<String> = lost.take(SHOWN).map(|loss| evidence.path(loss.flow, loss.side, loss.sequence)).collect();
    Said::of("control", "0 lost before the first fault").fail_if(lost).done()
}

/// S17: while nothing is broken nobody has to ask for a connection: who gets its return packets knew it before they came.
fn at_once(evidence: &Evidence<'_>, span: Span) -> Verdict {
    let until = evidence.schedule.start + span.first_ms * MS;
    let asked = |entry: &Entry| match &entry.fact {
        Fact::Heard(Heard::Asked { from, flow }) if entry.at < until => {
            Some(format!("at {:.1} ms {from} asked for {flow}", evidence.ms(entry.at)))
        }
        _ => None,
    };
    let wrong = evidence.input.history.entries.iter().filter_map(asked).collect();
    Said::of("s17-known-at-once", "nobody asks for a connection before the first fault").fail_if(wrong).done()
}

/// L1, L4, L5, L7 and L9.
fn after(evidence: &Evidence<'_>, span: Span) -> Vec<Verdict> {
    let start = evidence.schedule.start;
    let from = start + span.healed_ms * MS + BOUND_UNITS * evidence.unit();
    let end = start + evidence.schedule.end;
    let mut verdicts = vec![one_view(evidence, from), flowing(evidence, from), quiet(evidence, from, end)];
    if span.single {
        verdicts.push(surviving(evidence, span, from));
    }
    verdicts
}

/// Others die and come again: a member to which nothing happens goes on through all of it.
fn bystanders(evidence: &Evidence<'_>, span: Span) -> Verdict {
    let from = evidence.schedule.start + span.first_ms * MS;
    let later = || evidence.input.history.entries.iter().filter(|entry| entry.at >= from);
    let touched: Vec<&str> = later()
        .filter_map(|entry| match &entry.fact {
            Fact::Operation { node, .. } => Some(node.as_str()),
            _ => None,
        })
        .collect();
    let fenced = later().filter_map(|entry| match &entry.fact {
        Fact::Declared { node, what: Declared::Fenced(reason), .. } if !touched.contains(&node.as_str()) => {
            let member = evidence.lab().node(node).is_some_and(|(_, spec)| matches!(spec.kind, NodeKind::Member(_)));
            member.then(|| format!("at {:.1} ms {node} fenced itself: {reason}", evidence.ms(entry.at)))
        }
        _ => None,
    });
    Said::of("bystander-serves", "no member fences itself for what happens to others").fail_if(fenced.collect()).done()
}

/// S2 as the cables show it: a packet that leaves by a flow's old carrier after the new one's first packet, with no
/// generation between them. Packets within [`EDGE_OF_FAULTS`], and what a cable delays, may have overtaken each other.
fn one_carrier(evidence: &Evidence<'_>, span: Span) -> Verdict {
    let margin = EDGE_OF_FAULTS + span.delay_ms * MS;
    let mut wrong = Vec::new();
    // A new owner processes from Activate on, which may come long after the acceptors accepted.
    let activated = evidence.input.history.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Declared { what: Declared::Activated(_), .. } => Some(entry.at),
        _ => None,
    });
    let changes: Vec<u64> = evidence.agreement.changes.iter().map(|(at, _)| *at).chain(activated).collect();
    for (flow, _) in evidence.flows() {
        let mut exits: Vec<(u64, u8, usize, u32)> = Vec::new();
        for side in 0..2 {
            let journeys = (0u32..).zip(evidence.journeys(flow, side));
            let out = journeys.filter(|(_, journey)| journey.delivered != 0 && journey.owner != NOBODY);
            exits.extend(out.map(|(sequence, journey)| (journey.delivered, journey.owner, side, sequence)));
        }
        exits.sort_unstable();
        // When each carrier was first followed by another, and by whom.
        let mut succeeded: BTreeMap<u8, u64> = BTreeMap::new();
        let mut carrier = None;
        for (at, owner, side, sequence) in exits {
            if let Some(since) = succeeded.get(&owner).copied() {
                let changed = changes.iter().any(|change| (since..=at).contains(change));
                if changed {
                    succeeded.clear();
                } else if at <= since + margin {
                    // Overtaken: it says nothing about who came after whom.
                    continue;
                } else {
                    let path = evidence.path(flow, side, sequence);
                    wrong.push(format!(
                        "at {:.1} ms, {:.1} ms after its successor began: {path}",
                        evidence.ms(at),
                        (at - since) as f64 / MS as f64
                    ));
                }
            }
            if let Some(old) = carrier.filter(|old| *old != owner) {
                succeeded.entry(old).or_insert(at);
                succeeded.remove(&owner);
            }
            carrier = Some(owner);
        }
    }
    Said::of("s02-one-carrier", "no packet by the old carrier after the new one's first").fail_if(wrong).done()
}

/// S16: an entry is told by its owner; whoever applies one tells nobody. A dead owner's entries are told to its heir.
fn echoes(evidence: &Evidence<'_>) -> Verdict {
    // By what the teller itself had accepted then: a matrix may pass no tap on its way to one that hears it late.
    let mut accepted: BTreeMap<NodeId, &[Admitted]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in &evidence.input.history.entries {
        match &entry.fact {
            Fact::Declared { node, what: Declared::Accepted { admitted, .. }, .. } => {
                if let Some(id) = evidence.lab().node(node).and_then(|(_, node)| node.kind.id()) {
                    accepted.insert(id, admitted);
                }
            }
            Fact::Heard(Heard::Echo { from, owner, life, flow }) => {
                let lives = |one: &Admitted| NodeId::from(one.member) == *owner && one.incarnation == *life;
                if accepted.get(from).is_some_and(|admitted| admitted.iter().any(lives)) {
                    let at = evidence.ms(entry.at);
                    wrong.push(format!("at {at:.1} ms {from} told of {flow}, which is {owner}'s"));
                }
            }
            _ => {}
        }
    }
    Said::of("s16-no-echo", "every synced entry comes from its owner").fail_if(wrong).done()
}

/// L5: TCP connections that were older than the sync delay when the one fault came still go on in the end.
fn surviving(evidence: &Evidence<'_>, span: Span, from: u64) -> Verdict {
    let start = evidence.schedule.start;
    let delay = u64::from(evidence.lab().group.sync_delay_ms) * MS + SYNCED;
    let reports = evidence.report.map_or(&[][..], |report| &report.tcp);
    let mut wrong = Vec::new();
    for tcp in reports {
        let Some(spec) = evidence.schedule.flows.get(tcp.flow as usize) else { continue };
        if tcp.established == 0 || tcp.established + delay > start + span.first_ms * MS {
            continue;
        }
        // Rounds come at the flow's rate, and a lost one is repeated with pauses.
        let due = from.min((start + spec.last).saturating_sub(SYNCED));
        if tcp.reset != 0 || tcp.broken || tcp.last_round + ROUND < due {
            wrong.push(format!(
                "flow {}: last round at {:.0} ms, reset {}, broken {}",
                tcp.flow,
                evidence.ms(tcp.last_round),
                tcp.reset != 0,
                tcp.broken
            ));
        }
    }
    Said::of("l05-connections", "every connection older than the sync delay goes on").fail_if(wrong).done()
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

/// Packets of UDP flows arrive: such a flow opens again whatever became of its state. And there are such packets.
fn flowing(evidence: &Evidence<'_>, from: u64) -> Verdict {
    let udp = evidence.flows().filter(|(_, spec)| spec.kind == FlowKind::Udp);
    let offered = udp.flat_map(|(flow, _)| [0, 1].map(|side| evidence.journeys(flow, side))).flatten();
    let arrived = offered.filter(|journey| journey.offered >= from && journey.delivered != 0).count();
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
    Said::of("l05-flowing", "0 packets of UDP flows lost after everything is healed")
        .fail_if(lost)
        .invalid_if((arrived == 0).then(|| "no packet of a UDP flow arrived after everything was healed".to_owned()))
        .done()
}

fn quiet(evidence: &Evidence<'_>, from: u64, end: u64) -> Verdict {
    let restless = evidence.agreement.changes.iter().filter(|(at, _)| (from..end).contains(at));
    let restless = restless.map(|(at, generation)| format!("{generation} at {:.0} ms", evidence.ms(*at))).collect();
    Said::of("l09-quiet-tail", "no generation in the quiet tail").fail_if(restless).done()
}
