//! Faults of cables, proved by taps: in force while they stand, and gone when they are mended.

use scalebed_record::Verdict;
use scalebed_topologies::fault::{BURST, HELD_BACK_MS, Impairment, Kind};
use scalebed_topologies::scenario::{Action, CableFault};

use super::Said;
use crate::Checker;
use crate::events::{EDGE, Happening};
use crate::evidence::{Evidence, MS};
use crate::numbers::{wilson_4, wilson_99};

mod passed;

use passed::{Passed, Times, Way};

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
    let others = passed::of_others(evidence, |excuse| excuse.is_none_or(|excuse| excuse.index == happening.index));
    let ways = passed::ways(evidence, fault, &times, &others);
    let silenced = |way: &Way| {
        let unplugged = fault.some(|kind| matches!(kind, Kind::Unplug));
        unplugged || way.is_cut(&fault.on(evidence.lab(), way.cable()))
    };
    let vacuous = nothing_to_see(&ways, silenced);
    let judged = Judged::each(evidence, &ways, |judged, way| {
        let does = fault.on(evidence.lab(), way.cable());
        if silenced(way) {
            judged.silent(&way.passed);
        } else if fault.some(Kind::unplugs) {
            judged.flapping(&way.passed, &times);
        } else {
            judged.impaired(&way.passed, &does, &times);
            judged.reordered(way.reordered(evidence, &does, times[1]), &way.passed[1], &does);
        }
        judged.mended(&way.passed);
    });
    judged.say(said, Some(&happening.text), vacuous)
}

/// Why silence would say nothing: there was silence before, on all the ways, or on all that were to fall silent.
fn nothing_to_see(ways: &[Way], silenced: impl Fn(&Way) -> bool) -> Option<&'static str> {
    let passed = |way: &Way| way.passed[0].frames > 0;
    let cut = || ways.iter().filter(|way| silenced(way));
    if !ways.iter().any(passed) {
        return Some("no frame passed there before");
    }
    (cut().next().is_some() && !cut().any(passed)).then_some("no frame passed before where none was to pass")
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
    let others = passed::of_others(evidence, |excuse| excuse.is_none());
    let ways = passed::ways(evidence, fault, &[(0, 0), all, (0, 0)], &others);
    let seen = ways.iter().any(|way| way.passed[1].frames > 0 || way.is_cut(&does));
    let judged = Judged::each(evidence, &ways, |judged, way| {
        if way.is_cut(&does) {
            judged.silent(&way.passed);
        } else {
            judged.shares(&way.passed[1], &does);
            judged.reordered(way.reordered(evidence, &does, all), &way.passed[1], &does);
            judged.took(&way.passed[1], &does);
        }
    });
    let said = Said::of(&format!("lab-cable-{number}"), "in force as the lab's file says");
    judged.say(said, None, (!seen).then_some("no frame passed there"))
}

/// What passed, held against what was to be done to it.
#[derive(Default)]
struct Judged {
    words: Vec<String>,
    wrong: Vec<String>,
}

impl Judged {
    /// Each way by itself, and all in one.
    fn each(evidence: &Evidence<'_>, ways: &[Way], judge: impl Fn(&mut Self, &Way)) -> Self {
        let mut all = Self::default();
        for way in ways {
            let mut one = Self::default();
            judge(&mut one, way);
            let name = way.name(evidence);
            all.words.push(format!("{name}: {}", one.words.join(", ")));
            all.wrong.extend(one.wrong.into_iter().map(|text| format!("{name}: {text}")));
        }
        all
    }

    fn say(self, said: Said, what: Option<&str>, vacuous: Option<&str>) -> Verdict {
        let words = self.words.join("; ");
        let value = what.map_or_else(|| words.clone(), |what| format!("{what}: {words}"));
        said.value(value).fail_if(self.wrong).invalid_if(vacuous.map(str::to_owned)).done()
    }

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

    /// Lost, doubled.
    fn shares(&mut self, stands: &Passed, does: &Impairment) {
        let kept = |share: u32| 1.0 - f64::from(share) / MILLION;
        let lost = 1.0 - kept(does.loss) * kept(does.burst) * kept(does.altered) * kept(does.truncated);
        // Frames that are lost together say as much as one of them.
        let weight = if does.burst > 0 { 2.0 * f64::from(BURST) } else { 1.0 };
        // What does not fit a rate's queue is lost too.
        if does.mbit == 0 {
            self.share("lost", stands.lost, stands.packets + stands.beside + stands.lost, lost, weight);
        }
        self.share("doubled", stands.doubled, stands.packets, f64::from(does.doubled) / MILLION, 1.0);
    }

    /// Held back, of all frames that passed under such rules. Stamps of packets alone would tell less: one that was held
    /// back and one that its sender held up look the same. That taps saw each frame in the place that was decided for it is
    /// another verdict.
    fn reordered(&mut self, counted: Option<[u64; 2]>, stands: &Passed, does: &Impairment) {
        let Some([passed, held]) = counted else { return };
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        // What came while the fault was to stand, and passed under no such rule, was not to be held back: too early healed, or
        // never in force.
        let came = stands.frames as f64 / (1.0 + f64::from(does.doubled) / MILLION);
        let all = narrow(passed.max(came as u64));
        self.share("held back", narrow(held), all, f64::from(does.held_back) / MILLION, 1.0);
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
