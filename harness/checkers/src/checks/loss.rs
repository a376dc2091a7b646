//! Loss, and the other classes of packets. A packet that entered the cluster and did not leave it must belong to the
//! declared outcome of an event and to a flow that was predicted to be hurt.

use super::{SHOWN, Said};
use crate::Checker;
use crate::evidence::{Evidence, LATE, MS};
use scalebed_record::Verdict;

/// No loss but the predicted one.
pub struct ZeroLoss;

impl Checker for ZeroLoss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let offered = evidence.flows().flat_map(|(flow, _)| (0..2).flat_map(move |side| evidence.journeys(flow, side)));
        let offered = offered.filter(|journey| journey.offered != 0).count();
        // Of a packet with several lost attempts the first and the last are here: it is one packet all the same.
        let packets = || evidence.losses.chunk_by(|a, b| a.packet() == b.packet());
        let unexplained: Vec<_> =
            packets().filter_map(|losses| losses.iter().find(|loss| loss.excuse.is_none())).collect();
        let explain = |loss: &&crate::losses::Loss| {
            let at = evidence.ms(loss.at);
            let probe = if evidence.is_probe(loss.flow) { "probe, " } else { "" };
            format!("{probe}at {at:.1} ms: {}", evidence.path(loss.flow, loss.side, loss.sequence))
        };
        // Paths are long: only those that are shown are written out.
        let mut shown: Vec<String> = unexplained.iter().take(SHOWN).map(explain).collect();
        if unexplained.len() > SHOWN {
            shown.push(format!("and {} more", unexplained.len() - SHOWN));
        }
        let again = packets().filter(|losses| {
            let (flow, side, sequence) = losses[0].packet();
            evidence.journey(flow, side, sequence).delivered != 0
        });
        let (beyond, again) = (unexplained.len(), again.count());
        let explained = packets().count() - beyond;
        let mut value = format!("{beyond} of {offered} packets lost beyond the {explained} that events explain");
        if again > 0 {
            value += &format!("; of {again} another attempt arrived");
        }
        if !evidence.lab().impairments.is_empty() {
            value += &format!(", and {} on cables that the lab impairs", evidence.lost_by_lab);
        }
        let empty = (offered == 0).then(|| "no packet was offered".to_owned());
        vec![Said::of("loss", "0").value(value).fail_if(shown).invalid_if(empty).done()]
    }
}

/// Delivered, late, lost, duplicate, misdelivered.
pub struct Classes;

impl Checker for Classes {
    fn name(&self) -> &'static str {
        "packet-classes"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let (mut delivered, mut late, mut never, mut duplicate) = (0u64, 0u64, 0u64, 0u64);
        let mut wrong = Vec::new();
        for (flow, _) in evidence.flows() {
            for side in 0..2 {
                for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                    let arrived = journey.delivered != 0;
                    let slow = journey.attempts == 1 && journey.delivered.saturating_sub(journey.offered) > LATE;
                    late += u64::from(arrived && slow);
                    delivered += u64::from(arrived && !slow);
                    never += u64::from(journey.offered != 0 && !arrived);
                    duplicate += u64::from(journey.duplicates);
                    if journey.misdelivered && wrong.len() <= SHOWN {
                        wrong.push(format!("misdelivered: {}", evidence.path(flow, side, sequence)));
                    }
                    let asked = || evidence.was_doubled(flow, side, sequence);
                    if journey.duplicates > 0 && wrong.len() <= SHOWN && !asked() {
                        wrong.push(format!("duplicate: {}", evidence.path(flow, side, sequence)));
                    }
                }
            }
        }
        let foreign = evidence.packets.unknown;
        if foreign > 0 {
            wrong.push(format!("{foreign} observations of signatures that are not in the schedule"));
        }
        let value = format!(
            "{delivered} delivered, {late} late (over {} ms), {never} never arrived, {duplicate} duplicate",
            LATE / MS
        );
        vec![Said::of("packet-classes", "0 duplicate, misdelivered or foreign").value(value).fail_if(wrong).done()]
    }
}
