//! Where packets enter, how evenly, and how many must be passed on: the symmetry algebra against the taps.

use std::collections::BTreeMap;

use scalebed_record::Verdict;
use scalebed_topologies::lab::Architecture;
use scalebed_topologies::scenario::Share;

use super::{SHOWN, Said};
use crate::Checker;
use crate::evidence::Evidence;
use crate::journey::{Journey, NOBODY};
use crate::numbers::{chi_square_p, share, tolerance};

/// Every packet goes to the member that owns its bucket, by the published hash and the matrix seen on the wire.
pub struct Dealing;

impl Checker for Dealing {
    fn name(&self) -> &'static str {
        "dealing"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let (mut checked, mut wrong) = (0u64, Vec::new());
        for (flow, spec) in evidence.flows() {
            let oracle = evidence.oracle();
            let keys = [Some(oracle.forward_key(&spec.forward)), oracle.return_key(&spec.forward)];
            for (side, key) in keys.iter().enumerate() {
                let Some(key) = key else { continue };
                let mut owners: Vec<Option<Option<u8>>> = vec![None; evidence.agreement.epochs.len()];
                for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                    let Some(epoch) = evidence.agreement.eligible(journey.sent) else { continue };
                    let Some(actual) = chosen(evidence, journey, flow, side, epoch) else { continue };
                    let matrix = evidence.agreement.epochs[epoch].matrix;
                    let owner = *owners[epoch].get_or_insert_with(|| {
                        matrix.and_then(|matrix| oracle.owner(key, matrix)).and_then(|m| evidence.places.index(m))
                    });
                    let Some(owner) = owner else { continue };
                    checked += 1;
                    if owner != actual && wrong.len() <= SHOWN {
                        let (should, path) = (evidence.places.name(owner), evidence.path(flow, side, sequence));
                        wrong.push(format!("should be dealt to {should}: {path}"));
                    }
                }
            }
        }
        let vacuous =
            (checked == 0).then(|| "no matrix was seen on the wire, or no packet entered under one".to_owned());
        let value = format!("{checked} packets dealt by the published hash and the matrix on the wire");
        vec![Said::of("dealing", "all").value(value).fail_if(wrong).invalid_if(vacuous).done()]
    }
}

/// The member that the distribution layer chose for a packet. Under ElasticXL's connection table only clients' packets of
/// connections that began in this epoch follow the matrix: the one that processed them is the one that was chosen.
fn chosen(evidence: &Evidence<'_>, journey: &Journey, flow: usize, side: usize, epoch: usize) -> Option<u8> {
    if journey.delivered == 0 {
        return None;
    }
    let chosen = match evidence.lab().architecture {
        Architecture::Maestro => journey.ingress,
        Architecture::ElasticXl => {
            let began = evidence.schedule.start + evidence.schedule.flows[flow].first;
            let fresh = side == 0 && evidence.agreement.eligible(began) == Some(epoch);
            // A TCP connection opens before its first request is due.
            if fresh { journey.owner } else { NOBODY }
        }
    };
    Some(chosen).filter(|&member| member != NOBODY)
}

/// Distinct keys by member in the first epoch that traffic saw.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// Keys by member's place.
    pub keys: BTreeMap<u8, u64>,
    /// Members that share them.
    pub members: Vec<u8>,
    /// Buckets by member's place.
    pub buckets: BTreeMap<u8, u32>,
}

/// Counts distinct forward keys by the member that processed them, in the first epoch with eligible packets.
pub(crate) fn spread(evidence: &Evidence<'_>) -> Spread {
    let mut spread = Spread::default();
    let eligible = |journey: &Journey| {
        let epoch = evidence.agreement.eligible(journey.sent)?;
        (journey.delivered != 0 && journey.owner != NOBODY).then_some((epoch, journey.owner))
    };
    let first = |flow: usize| evidence.journeys(flow, 0).iter().find_map(eligible);
    let Some(epoch) = evidence.flows().filter_map(|(flow, _)| first(flow)).map(|(epoch, _)| epoch).min() else {
        return spread;
    };
    let mut seen: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
    for (flow, spec) in evidence.flows() {
        if let Some((_, owner)) = first(flow).filter(|(at, _)| *at == epoch) {
            seen.entry(evidence.oracle().forward_key(&spec.forward)).or_insert(owner);
        }
    }
    for owner in seen.values() {
        *spread.keys.entry(*owner).or_default() += 1;
    }
    if let Some(matrix) = evidence.agreement.epochs[epoch].matrix {
        spread.members = matrix.admitted.iter().filter_map(|one| evidence.places.index(one.member)).collect();
        for bucket in &matrix.buckets {
            if let Some(owner) = evidence.places.index(bucket.owner) {
                *spread.buckets.entry(owner).or_default() += 1;
            }
        }
    }
    spread
}

