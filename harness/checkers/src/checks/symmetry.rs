//! Symmetry (S1): both directions of a flow are processed by one and the same member, epoch by epoch. Directions are
//! paired by signature, never by tuple.

use scalebed_record::Verdict;
use scalebed_record::record::SymmetryRow;

use super::{SHOWN, Said};
use crate::Checker;
use crate::evidence::{Evidence, MS};
use crate::journey::NOBODY;
use crate::numbers::share;

/// A flow needs so many packets each way in an epoch.
const ENOUGH: u32 = 3;
/// An epoch at least this long must have...
const LONG: u64 = 3_000 * MS;
/// ... this share of its flows eligible, else it says nothing.
const ELIGIBLE: f64 = 0.9;

/// L1 and L2 of every epoch (L3, no change of owner inside an epoch, is part of L2: one member over the whole epoch).
pub struct Symmetry;

impl Checker for Symmetry {
    fn name(&self) -> &'static str {
        "symmetry-l2"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let rows = rows(evidence);
        let sum = |of: fn(&SymmetryRow) -> u32| rows.iter().map(of).sum::<u32>();
        let (eligible, l1, l2) = (sum(|row| row.eligible), sum(|row| row.l1), sum(|row| row.l2));
        let offenders: Vec<String> = rows.iter().flat_map(|row| row.offenders.clone()).collect();
        let long = |row: &&SymmetryRow| row.to_ms - row.from_ms >= (LONG / MS) as f64;
        let thin = rows.iter().filter(long).find(|row| f64::from(row.eligible) < ELIGIBLE * f64::from(row.flows));
        let eligible6 = sum(|row| row.eligible6);
        // Each family must be shown, if there are flows of it.
        let scheduled = |v4: bool| evidence.flows().any(|(_, spec)| spec.forward.is_ipv4() == v4);
        let unseen = [("IPv4", eligible - eligible6, true), ("IPv6", eligible6, false)];
        let unseen = unseen.into_iter().find(|(_, seen, v4)| *seen == 0 && scheduled(*v4));
        let vacuous = if eligible == 0 {
            Some("no flow had enough packets each way in any epoch".to_owned())
        } else if let Some((family, ..)) = unseen {
            Some(format!("no {family} flow had enough packets each way in any epoch"))
        } else {
            thin.map(|row| {
                format!("generation {}: only {} of {} flows eligible", row.generation, row.eligible, row.flows)
            })
        };
        let percent = |of: u32| share(of.into(), eligible.into()) * 100.0;
        let value = format!(
            "{:.3} % of {eligible} flows ({eligible6} IPv6) in {} epochs (entered at one member: {:.1} %)",
            percent(l2),
            rows.len(),
            percent(l1)
        );
        vec![Said::of("symmetry-l2", "100 %").value(value).fail_if(offenders).invalid_if(vacuous).done()]
    }
}

/// A flow in an epoch: who let it in, who processed it.
#[derive(Default)]
struct Both {
    packets: [u32; 2],
    due: [u32; 2],
    ingress: [Option<u8>; 2],
    entries: u32,
    owner: Option<u8>,
    split: Option<(usize, u32)>,
}

/// One row an epoch that packets fell into.
pub(crate) fn rows(evidence: &Evidence<'_>) -> Vec<SymmetryRow> {
    let agreement = &evidence.agreement;
    let mut rows: Vec<SymmetryRow> = agreement
        .epochs
        .iter()
        .map(|epoch| SymmetryRow {
            generation: epoch.generation.to_string(),
            from_ms: evidence.ms(epoch.from.max(evidence.schedule.start)),
            to_ms: evidence.ms(epoch.to.min(evidence.schedule.start + evidence.schedule.end)),
            ..SymmetryRow::default()
        })
        .collect();
    for (flow, _) in evidence.flows() {
        for (epoch, both) in split(evidence, flow).iter().enumerate() {
            count(evidence, &mut rows[epoch], both, flow, epoch);
        }
    }
    rows.retain(|row| row.flows > 0);
    rows
}

/// A flow's packets, epoch by epoch.
fn split(evidence: &Evidence<'_>, flow: usize) -> Vec<Both> {
    let agreement = &evidence.agreement;
    let mut epochs: Vec<Both> = agreement.epochs.iter().map(|_| Both::default()).collect();
    for side in 0..2 {
        for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
            if let Some(epoch) = agreement.eligible(evidence.due(flow, side, sequence)) {
                epochs[epoch].due[side] += 1;
            }
            if journey.delivered == 0 || journey.owner == NOBODY {
                continue;
            }
            // One that a node which stood still had in its backlog until the next change is of neither epoch.
            let epoch = agreement.eligible(journey.sent);
            let epoch = epoch.filter(|&epoch| journey.delivered < agreement.epochs[epoch].to);
            let Some(both) = epoch.map(|epoch| &mut epochs[epoch]) else { continue };
            both.packets[side] += 1;
            let ingress = both.ingress[side].get_or_insert(journey.ingress);
            both.entries += u32::from(*ingress != journey.ingress);
            let owner = *both.owner.get_or_insert(journey.owner);
            if owner != journey.owner && both.split.is_none() {
                both.split = Some((side, sequence));
            }
        }
    }
    epochs
}

fn count(evidence: &Evidence<'_>, row: &mut SymmetryRow, both: &Both, flow: usize, epoch: usize) {
    let end = evidence.agreement.epochs[epoch].to;
    // Lost before this epoch or in it: its packets were not to arrive.
    let doomed = evidence.happenings.iter().any(|one| one.predictions[flow].doomed && one.at < end);
    let enough = |packets: [u32; 2]| packets.iter().all(|&packets| packets >= ENOUGH);
    row.flows += u32::from(enough(both.due) && !doomed || enough(both.packets));
    if !enough(both.packets) {
        return;
    }
    row.eligible += 1;
    row.eligible6 += u32::from(!evidence.schedule.flows[flow].forward.is_ipv4());
    row.l1 += u32::from(both.entries == 0 && both.ingress[0] == both.ingress[1]);
    match both.split {
        None => row.l2 += 1,
        Some((side, sequence)) if row.offenders.len() < SHOWN => {
            let first = both.owner.map_or_else(String::new, |owner| evidence.places.name(owner));
            let path = evidence.path(flow, side, sequence);
            row.offenders.push(format!("generation {}: first at {first}, then {path}", row.generation));
        }
        Some(_) => {}
    }
}
