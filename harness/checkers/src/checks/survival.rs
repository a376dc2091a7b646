//! Connection survival, judged on TCP: each connection by its owner, its age and what state was where.

use std::collections::BTreeMap;

use scalebed_record::record::SurvivalRow;
use scalebed_record::traffic::TcpReport;
use scalebed_record::{Shape, Verdict};

use super::{Said, measure, tester};
use crate::Checker;
use crate::events::{Fate, Happening, Prediction, Victim};
use crate::evidence::{Evidence, MS};
use crate::numbers::wilson;
use crate::states::State;

/// A survivor completes at least so many rounds after full convergence.
const ROUNDS: usize = 3;
const OWNER_FAILED: &str = "owner failed";

/// Every predicted fate came true.
pub struct Survival;

impl Checker for Survival {
    fn name(&self) -> &'static str {
        "survival"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let taken = evidence.happenings.iter().filter(|happening| happening.victim != Victim::Nobody);
        let mut verdicts: Vec<Verdict> = taken.map(|happening| event(evidence, happening)).collect();
        verdicts.push(streams(evidence));
        verdicts
    }
}

fn event(evidence: &Evidence<'_>, happening: &Happening) -> Verdict {
    let (rows, wrong) = rows(evidence, happening);
    // Rounds that are few because they were not sent are not the cluster's doing; a reset is, and so is who survived.
    let unsent = evidence.report.and_then(tester::skipped_too_much);
    let (silent, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|surprise| unsent.is_some() && surprise.silent);
    let doubt = unsent.zip(silent.first()).map(|(unsent, first)| format!("{}, but {unsent}", first.text));
    let judged: u32 = rows.iter().map(|row| row.connections).sum();
    let words: Vec<String> = rows
        .iter()
        .filter(|row| row.connections > 0)
        .map(|row| {
            let (low, high) = row.interval_percent;
            let (owner, age, state) = (&row.owner, &row.age, &row.state);
            format!("{owner}, {age}, {state}: {} of {} ({low:.1}..{high:.1} %)", row.survived, row.connections)
        })
        .collect();
    let vacuous = if judged == 0 {
        Some("no TCP connection could be judged".to_owned())
    } else {
        unseen(evidence, happening, &rows)
    };
    Said::of(&format!("survival-{}", happening.index + 1), "each connection as predicted")
        .value(format!("{}: {}", happening.text, words.join("; ")))
        .fail_if(wrong.into_iter().map(|surprise| surprise.text).collect())
        .invalid_if(doubt)
        .invalid_if(vacuous)
        .done()
}

/// A connection that did not come out as predicted, in words.
#[derive(Debug)]
pub(crate) struct Surprise {
    /// All there is against it is that rounds are missing.
    silent: bool,
    text: String,
}

/// What should have been seen to judge, and was not: a connection of the victim's, and each state that was dealt.
fn unseen(evidence: &Evidence<'_>, happening: &Happening, rows: &[SurvivalRow]) -> Option<String> {
    if !matches!(happening.victim, Victim::Member(..)) {
        return None;
    }
    if !rows.iter().any(|row| row.owner == OWNER_FAILED && row.connections > 0) {
        return Some("the victim owned no TCP connection that could be judged".to_owned());
    }
    // The states are dealt for the first event alone.
    let first = evidence.happenings.first().is_some_and(|first| first.at == happening.at);
    let missing = State::ALL.into_iter().find(|state| {
        let dealt = evidence.flows().any(|(_, spec)| dealt(spec.shape) == Some(*state));
        dealt && !rows.iter().any(|row| row.state == state.name() && row.connections > 0)
    });
    missing.filter(|_| first).map(|state| format!("no TCP connection was {} at the event", state.name()))
}

/// The state that a flow's shape is for.
const fn dealt(shape: Shape) -> Option<State> {
    match shape {
        Shape::Steady => None,
        Shape::Idle { .. } => Some(State::Idle),
        Shape::HalfClosed { .. } => Some(State::HalfClosed),
        Shape::SlowHandshake { .. } => Some(State::Handshaking),
    }
}

/// {owner failed, other} x {older, younger} x state.
type Class = (bool, bool, State);

/// Connections of a class: all, survived, predicted to survive, predicted to do either.
type Counts = [u32; 4];