/// Each member has its share of the keys.
pub struct Evenness;

impl Checker for Evenness {
    fn name(&self) -> &'static str {
        "evenness"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let spread = spread(evidence);
        let said = Said::of("evenness", "|x - E| <= 5 % E + 3.5 sqrt(E (1 - w)), on distinct keys");
        let all: u64 = spread.keys.values().sum();
        if all == 0 || spread.members.is_empty() {
            return vec![said.invalid_if(Some("no keys, or no matrix, in the first epoch".to_owned())).done()];
        }
        let n = spread.members.len() as f64;
        let (weight, expected) = (1.0 / n, all as f64 / n);
        let counts: Vec<f64> =
            spread.members.iter().map(|member| spread.keys.get(member).copied().unwrap_or(0) as f64).collect();
        let limit = tolerance(expected, weight);
        let uneven = spread.members.iter().zip(&counts).filter(|(_, x)| (*x - expected).abs() > limit);
        let uneven = uneven
            .map(|(member, x)| {
                format!("{}: {x} keys, expected {expected:.1} +- {limit:.1}", evidence.places.name(*member))
            })
            .collect();
        let variance = counts.iter().map(|x| (x - expected).powi(2)).sum::<f64>() / n;
        let squares: f64 = counts.iter().map(|x| x * x).sum();
        let total: f64 = counts.iter().sum();
        let jain = if squares > 0.0 { total * total / (n * squares) } else { 0.0 };
        let max = counts.iter().copied().fold(0.0, f64::max);
        let chi = counts.iter().map(|x| (x - expected).powi(2) / expected).sum();
        let value = format!(
            "{all} keys over {n} members: max/mean {:.3}, CV {:.4}, Jain {jain:.4}, chi-square p {:.3}",
            max / expected,
            variance.sqrt() / expected,
            chi_square_p(chi, n - 1.0)
        );
        vec![said.value(value).accuracy(format!("+-{limit:.1} keys of {expected:.1}")).fail_if(uneven).done()]
    }
}

/// Why a packet had to be passed from member to member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The two directions have different keys.
    Algebra,
    /// The connection is older than the matrix: its owner kept it, or its state moved.
    PlannedMove,
    /// Nothing explains it.
    Other,
}

impl Cause {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Algebra => "algebra",
            Self::PlannedMove => "planned-move",
            Self::Other => "other",
        }
    }
}

/// Counted corrections.
#[derive(Debug, Default)]
pub(crate) struct Corrections {
    /// Of IPv4 flows.
    pub ipv4: Counted,
    /// Of IPv6 flows.
    pub ipv6: Counted,
    /// Handed over by the pivot.
    pub handed_over: u64,
    /// Passed-on packets by cause.
    pub by_cause: BTreeMap<Cause, u64>,
    /// Packets without a cause.
    pub unexplained: Vec<String>,
}

impl Corrections {
    /// Packets of both families that were processed, by direction.
    pub fn packets(&self) -> [u64; 2] {
        [0, 1].map(|side| self.ipv4.packets[side] + self.ipv6.packets[side])
    }

    /// Those of them that were passed on by the correction layer.
    pub fn corrected(&self) -> [u64; 2] {
        [0, 1].map(|side| self.ipv4.corrected[side] + self.ipv6.corrected[side])
    }
}

/// What was counted of the flows of one family.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Packets that were processed, by direction.
    packets: [u64; 2],
    /// Packets passed on by the correction layer, by direction.
    corrected: [u64; 2],
    /// Packets by return key, and how many of them were corrected.
    keys: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Counted {
    /// The share of packets from the server that were passed on by the correction layer, if there were any.
    pub fn corrected_return(&self) -> Option<f64> {
        (self.packets[1] > 0).then(|| share(self.corrected[1], self.packets[1]))
    }

    /// Distinct return keys, and those whose packets were mostly corrected.
    fn return_keys(&self) -> (u64, u64) {
        let mostly = self.keys.values().filter(|(packets, corrected)| corrected * 2 > *packets).count();
        (self.keys.len() as u64, mostly as u64)
    }
}

