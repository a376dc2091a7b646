//! Faults of cables, proved by taps: in force while they stand, and gone when they are mended.

use std::collections::BTreeSet;

use scalebed_record::{TapId, Verdict};
use scalebed_topologies::fault::{BURST, HELD_BACK_MS, Impairment, Kind};
use scalebed_topologies::scenario::{Action, CableFault};

use super::Said;
use crate::Checker;
use crate::events::{EDGE, Happening};
use crate::evidence::{Evidence, MS};
use crate::losses::Loss;
use crate::numbers::{quantile, wilson_4, wilson_99};
use crate::packets::DIRECTIONS;
use crate::places::Role;

/// So long is looked at before a fault, and after it was mended.
const LOOK: u64 = 2_000 * MS;
/// What was under way or held back has come when so much has passed since the mending.
const SETTLES: u64 = 500 * MS;
/// A median of delays is as it should be within so many ms.
const DELAY_TOLERANCE: f64 = 1.0;
/// A share is judged if so many cases of it are expected.
const CASES: f64 = 5.0;
const MILLION: f64 = 1e6;

/// Each fault of cables.
pub struct Cables;

impl Checker for Cables {
    fn name(&self) -> &'static str {
        "cable"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let of = |happening: &Happening| match &happening.action {
            Action::Fault(fault) => Some(verdict(evidence, happening, fault)),
            _ => None,
        };
        let of_lab = (1..).zip(&evidence.lab().impairments).map(|(number, fault)| standing(evidence, number, fault));
        of_lab.chain(evidence.happenings.iter().filter_map(of)).collect()
    }
}

/// What passed a cable one way in a time.
#[derive(Debug, Default)]
struct Passed {
    /// Frames of any kind that came out of it.
    frames: u64,
    /// Their bytes.
    bytes: u64,
    /// Packets of the generator that came to the node before it, and then out of it.
    packets: u32,
    /// Of the same node, out of the fault's other cables: where a lost one was to go nobody can tell.
    beside: u32,
    /// That came to the node before it, and nowhere after that.
    lost: u32,
    /// That came out once more.
    doubled: u32,
    /// From the node before it to its end, ms, sorted.
    transits: Vec<f64>,
}

impl Passed {
    fn median(&self) -> Option<f64> {
        (!self.transits.is_empty()).then(|| quantile(&self.transits, 0.5))
    }
}

/// Before, while, after: from, to.
type Times = [(u64, u64); 3];

fn verdict(evidence: &Evidence<'_>, happening: &Happening, fault: &CableFault) -> Verdict {
    let does = fault.impairment();
    let slack = EDGE + u64::from(does.delay_us + does.jitter_us) * 1_000 + HELD_BACK_MS * MS;
    let (since, until) = undisturbed(evidence, happening, fault);
    let times: Times = [
        (happening.at.saturating_sub(LOOK).max(since), happening.at.saturating_sub(EDGE)),
        (happening.after + slack, happening.healed.saturating_sub(EDGE)),
        (happening.healed + SETTLES, (happening.healed + SETTLES + LOOK).min(until)),
    ];
    let said = Said::of(&format!("cable-{}", happening.index + 1), "in force as written, then as it was before");
    if times.iter().any(|(from, to)| from + 10 * EDGE > *to) {
        let text = "it stood, or was gone, for too short a time to be seen";
        return said.value(happening.text.clone()).invalid_if(Some(text.to_owned())).done();
    }
    let others = of_others(evidence, |excuse| excuse.is_none_or(|excuse| excuse.index == happening.index));
    let (mut words, mut wrong, mut seen) = (Vec::new(), Vec::new(), false);
    for (cable, to_b, passed) in ways(evidence, fault, &times, &others) {
        seen |= passed[0].frames > 0;
        let way = way(evidence, cable, to_b);
        let cut = if to_b { does.cut_to_b } else { does.cut_to_a };
        let mut judged = Judged { words: Vec::new(), wrong: Vec::new() };
        if fault.some(|kind| matches!(kind, Kind::Unplug)) || cut {
            judged.silent(&passed);
        } else if fault.some(Kind::unplugs) {
            judged.flapping(&passed, &times);
        } else {
            judged.impaired(&passed, &does, &times);
        }
        judged.mended(&passed);
        words.push(format!("{way}: {}", judged.words.join(", ")));
        wrong.extend(judged.wrong.into_iter().map(|text| format!("{way}: {text}")));
    }
    let vacuous = (!seen).then(|| "no frame passed there before".to_owned());
    said.value(format!("{}: {}", happening.text, words.join("; "))).fail_if(wrong).invalid_if(vacuous).done()
}

