//! Do both worlds come to the same? The same scenario and seed, run in namespaces and in virtual time, held against each
//! other: what the rules decide must be equal, what time decides must be near.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use scalebed_frame::control::Matrix;
use scalebed_frame::{Generation, MemberId};
use scalebed_record::history::{Declared, Heard};
use scalebed_record::record::{FaultRow, SurvivalRow};
use scalebed_record::{Entry, Fact, Outcome, Record};

/// Full convergence may differ by so many heartbeat units: an event falls anywhere between two heartbeats, in each world
/// somewhere else, and what follows waits for the next one; half a unit is for a machine that is shared.
const CONVERGENCE_UNITS: f64 = 1.5;
/// Corrected and handed over shares, points of 1: a few packets lie on the other side of a change.
const SHARES: f64 = 0.01;
/// Hurt flows, share of those that had a packet due: a flow sends twice a second, so a gap that is longer by a unit hurts
/// more of them.
const HURT: f64 = 0.06;
/// Connections of a class, of all: one whose age or state is at an edge is in neither class in one world.
const CLASS: f64 = 0.01;
/// Flows of which one world saw nothing arrive before an event, of all.
const UNSEEN: f64 = 0.02;
/// The same where the tester stood still for more than this share of its packets: a stall just before an event hides from
/// its row every flow that is fast. What is left must be enough to compare.
const STOOD_STILL: (f64, f64) = (0.001, 0.5);
/// Younger than the sync delay (3 s and the margin of its classes) at an event, or begun within 1 s after it, ns.
const YOUNG: (u64, u64) = (3_200_000_000, 1_000_000_000);
/// Checks that only namespaces have: their tester is a process, and can be late.
const NETNS_ONLY: [&str; 1] = ["tester-on-time"];

/// A run as it stands on disk.
#[derive(Debug)]
pub struct Ran {
    /// Its record.
    pub record: Record,
    /// Its history.
    pub history: Vec<Entry>,
}

impl Ran {
    /// Reads a run directory.
    ///
    /// # Panics
    /// A file is missing or not what it should be.
    #[must_use]
    pub fn load(dir: &Path) -> Self {
        // A run that the machine spoiled is repeated beside the first attempt: the last one counts.
        let repeats = (1..).map(|number| dir.join(format!("repeat-{number}"))).take_while(|path| path.exists());
        let last = repeats.last();
        let dir = last.as_deref().unwrap_or(dir);
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let record = serde_json::from_str(&read("record.json")).expect("a record");
        let entry = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { record, history: read("history.jsonl").lines().map(entry).collect() }
    }

    /// Flows that an event may have caught without a second home, or before they began: when they begin (anew) and at
    /// whom is decided by time. A bit a flow, for the row before each event and the one at the end.
    fn unsettled(&self, rows: usize) -> Vec<Vec<bool>> {
        let schedule = self.history.iter().find_map(|entry| match &entry.fact {
            Fact::Schedule(schedule) => Some(schedule),
            _ => None,
        });
        let Some(schedule) = schedule else { return Vec::new() };
        // An event is an instant, and each at which something of it is mended: a member may join again then.
        let mut events: Vec<Vec<u64>> = Vec::new();
        for entry in &self.history {
            let Fact::Operation { event, text, before, .. } = &entry.fact else { continue };
            let at = before.saturating_sub(schedule.start);
            match (event, events.last_mut()) {
                (Some(_), _) => events.push(vec![at]),
                (None, Some(last)) if text.starts_with("mend ") => last.push(at),
                _ => {}
            }
        }
        let young = |first: u64, event: u64| (event.saturating_sub(YOUNG.0)..event + YOUNG.1).contains(&first);
        let row = |row: usize| {
            let so_far = &events[..row.min(events.len())];
            let caught = |first: u64| so_far.iter().flatten().any(|event| young(first, *event));
            schedule.flows.iter().map(|flow| caught(flow.first)).collect()
        };
        (0..rows).map(row).collect()
    }

    /// How many nodes were declared dead.
    fn deaths(&self) -> usize {
        let dead = self.history.iter().filter_map(|entry| match &entry.fact {
            Fact::Declared { what: Declared::Dead(node), .. } => Some(*node),
            _ => None,
        });
        dead.collect::<BTreeSet<_>>().len()
    }

