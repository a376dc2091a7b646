//! A machine that gives nodes no time makes takeovers of its own: a lease runs out because four processes ran 30 ms late
//! each. That is no fault of the cluster, and a run in which it happened was not the one that was predicted (F32).

use scalebed_record::{Fact, Outcome, Verdict};
use scalebed_topologies::scenario::Action;

use crate::evidence::{Evidence, MS};

/// Verdicts that hold a run against what was predicted of its events, by their names or the beginnings of them: a takeover
/// more changes them all. What must hold whatever happens is not among them.
const PREDICTED: [&str; 12] = [
    "cable-",
    "convergence-",
    "correction-share",
    "generations",
    "hosts-",
    "kernel-transfers",
    "l09-quiet-tail",
    "lab-cable-",
    "loss",
    "moved-share",
    "nat-stable",
    "survival-",
];
/// A node that was stopped on purpose says that it ran late, soon after it runs again.
const AWAKE: u64 = 1_000 * MS;

/// Predictions that failed say nothing, if the machine made a takeover.
pub fn excuse(evidence: &Evidence<'_>, verdicts: &mut [Verdict]) {
    let Some((from, reason)) = takeover(evidence) else { return };
    for verdict in verdicts.iter_mut().filter(|verdict| may_excuse(evidence, &verdict.check, from)) {
        if let Outcome::Fail(found) = &verdict.outcome {
            let found = found.first().map_or("", String::as_str);
            verdict.outcome = Outcome::Invalid(format!("{reason}; else it would fail: {found}"));
        }
    }
}

/// Is this verdict about predictions, and did nothing of it go wrong by itself: before the machine had stood still, or with
/// other bytes?
fn may_excuse(evidence: &Evidence<'_>, check: &str, from: u64) -> bool {
    let facts = || evidence.input.history.entries.iter().map(|entry| &entry.fact);
    let by_itself = match check {
        "loss" => evidence.losses.iter().any(|loss| loss.excuse.is_none() && loss.at < from),
        "kernel-transfers" => facts().any(|fact| matches!(fact, Fact::Transfer { intact: false, error: None, .. })),
        _ if check.starts_with("hosts-") => {
            facts().any(|fact| matches!(fact, Fact::Host(run) if !run.intact && run.error.is_none()))
        }
        _ => false,
    };
    !by_itself && PREDICTED.iter().any(|name| check.starts_with(name))
}

/// The first generation that nobody predicted, if before it nodes stood still for a heartbeat unit, within the time in which a
/// silence counts as death and is told: from when on, and in words. (A heartbeat and its echo take two units of a lease of less
/// than three: what is left is less than one.) Those that follow it are its consequences. At one instant all may stand still:
/// that counts once.
fn takeover(evidence: &Evidence<'_>) -> Option<(u64, String)> {
    let (at, generation) = unpredicted(evidence)?;
    let span = u64::from(evidence.lab().group.dead_units + 2) * evidence.unit();
    let from = at.saturating_sub(span);
    // It is noticed when it is over.
    let mut stalls: Vec<(u64, u64)> = stalls(evidence)
        .map(|(noticed, late)| (noticed.saturating_sub(late).max(from), noticed.min(at)))
        .filter(|(begin, end)| begin < end)
        .collect();
    stalls.sort_unstable();
    let (mut all, mut until) = (0, 0);
    for (begin, end) in &stalls {
        all += end.saturating_sub(until.max(*begin));
        until = until.max(*end);
    }
    let ms = |ns: u64| ns as f64 / MS as f64;
    (all >= evidence.unit()).then(|| {
        let words = format!(
            "{generation} at {:.0} ms was not predicted, and in the {:.0} ms before it nodes stood still for {:.0} ms, {} times",
            evidence.ms(at),
            ms(span),
            ms(all),
            stalls.len()
        );
        (from, words)
    })
}

/// The first that no event explains, if there are more than predicted: an event explains as many as it is said to make, the
/// first ones after it.
fn unpredicted(evidence: &Evidence<'_>) -> Option<(u64, scalebed_frame::Generation)> {
    let start = evidence.schedule.start;
    let mut made: Vec<_> = evidence.agreement.changes.iter().filter(|(at, _)| *at >= start).copied().collect();
    let events = &evidence.scenario().events;
    let predicted: u32 = events.iter().map(|event| event.generations).sum();
    if made.len() <= predicted as usize {
        return None;
    }
    for happening in &evidence.happenings {
        for _ in 0..events.get(happening.index).map_or(0, |event| event.generations) {
            if let Some(place) = made.iter().position(|(at, _)| *at >= happening.at && *at < happening.until) {
                made.remove(place);
            }
        }
    }
    made.first().copied()
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