/// Counts corrections over the whole run.
pub(crate) fn corrections(evidence: &Evidence<'_>) -> Corrections {
    let mut counted = Corrections::default();
    for (flow, spec) in evidence.flows() {
        for side in 0..2 {
            let (mut packets, mut corrected) = (0, 0);
            for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                if journey.delivered == 0 {
                    continue;
                }
                packets += 1;
                counted.handed_over += u64::from(journey.handed_over);
                if journey.hops > 0 {
                    corrected += 1;
                    let cause = cause(evidence, flow, journey);
                    *counted.by_cause.entry(cause).or_default() += 1;
                    if cause == Cause::Other && counted.unexplained.len() <= SHOWN {
                        counted.unexplained.push(evidence.path(flow, side, sequence));
                    }
                }
            }
            let family = if spec.forward.is_ipv4() { &mut counted.ipv4 } else { &mut counted.ipv6 };
            family.packets[side] += packets;
            family.corrected[side] += corrected;
            if side == 1 && packets > 0 {
                let key = evidence.oracle().return_key(&spec.forward);
                // A key that holds an unpredicted port is a key of its own.
                let key = key.unwrap_or_else(|| flow.to_be_bytes().to_vec());
                let tally = family.keys.entry(key).or_default();
                *tally = (tally.0 + packets, tally.1 + corrected);
            }
        }
    }
    counted
}

fn cause(evidence: &Evidence<'_>, flow: usize, journey: &Journey) -> Cause {
    let agreement = &evidence.agreement;
    let oracle = evidence.oracle();
    let spec = &evidence.schedule.flows[flow];
    let Some(epoch) = agreement.before(journey.sent) else { return Cause::Other };
    let dealt = |key: Option<Vec<u8>>| key.and_then(|key| oracle.owner(&key, epoch.matrix?));
    let (forward, back) = (dealt(Some(oracle.forward_key(&spec.forward))), dealt(oracle.return_key(&spec.forward)));
    let began = evidence.schedule.start + spec.first.saturating_sub(scalebed_record::traffic::HANDSHAKE_LEAD);
    let margin = 2 * evidence.unit();
    if began < epoch.from + margin && epoch.from > evidence.schedule.start {
        return Cause::PlannedMove;
    }
    // A packet may be on its way to the orchestrator when that accepts: the edge counts either way.
    let around = |at: u64| at.saturating_sub(crate::events::EDGE)..=at + margin;
    let ending = agreement.changes.iter().any(|(at, _)| around(*at).contains(&journey.sent));
    if ending {
        return Cause::PlannedMove;
    }
    if back.is_none() || forward != back { Cause::Algebra } else { Cause::Other }
}

/// The share of corrected return packets is what the algebra says, and nothing is corrected without a cause.
pub struct Correction;

impl Checker for Correction {
    fn name(&self) -> &'static str {
        "correction-share"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let counted = corrections(evidence);
        let expect = &evidence.scenario().expect;
        let scheduled = |v4: bool| evidence.flows().any(|(_, spec)| spec.forward.is_ipv4() == v4);
        let ipv4 = expect.corrected_return_share.map(|expected| corrected("correction-share", expected, &counted.ipv4));
        let ipv6 = expect.corrected_return_share6.filter(|_| scheduled(false));
        let ipv6 = ipv6.map(|expected| corrected("correction-share-ipv6", expected, &counted.ipv6));
        let cause = Said::of("correction-cause", "every correction has a cause in the algebra or in a move")
            .value(format!("{} corrections", counted.corrected().iter().sum::<u64>()))
            .fail_if(counted.unexplained)
            .done();
        std::iter::once(cause).chain(ipv4).chain(ipv6).collect()
    }
}

/// The share of one family against what a scenario expects.
fn corrected(check: &str, expected: Share, counted: &Counted) -> Verdict {
    let [forward, back] = [0, 1].map(|side| share(counted.corrected[side], counted.packets[side]) * 100.0);
    let (keys, corrected) = counted.return_keys();
    let weight = f64::from(expected.of) / f64::from(expected.total.max(1));
    let mean = keys as f64 * weight;
    let limit = if expected.of == 0 { 0.0 } else { tolerance(mean, weight) };
    let off = (corrected as f64 - mean).abs() > limit || expected.of == 0 && counted.corrected != [0, 0];
    let value = format!("{back:.3} % of return packets, {forward:.3} % of forward; {corrected} of {keys} keys");
    let evidence_text = format!("{corrected} of {keys} return keys corrected, expected {mean:.1} +- {limit:.1}");
    Said::of(check, format!("{}/{} of return packets", expected.of, expected.total))
        .value(value)
        .accuracy(if expected.of == 0 { "exact".to_owned() } else { format!("+-{limit:.1} keys") })
        .fail_if(if off { vec![evidence_text] } else { Vec::new() })
        .invalid_if((keys == 0).then(|| "no return packet arrived".to_owned()))
        .done()
}