    /// What the generator should have sent and did not, because it stood still, of all: nobody saw how that would have gone.
    fn skipped(&self) -> f64 {
        let report = self.history.iter().find_map(|entry| match &entry.fact {
            Fact::Generator(report) => Some(report),
            _ => None,
        });
        report.map_or(0.0, |report| report.skipped as f64 / (report.sent + report.skipped).max(1) as f64)
    }

    /// Every matrix that a tap saw, by generation.
    fn matrices(&self) -> BTreeMap<Generation, &Matrix> {
        let seen = self.history.iter().filter_map(|entry| match &entry.fact {
            Fact::Heard(Heard::Matrix(matrix)) => Some((matrix.generation, matrix)),
            _ => None,
        });
        seen.collect()
    }
}

/// Everything in which two runs of a scenario differ, in words. `unit_ms`: the heartbeat unit.
#[must_use]
pub fn differences(netns: &Ran, sim: &Ran, unit_ms: f64) -> Vec<String> {
    let mut found = Vec::new();
    verdicts(&netns.record, &sim.record, &mut found);
    matrices(&netns.matrices(), &sim.matrices(), &mut found);
    let skipped = netns.skipped().max(sim.skipped());
    let unseen_at_most = if skipped > STOOD_STILL.0 { STOOD_STILL.1 } else { UNSEEN };
    // Each death is noticed at some phase of a heartbeat, one after the other where several leave.
    let steps = netns.deaths().max(sim.deaths()).max(1);
    owners(netns, sim, unseen_at_most, steps > 1, &mut found);
    shares(&netns.record, &sim.record, SHARES + skipped, &mut found);
    let (a, b) = (&netns.record.faults, &sim.record.faults);
    if a.len() != b.len() {
        found.push(format!("events: {} and {}", a.len(), b.len()));
    }
    a.iter().zip(b).for_each(|(a, b)| fault(a, b, unit_ms, steps as f64, &mut found));
    survival(&netns.record.survival, &sim.record.survival, &mut found);
    found
}

fn near(what: &str, a: f64, b: f64, tolerance: f64, found: &mut Vec<String>) {
    if (a - b).abs() > tolerance {
        found.push(format!("{what}: {a:.3} in namespaces, {b:.3} simulated, {tolerance:.3} apart at most"));
    }
}

/// Same checks, same outcomes. What was measured is compared below, by its own tolerance.
fn verdicts(netns: &Record, sim: &Record, found: &mut Vec<String>) {
    let of = |record: &Record| -> BTreeMap<String, &'static str> {
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Pass => "pass",
            Outcome::Fail(_) => "fail",
            Outcome::Invalid(_) => "invalid",
        };
        record.verdicts.iter().map(|one| (one.check.clone(), outcome(&one.outcome))).collect()
    };
    let (a, b) = (of(netns), of(sim));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let both = (a.get(name), b.get(name));
        if both.0 != both.1 && !(both.1.is_none() && NETNS_ONLY.contains(&name.as_str())) {
            found.push(format!("verdict {name}: {both:?}"));
        }
    }
}

/// Same generations, with the same members in the same lives, owners and backups.
fn matrices(a: &BTreeMap<Generation, &Matrix>, b: &BTreeMap<Generation, &Matrix>, found: &mut Vec<String>) {
    let names = |all: &BTreeMap<Generation, &Matrix>| all.keys().map(ToString::to_string).collect::<Vec<_>>();
    if names(a) != names(b) {
        found.push(format!("generations: {:?} and {:?}", names(a), names(b)));
        return;
    }
    for (generation, (one, other)) in a.iter().map(|(generation, one)| (generation, (one, b[generation]))) {
        if one.admitted != other.admitted {
            found.push(format!("generation {generation} admits {:?} and {:?}", one.admitted, other.admitted));
        }
        let deal = |matrix: &Matrix| -> Vec<(MemberId, Option<MemberId>, Option<MemberId>)> {
            matrix.buckets.iter().map(|bucket| (bucket.owner, bucket.backup, bucket.previous)).collect()
        };
        let differ = deal(one).iter().zip(&deal(other)).filter(|(one, other)| one != other).count();
        if differ > 0 {
            found.push(format!("generation {generation}: {differ} buckets dealt otherwise"));
        }
    }
}

