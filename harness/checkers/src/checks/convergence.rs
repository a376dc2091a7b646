//! Convergence after each event: measured on probes, counted on all flows, and held against the prediction flow by flow.

use std::collections::BTreeMap;

use scalebed_record::{Fact, Verdict};
use scalebed_topologies::scenario::{Action, Outcome};

use super::{SHOWN, Said};
use crate::Checker;
use crate::events::{EDGE, Happening, Victim};
use crate::evidence::{Evidence, MS};
use crate::numbers::quantile;

/// A loop that ran later than this while an event was detected and repaired makes a timing bar invalid, ns.
const STALL: u64 = 25 * MS;

/// Width of a bin of rate-derived convergence, ns.
const BIN: u64 = 10 * MS;
/// Delivered share of what was offered in a bin, from which the service counts as restored.
const RESTORED: f64 = 0.95;

/// What an event did to one direction of one probe.
#[derive(Clone, Copy, Debug)]
struct Gap {
    flow: usize,
    /// Loss-derived, ms: slots lost, and slots that the generator skipped between two that were lost.
    loss: f64,
    /// From the last unimpaired packet before to the first after, ms.
    gap: f64,
    /// First packet after which nothing is lost, ms after the event.
    converged: f64,
    /// First lost packet, ms after the event.
    detected: f64,
    /// One probe interval, ms.
    interval: f64,
    /// How long the generator skipped this probe's slots before the first loss, ms.
    blind_before: f64,
    /// And after the last one, ms: so much later than in truth `converged` may read, never earlier.
    blind_after: f64,
    /// Losses without a delivered packet in between.
    whole: bool,
}

/// An event, measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Probe directions that lost packets.
    pub impaired: usize,
    /// First convergence, ms.
    pub first_ms: Option<f64>,
    /// Full convergence, ms.
    pub full_ms: Option<f64>,
    /// No less than this in truth, ms: without what the generator skipped.
    pub least_ms: f64,
    /// Loss-derived: median and max, ms.
    pub loss_ms: Option<(f64, f64)>,
    /// Gap-based: median and max, ms.
    pub gap_ms: Option<(f64, f64)>,
    /// Rate-derived: end of the last bin in which probes arrived below the threshold, ms; to a bin.
    pub rate_ms: Option<f64>,
    /// Worst accuracy, ms.
    pub accuracy_ms: f64,
    /// Flows hurt.
    pub hurt: Vec<usize>,
    /// Flows that may be hurt.
    pub predicted: usize,
    /// Packets lost.
    pub lost: u64,
    /// Hurt, and not predicted to be.
    pub surprises: Vec<String>,
    /// Predicted to be hurt with a packet due well inside the gap, and not hurt.
    pub spared: Vec<String>,
    /// Loss-derived and gap-based disagree though nothing arrived in between.
    pub disagree: Vec<String>,
    /// Percentiles of convergence, in words.
    pub spread: String,
}

/// Measures one event.
pub(crate) fn measure(evidence: &Evidence<'_>, happening: &Happening) -> Measured {
    let mut by_packet: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
    let mut measured = Measured::default();
    for loss in &evidence.losses {
        let here = match loss.excuse.and_then(|place| evidence.happenings.get(place)) {
            Some(excuse) => excuse.index == happening.index,
            None => loss.at + EDGE >= happening.at && loss.at < happening.until,
        };
        // Connections that died in the gap lose on; that is their fate, not the cluster's convergence.
        let dead = happening.predictions[loss.flow].doomed && loss.at >= happening.window;
        if here && !dead {
            measured.lost += 1;
            let lost = by_packet.entry((loss.flow, loss.side)).or_default();
            if lost.last() != Some(&loss.sequence) {
                lost.push(loss.sequence);
            }
        }
    }
    let probes = by_packet.iter().filter(|((flow, _), _)| evidence.is_probe(*flow));
    let gaps: Vec<Gap> = probes.map(|((flow, side), lost)| gap(evidence, happening, *flow, *side, lost)).collect();
    summarise(&mut measured, &gaps);
    measured.rate_ms = rate_derived(evidence, happening);
    measured.predicted = happening.predictions.iter().filter(|prediction| prediction.hurt).count();
    measured.hurt = by_packet.keys().map(|(flow, _)| *flow).collect();
    measured.hurt.dedup();
    for flow in &measured.hurt {
        if !happening.predictions[*flow].hurt {
            let lost = [0, 1].iter().find_map(|side| by_packet.get(&(*flow, *side)).map(|lost| (*side, lost[0])));
            let path = lost.map_or_else(String::new, |(side, sequence)| evidence.path(*flow, side, sequence));
            measured.surprises.push(format!("hurt but not predicted: {path}"));
        }
    }
    spared(evidence, happening, &gaps, &by_packet, &mut measured);
    measured
}