/// From when to when no other event does anything to these cables.
fn undisturbed(evidence: &Evidence<'_>, happening: &Happening, fault: &CableFault) -> (u64, u64) {
    let same = |other: &&Happening| {
        other.index != happening.index && other.cables.iter().any(|cable| fault.cables.contains(cable))
    };
    let others = || evidence.happenings.iter().filter(same);
    let before = others().filter(|other| other.at < happening.at).map(|other| other.healed + SETTLES);
    let after = others().filter(|other| other.at > happening.at).map(|other| other.at);
    let end = evidence.schedule.start + evidence.schedule.end;
    (before.max().unwrap_or(0), after.min().unwrap_or(end).min(end))
}

/// A lab's own: there is nothing before and after it to compare with.
fn standing(evidence: &Evidence<'_>, number: usize, fault: &CableFault) -> Verdict {
    let does = fault.impairment();
    let all = (evidence.schedule.start, evidence.schedule.start + evidence.schedule.end);
    let others = of_others(evidence, |excuse| excuse.is_none());
    let (mut words, mut wrong, mut seen) = (Vec::new(), Vec::new(), false);
    for (cable, to_b, passed) in ways(evidence, fault, &[(0, 0), all, (0, 0)], &others) {
        let cut = if to_b { does.cut_to_b } else { does.cut_to_a };
        seen |= passed[1].frames > 0 || cut;
        let mut judged = Judged { words: Vec::new(), wrong: Vec::new() };
        if cut {
            judged.silent(&passed);
        } else {
            judged.shares(&passed[1], &does);
            judged.took(&passed[1], &does);
        }
        let way = way(evidence, cable, to_b);
        words.push(format!("{way}: {}", judged.words.join(", ")));
        wrong.extend(judged.wrong.into_iter().map(|text| format!("{way}: {text}")));
    }
    let vacuous = (!seen).then(|| "no frame passed there".to_owned());
    Said::of(&format!("lab-cable-{number}"), "in force as the lab's file says")
        .value(words.join("; "))
        .fail_if(wrong)
        .invalid_if(vacuous)
        .done()
}

/// `mho1>sgm-1-02`.
fn way(evidence: &Evidence<'_>, cable: u16, to_b: bool) -> String {
    let Some(cable) = evidence.lab().cables.get(usize::from(cable)) else { return String::new() };
    let name = |node: u16| evidence.lab().nodes[usize::from(node)].name.as_str();
    let (from, to) = if to_b { (cable.a.node, cable.b.node) } else { (cable.b.node, cable.a.node) };
    format!("{}>{}", name(from), name(to))
}

/// Packets that were lost for another reason: by flow, direction, number.
type Others = BTreeSet<(usize, usize, u32)>;

/// Losses of events that are not `mine`.
fn of_others(evidence: &Evidence<'_>, mine: impl Fn(Option<&Happening>) -> bool) -> Others {
    let excuse = |loss: &Loss| loss.excuse.and_then(|place| evidence.happenings.get(place));
    let others = evidence.losses.iter().filter(|loss| !mine(excuse(loss)));
    others.map(|loss| (loss.flow, loss.side, loss.sequence)).collect()
}

/// Both ways of every cable of a fault.
fn ways(evidence: &Evidence<'_>, fault: &CableFault, times: &Times, others: &Others) -> Vec<(u16, bool, [Passed; 3])> {
    let both = fault.cables.iter().flat_map(|cable| [(*cable, true), (*cable, false)]);
    let mut ways: Vec<_> =
        both.map(|(cable, to_b)| (cable, to_b, passed(evidence, cable, to_b, times, others))).collect();
    let sender = |cable: u16, to_b: bool| {
        let spec = evidence.lab().cables.get(usize::from(cable));
        spec.map(|cable| if to_b { cable.a.node } else { cable.b.node })
    };
    let counts: Vec<_> = ways
        .iter()
        .map(|(cable, to_b, passed)| (*cable, sender(*cable, *to_b), passed.each_ref().map(|time| time.packets)))
        .collect();
    for (cable, to_b, passed) in &mut ways {
        let of_node = counts.iter().filter(|(other, node, _)| other != cable && *node == sender(*cable, *to_b));
        for (_, _, packets) in of_node {
            passed.iter_mut().zip(packets).for_each(|(time, packets)| time.beside += packets);
        }
    }
    ways
}

