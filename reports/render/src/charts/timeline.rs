//! What happened, in swim lanes on one clock.

use scalebed_record::Record;
use scalebed_record::record::TimelineEvent;

use super::WIDTH;
use crate::svg::{Scale, Svg, tick_seconds};
use crate::words::{clip, real, seconds};

const MARGIN: f64 = 120.0;
const LANE: f64 = 30.0;
const TOP: f64 = 8.0;
/// Most lanes that are drawn.
const MOST: usize = 40;

/// Draws the timeline; `None` without events.
pub(crate) fn timeline(record: &Record) -> Option<String> {
    let events = &record.timeline;
    let first = events.iter().map(|event| event.at_ms).min_by(f64::total_cmp)?;
    let last = events.iter().map(|event| event.at_ms).max_by(f64::total_cmp)?;
    let lanes = lanes(record);
    let time = Scale::new(first, last, MARGIN, WIDTH - 16.0);
    let bottom = TOP + LANE * real(lanes.len() as u64);
    let mut svg = Svg::new(WIDTH, bottom + 30.0, "timeline of events in swim lanes");
    for (index, lane) in lanes.iter().enumerate() {
        let y = TOP + LANE * real(index as u64);
        svg.rect(0.0, y + 1.0, WIDTH, LANE - 2.0, if index % 2 == 0 { "band" } else { "band pale" }, "");
        svg.text(12.0, y + LANE / 2.0 + 4.0, "t", &clip(lane, 15));
    }
    phases(&mut svg, events, time, last);
    for fault in events.iter().filter(|event| is_act(event)) {
        let x = time.at(fault.at_ms);
        svg.line((x, TOP), (x, bottom), if fault.kind == "fault" { "mark bad" } else { "mark good" }, "");
    }
    // Faults last: they lie on top of what they caused.
    let (acts, rest): (Vec<_>, Vec<_>) = events.iter().partition(|event| is_act(event));
    let y = |event: &TimelineEvent| {
        let lane = lanes.iter().position(|lane| *lane == event.lane)?;
        Some(TOP + LANE * (real(lane as u64) + 0.5))
    };
    for event in rest.into_iter().chain(acts.iter().copied()) {
        if let Some(y) = y(event) {
            mark(&mut svg, event, time.at(event.at_ms), y);
        }
    }
    for (index, act) in acts.iter().enumerate() {
        let next = acts[index + 1..].iter().find(|other| other.lane == act.lane);
        let room = next.map_or(WIDTH, |next| time.at(next.at_ms)) - time.at(act.at_ms);
        if let Some(y) = y(act) {
            caption(&mut svg, time.at(act.at_ms), y, &act.text, room);
        }
    }
    for tick in time.ticks(12.0) {
        svg.line((time.at(tick), bottom), (time.at(tick), bottom + 5.0), "axis", "");
        svg.text(time.at(tick), bottom + 19.0, "t mid small muted", &tick_seconds(tick));
    }
    svg.text(12.0, bottom + 19.0, "t small muted", "seconds");
    Some(svg.finish())
}

/// The run's own lane, then nodes in the order of the lab, then what is left.
fn lanes(record: &Record) -> Vec<&str> {
    let has = |name: &str| record.timeline.iter().any(|event| event.lane == name);
    let mut lanes: Vec<&str> = vec!["run"];
    lanes.extend(record.topology.nodes.iter().map(|node| node.name.as_str()).filter(|name| has(name)));
    for event in &record.timeline {
        if !lanes.contains(&event.lane.as_str()) {
            lanes.push(&event.lane);
        }
    }
    lanes.truncate(MOST);
    lanes
}

fn is_act(event: &TimelineEvent) -> bool {
    event.kind == "fault" || event.kind == "heal"
}

/// Phases as bars in the run's lane, each until the next.
fn phases(svg: &mut Svg, events: &[TimelineEvent], time: Scale, last: f64) {
    let phases: Vec<&TimelineEvent> = events.iter().filter(|event| event.kind == "phase").collect();
    for (index, phase) in phases.iter().enumerate() {
        let until = phases.get(index + 1).map_or(last, |next| next.at_ms);
        let (from, to) = (time.at(phase.at_ms), time.at(until));
        let title = format!("{} from {} to {}", phase.text, seconds(phase.at_ms), seconds(until));
        svg.rect(from, TOP + 4.0, (to - from - 1.5).max(1.0), LANE - 8.0, "phase", &title);
        if to - from > 7.0 * real(phase.text.chars().count() as u64) {
            svg.text(from + 6.0, TOP + LANE / 2.0 + 4.0, "t small", &phase.text);
        }
    }
}

fn mark(svg: &mut Svg, event: &TimelineEvent, x: f64, y: f64) {
    let title = format!("{} {}", seconds(event.at_ms), event.text);
    let (left, right, up, down) = (x - 7.0, x + 7.0, y - 7.0, y + 7.0);
    match event.kind.as_str() {
        "phase" => {}
        "fault" => {
            svg.path(&format!("M{left:.1} {up:.1}H{right:.1}L{x:.1} {down:.1}Z"), "bad", &title);
        }
        "heal" => {
            svg.path(&format!("M{left:.1} {down:.1}H{right:.1}L{x:.1} {up:.1}Z"), "good", &title);
        }
        "heard" => svg.circle(x, y, 3.5, "heard", &title),
        _ => svg.circle(x, y, 4.0, "declared", &title),
    }
}

/// Beside the mark: to the right where the words fit before the lane's next act, else to the left.
fn caption(svg: &mut Svg, x: f64, y: f64, text: &str, room: f64) {
    let text = clip(text, 40);
    let width = 7.0 * real(text.chars().count() as u64) + 20.0;
    if width > room.min(WIDTH - x) && x - width > MARGIN {
        svg.text(x - 11.0, y + 4.0, "t small strong end halo", &text);
    } else {
        svg.text(x + 11.0, y + 4.0, "t small strong halo", &text);
    }
}