/// Survival by class, and what did not come as predicted.
pub(crate) fn rows(evidence: &Evidence<'_>, happening: &Happening) -> (Vec<SurvivalRow>, Vec<Surprise>) {
    let mut classes: BTreeMap<Class, Counts> = BTreeMap::new();
    if matches!(happening.victim, Victim::Member(..)) && evidence.report.is_some_and(|report| !report.tcp.is_empty()) {
        classes.extend(every_class().map(|class| (class, [0; 4])));
    }
    let mut wrong = Vec::new();
    let Some(report) = evidence.report else { return (Vec::new(), wrong) };
    let full = measure(evidence, happening).full_ms.unwrap_or(0.0);
    let converged = happening.at + (full.max(0.0) * MS as f64) as u64;
    for tcp in &report.tcp {
        let Some(prediction) = happening.predictions.get(tcp.flow as usize) else { continue };
        let Some(state) = prediction.state.filter(|_| prediction.fate != Fate::NotJudged) else { continue };
        if !judgeable(evidence, tcp, happening, converged, state) {
            continue;
        }
        let survived = survived(evidence, tcp, happening, converged, state);
        let class = classes.entry((!prediction.owned, !prediction.older, state)).or_default();
        class[0] += 1;
        class[1] += u32::from(survived);
        class[2] += u32::from(prediction.fate == Fate::Survives);
        class[3] += u32::from(prediction.fate == Fate::Either);
        wrong.extend(surprise(happening, tcp, prediction, state, survived));
    }
    let row = |((other, younger, state), [connections, survived, predicted, either]): (Class, Counts)| SurvivalRow {
        event: happening.text.clone(),
        owner: if other { "other" } else { OWNER_FAILED }.to_owned(),
        age: if younger { "younger" } else { "older" }.to_owned(),
        state: state.name().to_owned(),
        connections,
        survived,
        predicted,
        either,
        interval_percent: wilson(survived, connections),
    };
    (classes.into_iter().map(row).collect(), wrong)
}

/// A handshake is never old.
fn every_class() -> impl Iterator<Item = Class> {
    let sides = [false, true].into_iter();
    let ages = sides.flat_map(|other| [false, true].into_iter().map(move |younger| (other, younger)));
    let all = ages.flat_map(|(other, younger)| State::ALL.into_iter().map(move |state| (other, younger, state)));
    all.filter(|(_, younger, state)| *younger || *state != State::Handshaking)
}

/// What came of a connection and was not predicted.
fn surprise(
    happening: &Happening,
    tcp: &TcpReport,
    prediction: &Prediction,
    state: State,
    survived: bool,
) -> Option<Surprise> {
    let words = match (prediction.fate, survived) {
        (Fate::Survives, false) if tcp.reset > 0 => "was reset",
        (Fate::Survives, false) => "stands still",
        (Fate::Lost, true) => "survived",
        (Fate::Survives, true) | (Fate::Lost, false) | (Fate::Either | Fate::NotJudged, _) => return None,
    };
    let begun = if state == State::Handshaking { tcp.opened } else { tcp.established };
    let age = happening.at.saturating_sub(begun) as f64 / MS as f64;
    let owned = if prediction.owned { "its owner failed" } else { "its owner lives" };
    let text = format!("flow {}, {age:.0} ms old, {}, {owned}: {words}", tcp.flow, state.name());
    Some(Surprise { silent: !survived && tcp.reset == 0 && !tcp.broken, text })
}

/// The direction whose packets go on: of one half closed, the server's alone.
const fn speaking(state: State) -> &'static [usize] {
    match state {
        State::Active | State::Idle | State::Handshaking => &[0, 1],
        State::HalfClosed => &[1],
    }
}

/// Enough rounds are due after convergence, and nothing killed it before.
fn judgeable(evidence: &Evidence<'_>, tcp: &TcpReport, happening: &Happening, converged: u64, state: State) -> bool {
    let flow = tcp.flow as usize;
    let enough = speaking(state).iter().all(|&side| {
        let later = (0..evidence.packets.count(flow, side)).rev();
        let later = later.take_while(|&sequence| evidence.due(flow, side, sequence) >= converged);
        later.take(2 * ROUNDS).count() >= 2 * ROUNDS
    });
    let dead = tcp.reset > 0 && tcp.reset < happening.at;
    let mut before = evidence.happenings.iter().filter(|other| other.at < happening.at);
    enough && !dead && !before.any(|other| other.predictions[flow].doomed)
}

/// Rounds went on after convergence, by the taps; no reset, no byte out of place, by the generator. One half closed has
/// no rounds: its server's segments arrived, and the server heard so.
fn survived(evidence: &Evidence<'_>, tcp: &TcpReport, happening: &Happening, converged: u64, state: State) -> bool {
    let flow = tcp.flow as usize;
    let later = happening.until.max(converged);
    let reset = tcp.reset >= happening.at && tcp.reset > 0 && tcp.reset <= later;
    let arrived = |side| evidence.journeys(flow, side).iter().map(|one| one.delivered).filter(|at| *at >= converged);
    let goes_on = speaking(state).iter().all(|&side| arrived(side).count() >= ROUNDS);
    let heard = state != State::HalfClosed || arrived(1).nth(ROUNDS - 1).is_some_and(|at| tcp.acknowledged >= at);
    goes_on && heard && !reset && !tcp.broken
}

/// No stream may ever be corrupted, lost ones included.
fn streams(evidence: &Evidence<'_>) -> Verdict {
    let tcp = evidence.report.map_or(&[][..], |report| &report.tcp);
    let broken = tcp.iter().filter(|tcp| tcp.broken).map(|tcp| format!("flow {}", tcp.flow)).collect();
    let established = tcp.iter().filter(|tcp| tcp.established > 0).count();
    Said::of("streams-intact", "every byte in its place")
        .value(format!("{established} TCP connections established"))
        .fail_if(broken)
        .invalid_if((established == 0).then(|| "no TCP connection was established".to_owned()))
        .done()
}