/// Before each event and at the end every flow has the same owner, but for those that an event caught young.
///
/// Where several members leave one after the other, who has a flow in the end is decided by the phases at which each left:
/// only the rows before such events are compared.
fn owners(netns: &Ran, sim: &Ran, unseen_at_most: f64, several: bool, found: &mut Vec<String>) {
    let (a, b) = (&netns.record, &sim.record);
    let unsettled = netns.unsettled(a.owners.len());
    let names = |record: &Record| record.owners.iter().map(|row| row.when.clone()).collect::<Vec<_>>();
    if names(a) != names(b) {
        found.push(format!("owners: {:?} and {:?}", names(a), names(b)));
        return;
    }
    let rows = if several { 1 } else { a.owners.len() };
    for ((one, other), unsettled) in a.owners.iter().zip(&b.owners).zip(&unsettled).take(rows) {
        let pairs = || one.members.iter().zip(&other.members).enumerate();
        for (flow, (here, there)) in pairs() {
            if *here >= 0 && *there >= 0 && here != there && !unsettled[flow] {
                found.push(format!("flow {flow} {}: owner {here} in namespaces, {there} simulated", one.when));
            }
        }
        let unseen = pairs().filter(|(_, (here, there))| (**here < 0) != (**there < 0)).count();
        let share = unseen as f64 / one.members.len().max(1) as f64;
        if share > unseen_at_most || one.members.len() != other.members.len() {
            found.push(format!("{}: {unseen} flows seen in one world alone", one.when));
        }
    }
}

fn shares(a: &Record, b: &Record, apart: f64, found: &mut Vec<String>) {
    let (a, b) = (&a.shares, &b.shares);
    near("corrected from the client", a.corrected_forward, b.corrected_forward, apart, found);
    near("corrected from the server", a.corrected_return, b.corrected_return, apart, found);
    near("handed over", a.handover, b.handover, apart, found);
}

fn fault(a: &FaultRow, b: &FaultRow, unit_ms: f64, steps: f64, found: &mut Vec<String>) {
    let what = |name: &str| format!("{}: {name}", a.text);
    if (&a.text, &a.outcome) != (&b.text, &b.outcome) {
        found.push(format!("event {} ({}) and {} ({})", a.text, a.outcome, b.text, b.outcome));
    }
    if (a.moved_of_need, a.moved_without) != (b.moved_of_need, b.moved_without) {
        let moved = |row: &FaultRow| (row.moved_of_need, row.moved_without);
        found.push(format!("{} {:?} and {:?}", what("buckets moved of need, without"), moved(a), moved(b)));
    }
    let hurt = |row: &FaultRow| f64::from(row.hurt_flows) / f64::from(row.flows.max(1));
    near(&what("hurt flows"), hurt(a), hurt(b), HURT, found);
    match (a.full_ms, b.full_ms) {
        (Some(a), Some(b)) => near(&what("full convergence, ms"), a, b, steps * CONVERGENCE_UNITS * unit_ms, found),
        (None, None) => {}
        // Nothing was lost in one world: in the other hardly anything may be, however late (a cable that flaps loses what
        // was on its way at any of its turns).
        _ => {
            let longest = |row: &FaultRow| row.loss_derived_ms.map_or(0.0, |(_, longest)| longest);
            near(&what("loss-derived, ms"), longest(a), longest(b), unit_ms / 2.0, found);
        }
    }
}

/// Each class has as many connections, and came out alike.
fn survival(a: &[SurvivalRow], b: &[SurvivalRow], found: &mut Vec<String>) {
    type Class<'a> = (&'a str, &'a str, &'a str, &'a str);
    fn by_class(rows: &[SurvivalRow]) -> BTreeMap<Class<'_>, &SurvivalRow> {
        rows.iter().map(|row| ((&*row.event, &*row.owner, &*row.age, &*row.state), row)).collect()
    }
    let (a, b) = (by_class(a), by_class(b));
    let all = f64::from(a.values().map(|row| row.connections).sum::<u32>().max(1));
    let names: BTreeSet<&Class<'_>> = a.keys().chain(b.keys()).collect();
    for class in names {
        let of = |rows: &BTreeMap<Class<'_>, &SurvivalRow>, of: fn(&SurvivalRow) -> u32| {
            f64::from(rows.get(class).map_or(0, |row| of(row)))
        };
        for (name, value) in [("connections", (|row| row.connections) as fn(&SurvivalRow) -> u32), ("lost", lost)] {
            near(&format!("{class:?} {name}"), of(&a, value), of(&b, value), (CLASS * all).max(2.0), found);
        }
    }
}

const fn lost(row: &SurvivalRow) -> u32 {
    row.connections - row.survived
}
