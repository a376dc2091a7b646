//! S19: a member that others stopped hearing sends no data from 2.5 units after the last heartbeat that *it sent* until one
//! with a new incarnation. S23: the sync network carries no data but marked corrections and handovers.

use scalebed_frame::{Incarnation, Kind, NetworkId, NodeId};
use scalebed_record::{Observation, Verdict};
use scalebed_topologies::lab::Architecture;

use super::{SHOWN, Said};
use crate::Checker;
use crate::evidence::Evidence;
use crate::places::Role;

/// A control message: it passes every fence.
pub(crate) fn is_control(seen: &Observation) -> bool {
    seen.shim.is_some_and(|shim| shim.kind == Kind::Control)
}

/// The self-fence, as the cables show it.
pub struct SelfFence;

impl Checker for SelfFence {
    fn name(&self) -> &'static str {
        "s19-self-fence"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let closed: Vec<Vec<(u64, u64)>> =
            evidence.places.members.iter().map(|member| silences(evidence, (*member).into())).collect();
        let silences: usize = closed.iter().map(Vec::len).sum();
        let mut wrong = Vec::new();
        let mut count = 0u64;
        for seen in evidence.observations() {
            let Role::Member(member) = evidence.places.at(seen.tap).from else { continue };
            if closed[usize::from(member)].is_empty() || is_control(seen) {
                continue;
            }
            let inside = closed[usize::from(member)].iter().find(|(from, to)| (*from..*to).contains(&seen.at));
            if let Some((from, _)) = inside {
                count += 1;
                if wrong.len() < SHOWN {
                    let what = seen.flow.map_or_else(|| "a frame without IP".to_owned(), |flow| flow.to_string());
                    wrong.push(format!(
                        "{} put {what} on its cable at {:.1} ms, fenced since {:.1} ms",
                        evidence.places.name(member),
                        evidence.ms(seen.at),
                        evidence.ms(*from)
                    ));
                }
            }
        }
        let value = format!("{silences} silences of members, {count} frames in them");
        let unheard = evidence.agreement.beats.iter().all(|beat| beat.from.member().is_none());
        let invalid = unheard.then(|| "no heartbeat of a member was seen".to_owned());
        vec![
            Said::of("s19-self-fence", "no data from 2.5 units after the last own heartbeat until a new life")
                .value(value)
                .fail_if(wrong)
                .invalid_if(invalid)
                .done(),
        ]
    }
}

/// Spans in which a member must be silent.
fn silences(evidence: &Evidence<'_>, node: NodeId) -> Vec<(u64, u64)> {
    let lease = evidence.unit() * 5 / 2;
    let mut spans = Vec::new();
    let mut last: Option<(u64, Incarnation)> = None;
    // A lease that ran out: since when, in which life.
    let mut fenced: Option<(u64, Incarnation)> = None;
    for beat in evidence.agreement.beats.iter().filter(|beat| beat.from == node) {
        if let Some((at, life)) = last
            && fenced.is_none()
            && beat.at > at + lease
        {
            fenced = Some((at + lease, life));
        }
        if let Some((from, life)) = fenced
            && beat.incarnation > life
        {
            spans.push((from, beat.at));
            fenced = None;
        }
        last = Some((beat.at, beat.incarnation));
    }
    match (fenced, last) {
        (Some((from, _)), _) => spans.push((from, u64::MAX)),
        (None, Some((at, _))) => spans.push((at + lease, u64::MAX)),
        (None, None) => {}
    }
    spans
}

/// What the sync network carries.
pub struct SyncNetwork;

impl Checker for SyncNetwork {
    fn name(&self) -> &'static str {
        "s23-sync-carries-no-data"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let elastic = evidence.lab().architecture == Architecture::ElasticXl;
        let (mut frames, mut altered, mut wrong) = (0u64, 0u64, Vec::new());
        for seen in evidence.observations() {
            let sync = match seen.shim {
                Some(shim) => shim.network == NetworkId::SYNC,
                None => false,
            };
            let cable = elastic && evidence.places.at(seen.tap).network == Some(NetworkId::SYNC);
            if !sync && !cable {
                continue;
            }
            frames += 1;
            let marked = seen.shim.is_some_and(|shim| match shim.kind {
                Kind::Control => true,
                Kind::Correction | Kind::Handover => cable,
                Kind::Data => false,
            });
            // Data without a shim can be read. What cannot be is what a cable was to make of some frame; how many of those there
            // are is for the cable's own verdict.
            let unreadable = seen.shim.is_none() && seen.flow.is_none();
            if unreadable && evidence.alters_frames(seen.at) {
                altered += 1;
            } else if !marked && wrong.len() <= SHOWN {
                let what = seen.flow.map_or_else(|| "a frame without IP".to_owned(), |flow| flow.to_string());
                wrong.push(format!("{what} from {} at {:.1} ms", seen.src, evidence.ms(seen.at)));
            }
        }
        let vacuous = (frames == 0).then(|| "nothing was seen on the sync network".to_owned());
        vec![
            Said::of("s23-sync-carries-no-data", "control, corrections and handovers only")
                .value(format!("{frames} frames, {altered} of them altered by cables"))
                .fail_if(wrong)
                .invalid_if(vacuous)
                .done(),
        ]
    }
}
