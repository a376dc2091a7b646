//! A machine that gives nodes no time makes takeovers of its own: a lease runs out because four processes ran 30 ms late
//! each. That is no fault of the cluster, and a run in which it happened was not the one that was predicted (F32).

use scalebed_record::{Fact, Outcome, Verdict};
use scalebed_topologies::scenario::Action;

use crate::evidence::{Evidence, MS};

/// Verdicts that hold a run against what was predicted of its events, by their names or the beginnings of them: a takeover
/// more changes them all. What must hold whatever happens is not among them.
const PREDICTED: [&str; 9] = [
    "convergence-",
    "generations",
    "hosts-",
    "kernel-transfers",
    "l09-quiet-tail",
    "loss",
    "moved-share",
    "nat-bindings",
    "survival-",
];
/// A node that was stopped on purpose says that it ran late, soon after it runs again.
const AWAKE: u64 = 1_000 * MS;

/// Predictions that failed say nothing, if the machine made a takeover.
pub fn excuse(evidence: &Evidence<'_>, verdicts: &mut [Verdict]) {
    let Some(reason) = takeover(evidence) else { return };
    let predicted = |verdict: &&mut Verdict| PREDICTED.iter().any(|name| verdict.check.starts_with(name));
    for verdict in verdicts.iter_mut().filter(predicted) {
        if let Outcome::Fail(found) = &verdict.outcome {
            let found = found.first().map_or("", String::as_str);
            verdict.outcome = Outcome::Invalid(format!("{reason}; else it would fail: {found}"));
        }
    }
}

/// More generations than predicted, and before one of them processes stood still for a heartbeat unit in all, within the
/// time in which a silence counts as death and is told. (A heartbeat and its echo take two units of a lease of less than
/// three: what is left is less than one.)
fn takeover(evidence: &Evidence<'_>) -> Option<String> {
    let start = evidence.schedule.start;
    let made = || evidence.agreement.changes.iter().filter(|(at, _)| *at >= start);
    let predicted: u32 = evidence.scenario().events.iter().map(|event| event.generations).sum();
    if made().count() <= predicted as usize {
        return None;
    }
    let span = u64::from(evidence.lab().group.dead_units + 2) * evidence.unit();
    let stalls: Vec<(u64, u64)> = stalls(evidence).collect();
    made().find_map(|(at, generation)| {
        let before = || stalls.iter().filter(|(when, _)| (at.saturating_sub(span)..=*at).contains(when));
        let all = before().map(|(_, late)| late).sum::<u64>();
        let longest = before().map(|(_, late)| *late).max().unwrap_or(0);
        let ms = |ns: u64| ns as f64 / MS as f64;
        (all >= evidence.unit()).then(|| {
            format!(
                "{generation} at {:.0} ms was not predicted, and processes had stood still {} times in {:.0} ms, {:.0} ms in \
                 all, {:.0} ms at once",
                evidence.ms(*at),
                before().count(),
                ms(span),
                ms(all),
                ms(longest)
            )
        })
    })
}

/// When a node or a wire said that it had stood still, and for how long: the generator does nothing that nodes wait for.
fn stalls<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (u64, u64)> + use<'a> {
    let hung = |who: &str, at: u64| {
        evidence.happenings.iter().any(|happening| {
            let hang = matches!(happening.action, Action::Hang { .. }) && happening.node == who;
            hang && (happening.at..happening.healed + AWAKE).contains(&at)
        })
    };
    evidence.input.history.entries.iter().filter_map(move |entry| match &entry.fact {
        Fact::Stall { who, late } if who != "generator" && !hung(who, entry.at) => Some((entry.at, *late)),
        _ => None,
    })
}