/// Reads the taps: the one at the cable's end, and those at the node before it.
fn passed(evidence: &Evidence<'_>, cable: u16, to_b: bool, times: &Times, others: &Others) -> [Passed; 3] {
    let mut passed: [Passed; 3] = Default::default();
    let Some(spec) = evidence.lab().cables.get(usize::from(cable)) else { return passed };
    let sender = if to_b { spec.a.node } else { spec.b.node };
    let out = TapId::new(cable, to_b);
    let at_sender: Vec<bool> =
        evidence.lab().cables.iter().flat_map(|cable| [cable.a.node == sender, cable.b.node == sender]).collect();
    let when = |at: u64| times.iter().position(|(from, to)| (*from..*to).contains(&at));
    for seen in evidence.observations().iter().filter(|seen| seen.tap == out) {
        if let Some(when) = when(seen.at) {
            passed[when].frames += 1;
            passed[when].bytes += u64::from(seen.length);
        }
    }
    for (flow, _) in evidence.flows() {
        for side in 0..DIRECTIONS.len() {
            for sequence in 0..evidence.packets.count(flow, side) {
                let path = evidence.packets.path(evidence.packets.id(flow, side, sequence));
                // What is tried again is told apart by its attempt; almost nothing is.
                let mut reached: Vec<(u8, u64, bool)> = Vec::new();
                for &index in path {
                    let seen = &evidence.observations()[index as usize];
                    let attempt = seen.probe.map_or(0, |probe| probe.attempt);
                    if at_sender.get(usize::from(seen.tap.0)).copied().unwrap_or(false) {
                        reached.push((attempt, seen.at, false));
                        continue;
                    }
                    // What a cable before this one doubled came twice: the first that has not gone on goes on.
                    let mut of_it = reached.iter_mut().filter(|(of, ..)| *of == attempt);
                    let next = of_it.find(|(.., gone)| !gone);
                    let (first, at) = match next {
                        Some((_, at, gone)) => {
                            *gone = true;
                            (true, *at)
                        }
                        None => match reached.iter().rev().find(|(of, ..)| *of == attempt) {
                            Some((_, at, _)) => (false, *at),
                            None => continue,
                        },
                    };
                    let Some(when) = when(at) else { continue };
                    match (seen.tap == out, first) {
                        (true, true) => {
                            passed[when].packets += 1;
                            passed[when].transits.push((seen.at - at) as f64 / MS as f64);
                        }
                        (true, false) => passed[when].doubled += 1,
                        (false, _) => {}
                    }
                }
                // A switch that floods shows a packet to nodes that let it be: it is lost only if it did not arrive.
                let arrived = |attempt: u8| {
                    path.iter().map(|index| &evidence.observations()[*index as usize]).any(|seen| {
                        matches!(evidence.places.at(seen.tap).to, Role::Generator(_))
                            && seen.probe.is_some_and(|probe| probe.attempt == attempt)
                    })
                };
                let mine = !others.contains(&(flow, side, sequence));
                for (attempt, at, _) in reached.iter().filter(|(.., gone)| !gone && mine) {
                    if let Some(when) = when(*at).filter(|_| !arrived(*attempt)) {
                        passed[when].lost += 1;
                    }
                }
            }
        }
    }
    for time in &mut passed {
        time.transits.sort_by(f64::total_cmp);
    }
    passed
}

/// One way of one cable, held against what was to be done to it.
struct Judged {
    words: Vec<String>,
    wrong: Vec<String>,
}

impl Judged {
    /// Nothing passes.
    fn silent(&mut self, [before, stands, _]: &[Passed; 3]) {
        self.words.push(format!("{} frames before, {} while it stood", before.frames, stands.frames));
        if stands.frames > 0 {
            self.wrong.push(format!("{} frames passed while it stood", stands.frames));
        }
    }

    /// It is up for half of the time.
    fn flapping(&mut self, [before, stands, _]: &[Passed; 3], times: &Times) {
        let rate = |passed: &Passed, (from, to): (u64, u64)| passed.frames as f64 / ((to - from) as f64 / 1e9);
        let (usual, now) = (rate(before, times[0]), rate(stands, times[1]));
        self.words.push(format!("{usual:.0} frames a second before, {now:.0} while it flapped"));
        if before.frames > 0 && now > 0.8 * usual {
            self.wrong.push(format!("{now:.0} frames a second passed while it flapped, {usual:.0} before"));
        }
    }