fn gap(evidence: &Evidence<'_>, happening: &Happening, flow: usize, side: usize, lost: &[u32]) -> Gap {
    let interval = 1e3 / f64::from(evidence.schedule.flows[flow].rate.max(1));
    let (first, last) = (lost[0], lost[lost.len() - 1]);
    let at = |sequence: u32| evidence.journey(flow, side, sequence).offered;
    let ms = |from: u64, to: u64| (to as f64 - from as f64) / MS as f64;
    let journeys = evidence.journeys(flow, side);
    let offered = |range: std::ops::Range<usize>| journeys[range].iter().filter(|journey| journey.offered != 0);
    let before = offered(0..first as usize).next_back().map(|journey| journey.offered);
    let after = offered(last as usize + 1..journeys.len()).next().map(|journey| journey.offered);
    let end = after.unwrap_or(at(last));
    let within = &journeys[first as usize..=last as usize];
    let delivered = within.iter().any(|journey| journey.delivered != 0);
    // A generator that stood still sent nothing in these slots: taps at its own cables say so.
    let skipped = within.iter().filter(|journey| journey.offered == 0).count();
    let slots = if delivered { lost.len() } else { lost.len() + skipped };
    let blind = |from, to| (ms(from, to) - interval).max(0.0);
    Gap {
        flow,
        loss: slots as f64 * interval,
        gap: ms(before.unwrap_or(at(first)), end),
        converged: ms(happening.at, end),
        detected: ms(happening.at, at(first)),
        interval,
        blind_before: before.map_or(0.0, |before| blind(before, at(first))),
        blind_after: after.map_or(0.0, |after| blind(at(last), after)),
        whole: !delivered && before.is_some() && after.is_some(),
    }
}

