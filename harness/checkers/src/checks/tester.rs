//! Was the tester itself fit to judge?

use scalebed_record::traffic::GeneratorReport;
use scalebed_record::{Fact, FlowKind, History, Verdict};

use super::Said;
use crate::evidence::{Evidence, MS};
use crate::{Checker, numbers};

/// Skipped packets beyond this share of all make a run invalid: that is not the load that was declared. What is skipped
/// near an event makes that event's own verdict say less, see [`super::convergence`].
const SKIPPED_SHARE: f64 = 0.05;
/// From this share on, rounds that are missing may be missing because they were not sent.
const DOUBT_SHARE: f64 = 0.001;
/// The 99th percentile of lateness may be this, ns: one probe interval at 200 packets a second.
const LATE: u64 = 5 * MS;
/// An event whose instant is known no better than this is no event, ns: whoever made it stood still.
const BRACKET: u64 = 5 * MS;

/// The stall record: a loop that stood still, the harness's own among them, or packets that the generator skipped because it
/// did (over 2 ms).
#[must_use]
pub fn stalled(history: &History) -> bool {
    history.entries.iter().any(|entry| match &entry.fact {
        Fact::Stall { .. } => true,
        // A start is no instant.
        Fact::Operation { event: Some(_), text, before, after, .. } if !text.starts_with("start") => {
            after.saturating_sub(*before) > BRACKET
        }
        Fact::Generator(report) => report.skipped > 0,
        _ => false,
    })
}

/// The generator's health, and the brackets of events.
pub struct Tester;

impl Checker for Tester {
    fn name(&self) -> &'static str {
        "tester"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        vec![generator(evidence), brackets(evidence)]
    }
}

fn generator(evidence: &Evidence<'_>) -> Verdict {
    let said = Said::of("tester", format!("skipped <= {} %, lateness p99 <= {} ms", SKIPPED_SHARE * 100.0, LATE / MS));
    let Some(report) = evidence.report else {
        return said.invalid_if(Some("the generator left no report".to_owned())).done();
    };
    let GeneratorReport { sent, skipped, worst_late, p99_late, corrupt, receive_drops, unsent, cut, .. } = report;
    let value = format!(
        "{sent} packets, {skipped} skipped, lateness p99 {:.2} ms, worst {:.2} ms",
        *p99_late as f64 / MS as f64,
        *worst_late as f64 / MS as f64
    );
    let missing = missing(evidence);
    let reason = if skipped_share(report) > SKIPPED_SHARE {
        Some(skipped_words(report))
    } else if *p99_late > LATE {
        Some(format!("the generator was late: p99 {:.2} ms", *p99_late as f64 / MS as f64))
    } else if *receive_drops > 0 {
        Some(format!("the generator's receiving socket dropped {receive_drops} frames"))
    } else if let Some((reason, count)) = unsent.iter().find(|(_, count)| **count > 0) {
        Some(format!("{count} frames of the generator were not sent: {reason}"))
    } else if *cut > 0 {
        Some(format!("{cut} frames came to the generator longer than it reads"))
    } else if *corrupt > 0 && !evidence.has_altering_cables() {
        Some(format!("{corrupt} signatures arrived with a wrong hash"))
    } else if missing > *skipped {
        Some(format!("{missing} scheduled packets of UDP clients were never seen on the generator's cables"))
    } else {
        None
    };
    said.value(value).invalid_if(reason).done()
}

/// Why what did not arrive says nothing: it may not have been sent.
pub(crate) fn skipped_too_much(report: &GeneratorReport) -> Option<String> {
    (skipped_share(report) > DOUBT_SHARE).then(|| skipped_words(report))
}

fn skipped_share(report: &GeneratorReport) -> f64 {
    numbers::share(report.skipped, report.sent + report.skipped)
}

fn skipped_words(report: &GeneratorReport) -> String {
    format!("the generator skipped {} of {} packets", report.skipped, report.sent + report.skipped)
}

/// Client packets of UDP flows depend on nobody: all that were not skipped must have been offered.
fn missing(evidence: &Evidence<'_>) -> u64 {
    let udp = evidence.flows().filter(|(_, spec)| spec.kind == FlowKind::Udp);
    udp.map(|(flow, _)| evidence.journeys(flow, 0).iter().filter(|journey| journey.offered == 0).count() as u64).sum()
}

fn brackets(evidence: &Evidence<'_>) -> Verdict {
    let events = evidence.input.history.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Operation { event: Some(_), text, before, after, .. } => Some((text, after.saturating_sub(*before))),
        _ => None,
    });
    let worst = events.max_by_key(|(_, width)| *width);
    let carried = evidence.happenings.len();
    let planned = evidence.scenario().events.len();
    // Starting a process is no instant: what matters is when the node speaks.
    let sharp = evidence
        .happenings
        .iter()
        .filter(|happening| happening.victim != crate::events::Victim::Nobody)
        .find(|happening| happening.after - happening.at.min(happening.after) > BRACKET);
    let reason = if carried != planned {
        Some(format!("{carried} of {planned} events were carried out"))
    } else {
        sharp.map(|happening| {
            let width = (happening.after - happening.at) as f64 / MS as f64;
            format!("{}: known only within {width:.1} ms", happening.text)
        })
    };
    let value = worst.map_or("no events".to_owned(), |(text, width)| {
        format!("{carried} events, widest bracket {:.2} ms ({text})", width as f64 / MS as f64)
    });
    Said::of("events", format!("all, each known within {} ms", BRACKET / MS)).value(value).invalid_if(reason).done()
}