    fn impaired(&mut self, [before, stands, _]: &[Passed; 3], does: &Impairment, times: &Times) {
        self.shares(stands, does);
        if does.mbit == 0 {
            self.delay(before, stands, does);
            return;
        }
        let mbit = |passed: &Passed, (from, to): (u64, u64)| passed.bytes as f64 * 8e3 / (to - from) as f64;
        let (usual, now) = (mbit(before, times[0]), mbit(stands, times[1]));
        self.words.push(format!("{usual:.2} Mbit/s before, {now:.2} while it stood"));
        if now > 1.02 * f64::from(does.mbit) {
            self.wrong.push(format!("{now:.2} Mbit/s passed"));
        }
    }

    /// Lost, doubled, held back.
    fn shares(&mut self, stands: &Passed, does: &Impairment) {
        let kept = |share: u32| 1.0 - f64::from(share) / MILLION;
        let lost = 1.0 - kept(does.loss) * kept(does.burst) * kept(does.altered);
        // Frames that are lost together say as much as one of them.
        let weight = if does.burst > 0 { 2.0 * f64::from(BURST) } else { 1.0 };
        // What does not fit a rate's queue is lost too.
        if does.mbit == 0 {
            self.share("lost", stands.lost, stands.packets + stands.beside + stands.lost, lost, weight);
        }
        self.share("doubled", stands.doubled, stands.packets, f64::from(does.doubled) / MILLION, 1.0);
        if let (Some(median), 0, 1..) = (stands.median(), does.jitter_us, does.held_back) {
            let late = median + HELD_BACK_MS as f64 * 0.75;
            let held = stands.transits.iter().filter(|transit| **transit > late).count();
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            self.share("held back", held, stands.packets, f64::from(does.held_back) / MILLION, 1.0);
        }
    }

    /// From the node before it to its end: what was asked for, and what the node took.
    fn took(&mut self, stands: &Passed, does: &Impairment) {
        let Some(now) = stands.median().filter(|_| does.mbit == 0) else { return };
        let (asked, jitter) = (f64::from(does.delay_us) / 1e3, f64::from(does.jitter_us) / 1e3);
        self.words.push(format!("{now:.2} ms at p50 (asked for {asked:.1})"));
        if now < asked - jitter || now > asked + jitter + DELAY_TOLERANCE {
            self.wrong.push(format!("{now:.2} ms at p50, {asked:.1} were asked for"));
        }
    }

    /// So many of so many, where a share was asked for. Its interval at 99 % is shown; a fail needs more than chance has.
    fn share(&mut self, what: &str, count: u32, all: u32, asked: f64, weight: f64) {
        let (hits, cases) = (f64::from(count) / weight, f64::from(all) / weight);
        let (low, high) = wilson_99(hits, cases);
        let (least, most) = wilson_4(hits, cases);
        // That nothing was to be lost is the verdict on loss: who lost it is not known here.
        let none = count > 0 && what != "lost";
        let judged = if asked > 0.0 { f64::from(all) * asked >= CASES * weight } else { none };
        if judged && asked > 0.0 {
            self.words
                .push(format!("{count} of {all} {what} ({low:.2}..{high:.2} %, asked for {:.2} %)", asked * 100.0));
        }
        if judged && !(least..=most).contains(&(asked * 100.0)) {
            self.wrong.push(format!("{count} of {all} were {what}, {:.2} % were asked for", asked * 100.0));
        }
    }

    fn delay(&mut self, before: &Passed, stands: &Passed, does: &Impairment) {
        let (Some(usual), Some(now)) = (before.median(), stands.median()) else { return };
        let asked = f64::from(does.delay_us) / 1e3;
        // What keeps its order under jitter waits for who is before it: later than in the mean.
        let tolerance = DELAY_TOLERANCE + f64::from(does.jitter_us) / 1e3;
        self.words.push(format!("{:+.2} ms at p50 (asked for {asked:.1})", now - usual));
        if (now - usual - asked).abs() > tolerance {
            self.wrong.push(format!("{:.2} ms longer at p50, {asked:.1} were asked for", now - usual));
        }
    }

    /// As before.
    fn mended(&mut self, [before, _, after]: &[Passed; 3]) {
        self.words.push(format!("{} frames after", after.frames));
        if before.frames > 0 && after.frames == 0 {
            self.wrong.push("nothing passed after it was mended".to_owned());
        }
        if after.lost > 0 || after.doubled > 0 {
            let text = format!("{} lost and {} doubled after it was mended", after.lost, after.doubled);
            self.wrong.push(text);
        }
        if let (Some(usual), Some(now)) = (before.median(), after.median())
            && (now - usual).abs() > DELAY_TOLERANCE
        {
            self.wrong.push(format!("{:+.2} ms at p50 after it was mended", now - usual));
        }
    }
}