fn summarise(measured: &mut Measured, gaps: &[Gap]) {
    measured.impaired = gaps.len();
    let most = |of: fn(&Gap) -> f64| gaps.iter().map(of).fold(0.0, f64::max);
    measured.accuracy_ms = most(|gap| gap.interval + gap.blind_after);
    measured.least_ms = most(|gap| gap.converged - gap.blind_after);
    if gaps.is_empty() {
        return;
    }
    let sorted = |of: fn(&Gap) -> f64| {
        let mut values: Vec<f64> = gaps.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let converged = sorted(|gap| gap.converged);
    let of = |values: &[f64]| Some((quantile(values, 0.5), quantile(values, 1.0)));
    measured.first_ms = converged.first().copied();
    measured.full_ms = converged.last().copied();
    measured.loss_ms = of(&sorted(|gap| gap.loss));
    measured.gap_ms = of(&sorted(|gap| gap.gap));
    let detected = sorted(|gap| gap.detected);
    measured.spread = format!(
        "min {:.1} median {:.1} p95 {:.1} p99 {:.1} max {:.1} ms, first lost after {:.1} ms",
        quantile(&converged, 0.0),
        quantile(&converged, 0.5),
        quantile(&converged, 0.95),
        quantile(&converged, 0.99),
        quantile(&converged, 1.0),
        detected[0]
    );
    for gap in gaps {
        // One loss period: n packets lost are a gap of n + 1 intervals, and of what was skipped around them.
        let seen = gap.gap - gap.blind_before - gap.blind_after;
        if gap.whole && (seen - gap.loss).abs() > 2.0 * gap.interval {
            let text = format!("flow {}: loss-derived {:.1} ms, gap {:.1} ms", gap.flow, gap.loss, gap.gap);
            measured.disagree.push(text);
        }
    }
}

/// Bins of all probes, by the time they were offered.
fn rate_derived(evidence: &Evidence<'_>, happening: &Happening) -> Option<f64> {
    let mut bins: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    for (flow, _) in evidence.flows().filter(|(flow, _)| evidence.is_probe(*flow)) {
        for journey in (0..2).flat_map(|side| evidence.journeys(flow, side)) {
            if (happening.at..happening.until).contains(&journey.offered) {
                let bin = bins.entry((journey.offered - happening.at) / BIN).or_default();
                *bin = (bin.0 + 1, bin.1 + u32::from(!journey.lost()));
            }
        }
    }
    let below = |(offered, arrived): &(u32, u32)| f64::from(*arrived) < RESTORED * f64::from(*offered);
    let last = bins.iter().rev().find(|(_, bin)| below(bin)).map(|(bin, _)| *bin)?;
    Some(((last + 1) * BIN) as f64 / MS as f64)
}

/// A flow that went through what is dead can't deliver in the gap: what did is evidence of a wrong prediction.
fn spared(
    evidence: &Evidence<'_>,
    happening: &Happening,
    gaps: &[Gap],
    lost: &BTreeMap<(usize, usize), Vec<u32>>,
    measured: &mut Measured,
) {
    // A member that loses Sync serves until it has noticed.
    if !matches!(happening.victim, Victim::Member(..)) || matches!(happening.action, Action::Fault(_)) {
        return;
    }
    let earliest = gaps.iter().map(|gap| gap.converged).fold(f64::INFINITY, f64::min);
    if !earliest.is_finite() {
        return;
    }
    let to = happening.at.saturating_add((earliest * MS as f64) as u64).saturating_sub(EDGE);
    let from = happening.after + EDGE;
    for (flow, prediction) in happening.predictions.iter().enumerate() {
        for side in [0, 1].into_iter().filter(|side| prediction.through[*side]) {
            let inside = (0u32..).zip(evidence.journeys(flow, side));
            let inside = inside.filter(|(_, journey)| (from..to).contains(&journey.offered) && journey.attempts == 1);
            for (sequence, journey) in inside {
                if journey.delivered != 0 && !lost.contains_key(&(flow, side)) && measured.spared.len() <= SHOWN {
                    measured.spared.push(format!("predicted hurt, but not: {}", evidence.path(flow, side, sequence)));
                }
            }
        }
    }
}

/// Each event: measured, and exactly the predicted flows hurt.
pub struct Convergence;

impl Checker for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        evidence.happenings.iter().map(|happening| verdict(evidence, happening)).collect()
    }
}

