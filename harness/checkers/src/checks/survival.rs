//! Connection survival, judged on TCP: each connection by its owner, its age and what state was where.

use std::collections::BTreeMap;

use scalebed_record::Verdict;
use scalebed_record::record::SurvivalRow;
use scalebed_record::traffic::TcpReport;

use super::{Said, measure};
use crate::Checker;
use crate::events::{Fate, Happening, Victim};
use crate::evidence::{Evidence, MS};
use crate::numbers::wilson;

/// A survivor completes at least so many rounds after full convergence.
const ROUNDS: usize = 3;

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
    let judged: u32 = rows.iter().map(|row| row.connections).sum();
    let words: Vec<String> = rows
        .iter()
        .map(|row| {
            let (low, high) = wilson(row.survived, row.connections);
            let (owner, age) = (&row.owner, &row.age);
            format!("{owner}, {age}: {} of {} ({low:.1}..{high:.1} %)", row.survived, row.connections)
        })
        .collect();
    let failed = matches!(happening.victim, Victim::Member(..));
    let missing = failed && !rows.iter().any(|row| row.owner == "owner failed" && row.connections > 0);
    let vacuous = if judged == 0 {
        Some("no TCP connection could be judged".to_owned())
    } else if missing {
        Some("the victim owned no TCP connection that could be judged".to_owned())
    } else {
        None
    };
    Said::of(&format!("survival-{}", happening.index + 1), "each connection as predicted")
        .value(format!("{}: {}", happening.text, words.join("; ")))
        .fail_if(wrong)
        .invalid_if(vacuous)
        .done()
}

/// Survival by class, and what did not come as predicted.
pub(crate) fn rows(evidence: &Evidence<'_>, happening: &Happening) -> (Vec<SurvivalRow>, Vec<String>) {
    let mut classes: BTreeMap<(bool, bool), (u32, u32, u32)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let Some(report) = evidence.report else { return (Vec::new(), wrong) };
    let full = measure(evidence, happening).full_ms.unwrap_or(0.0);
    let converged = happening.at + (full.max(0.0) * MS as f64) as u64;
    for tcp in &report.tcp {
        let Some(prediction) = happening.predictions.get(tcp.flow as usize) else { continue };
        if prediction.fate == Fate::NotJudged || !judgeable(evidence, tcp, happening, converged) {
            continue;
        }
        let survived = survived(evidence, tcp, happening, converged);
        let class = classes.entry((!prediction.owned, prediction.older)).or_default();
        class.0 += 1;
        class.1 += u32::from(survived);
        class.2 += u32::from(prediction.fate != Fate::Lost);
        let age = (happening.at - tcp.established) as f64 / MS as f64;
        let owned = if prediction.owned { "its owner failed" } else { "its owner lives" };
        match (prediction.fate, survived) {
            (Fate::Survives, false) => {
                let end = if tcp.reset > 0 { "was reset" } else { "stands still" };
                wrong.push(format!("flow {}, {age:.0} ms old, {owned}: {end}", tcp.flow));
            }
            (Fate::Lost, true) => wrong.push(format!("flow {}, {age:.0} ms old, {owned}: survived", tcp.flow)),
            (Fate::Survives, true) | (Fate::Lost, false) | (Fate::Either | Fate::NotJudged, _) => {}
        }
    }
    let row = |((other, older), (connections, survived, predicted)): ((bool, bool), (u32, u32, u32))| SurvivalRow {
        event: happening.text.clone(),
        owner: if other { "other" } else { "owner failed" }.to_owned(),
        age: if older { "older" } else { "younger" }.to_owned(),
        state: "active".to_owned(),
        connections,
        survived,
        predicted,
    };
    (classes.into_iter().map(row).collect(), wrong)
}

/// Enough rounds are due after convergence, and nothing killed it before.
fn judgeable(evidence: &Evidence<'_>, tcp: &TcpReport, happening: &Happening, converged: u64) -> bool {
    let flow = tcp.flow as usize;
    let count = evidence.packets.count(flow, 0);
    let due = (0..count).rev().take_while(|&sequence| evidence.due(flow, 0, sequence) >= converged).take(2 * ROUNDS);
    let dead = tcp.reset > 0 && tcp.reset < happening.at;
    let before = evidence.happenings.iter().filter(|other| other.at < happening.at);
    due.count() >= 2 * ROUNDS && !dead && !before.into_iter().any(|other| other.predictions[flow].doomed)
}

/// Rounds went on after convergence, by the taps; no reset, no byte out of place, by the generator.
fn survived(evidence: &Evidence<'_>, tcp: &TcpReport, happening: &Happening, converged: u64) -> bool {
    let flow = tcp.flow as usize;
    let later = happening.until.max(converged);
    let reset = tcp.reset >= happening.at && tcp.reset > 0 && tcp.reset <= later;
    let rounds = |side| evidence.journeys(flow, side).iter().filter(|journey| journey.delivered >= converged).count();
    rounds(0).min(rounds(1)) >= ROUNDS && !reset && !tcp.broken
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