fn verdict(evidence: &Evidence<'_>, happening: &Happening) -> Verdict {
    let measured = measure(evidence, happening);
    let limit = match happening.outcome {
        Outcome::NoLoss => "no flow hurt",
        Outcome::BoundedLoss | Outcome::YoungLost => "hurt flows = predicted flows with a packet due in the gap",
    };
    let hurt = measured.hurt.len();
    let value = if measured.impaired > 0 {
        let (loss, gap) = (measured.loss_ms.unwrap_or_default(), measured.gap_ms.unwrap_or_default());
        format!(
            "{}: {hurt} flows hurt of {} predicted; {} probe directions, {}; loss-derived median {:.1} max {:.1} ms, \
             gap median {:.1} max {:.1} ms, rate-derived {:.0} ms",
            happening.text,
            measured.predicted,
            measured.impaired,
            measured.spread,
            loss.0,
            loss.1,
            gap.0,
            gap.1,
            measured.rate_ms.unwrap_or(0.0)
        )
    } else {
        format!("{}: {hurt} flows hurt of {} predicted", happening.text, measured.predicted)
    };
    // A member that is gone and takes nothing with it: nobody was looking at it.
    let taken = matches!(happening.victim, Victim::Member(..)) && happening.outcome != Outcome::NoLoss;
    let through = |(flow, prediction): (usize, &crate::events::Prediction)| {
        evidence.is_probe(flow) && prediction.through != [false; 2]
    };
    let watched = happening.predictions.iter().enumerate().any(through);
    // A cable of nothing but control frames: that it was broken is another verdict's.
    let seen_otherwise = matches!(happening.action, Action::Fault(_)) && happening.outcome == Outcome::NoLoss;
    let invalid = if taken && measured.impaired == 0 {
        Some("no probe was hurt: the event was not seen".to_owned())
    } else if happening.victim != Victim::Nobody && !watched && !seen_otherwise {
        Some("no probe went through the victim before the event".to_owned())
    } else {
        measured.disagree.first().cloned()
    };
    let mut evidence = measured.surprises;
    evidence.extend(measured.spared);
    Said::of(&format!("convergence-{}", happening.index + 1), limit)
        .value(value)
        .accuracy(if measured.impaired > 0 { format!("+-{:.1} ms", measured.accuracy_ms) } else { String::new() })
        .fail_if(evidence)
        .invalid_if(invalid)
        .done()
}

/// The bars on full convergence of the first event, invalid when a loop stood still.
pub struct Bar;

impl Checker for Bar {
    fn name(&self) -> &'static str {
        "convergence-bar"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let expect = &evidence.scenario().expect;
        let unit = f64::from(evidence.lab().group.unit_ms);
        let limit = expect.convergence_ms.or(expect.convergence_units.map(|units| units * unit));
        let Some(limit) = limit else { return Vec::new() };
        let said = Said::of("convergence-bar", format!("{limit:.0} ms"));
        let Some(happening) = evidence.happenings.first() else {
            return vec![said.invalid_if(Some("the event was not carried out".to_owned())).done()];
        };
        let measured = measure(evidence, happening);
        let full = measured.full_ms.unwrap_or(0.0);
        let stalled = stalled(evidence, happening, full.max(limit));
        let value = format!("{full:.1} ms, {:.2} units", full / unit);
        let said = said.value(value).accuracy(format!("+-{:.1} ms", measured.accuracy_ms));
        let skipped = (full > limit && measured.least_ms <= limit)
            .then(|| format!("over it only by what the generator skipped: at least {:.1} ms", measured.least_ms));
        if let Some(reason) = stalled.or(skipped) {
            return vec![said.invalid_if(Some(reason)).done()];
        }
        let over = if full > limit { vec![format!("{}: {full:.1} ms", happening.text)] } else { Vec::new() };
        let kill = matches!(happening.action, Action::Kill(_) | Action::PowerOff(_) | Action::Hang { .. });
        let unseen = (kill && measured.impaired == 0).then(|| "no probe was hurt".to_owned());
        vec![said.fail_if(over).invalid_if(unseen).done()]
    }
}

/// A loop that stood still while the event was detected and repaired: from the silence that counts as death before it,
/// to `ms` after it. What stood still outside of that can't have moved the number.
fn stalled(evidence: &Evidence<'_>, happening: &Happening, ms: f64) -> Option<String> {
    let group = &evidence.lab().group;
    let from = happening.at.saturating_sub(u64::from(group.dead_units) * u64::from(group.unit_ms) * MS);
    let to = happening.after.saturating_add((ms * MS as f64) as u64);
    evidence.input.history.entries.iter().find_map(|entry| match &entry.fact {
        // It was noticed when it was over.
        Fact::Stall { who, late } if *late > STALL && entry.at >= from && entry.at.saturating_sub(*late) <= to => {
            Some(format!("{who} ran {:.1} ms late", *late as f64 / MS as f64))
        }
        _ => None,
    })
}
