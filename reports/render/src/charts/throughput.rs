//! Delivered packets stacked by the member that processed them, under the line of what was offered; below it what was
//! lost, by the time at which it was due.

use std::fmt::Write as _;

use scalebed_record::Record;
use scalebed_record::record::Throughput;

use super::{WIDTH, colour};
use crate::svg::{Scale, Svg, tick_seconds};
use crate::words::{percent, real, share, thousands};

const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const STACK: f64 = 190.0;
const GAP: f64 = 22.0;
const LOSS: f64 = 60.0;
/// Most columns of a drawing: bins are merged to stay below it.
const COLUMNS: usize = 360;
/// A zoom shows this much before and after an event, ms.
const ZOOM: (f64, f64) = (1_000.0, 3_000.0);

/// The whole run.
pub(crate) fn whole(record: &Record) -> Option<String> {
    let bins = record.throughput.offered.len();
    draw(record, 0, bins, "throughput over the whole run")
}

/// The time around an event.
pub(crate) fn zoom(record: &Record, at_ms: f64) -> Option<String> {
    let rate = &record.throughput;
    let bin = |ms: f64| ((ms - rate.start_ms) / rate.bin_ms.max(0.001)).max(0.0).floor() as usize;
    let (from, to) = (bin(at_ms - ZOOM.0), bin(at_ms + ZOOM.1).min(rate.offered.len()));
    if from >= to {
        return None;
    }
    draw(record, from, to, "throughput around the event")
}

/// Sums over columns of `width` bins.
fn merged(bins: &[u32], from: usize, to: usize, width: usize) -> Vec<u64> {
    let part = bins.get(from.min(bins.len())..to.min(bins.len())).unwrap_or_default();
    part.chunks(width).map(|bins| bins.iter().copied().map(u64::from).sum()).collect()
}

/// Bounds of a drawing: columns to pixels, packets a second to pixels.
struct Frame {
    time: Scale,
    rate: Scale,
    loss: Scale,
    /// Start of the first column and width of each, ms.
    start: f64,
    column: f64,
    columns: usize,
}

impl Frame {
    fn x(&self, column: usize) -> f64 {
        self.time.at(self.start + self.column * real(column as u64))
    }

    fn per_second(&self, packets: u64) -> f64 {
        real(packets) * 1_000.0 / self.column
    }
}

fn draw(record: &Record, from: usize, to: usize, label: &str) -> Option<String> {
    let rate = &record.throughput;
    if from >= to || rate.bin_ms <= 0.0 {
        return None;
    }
    let width = (to - from).div_ceil(COLUMNS);
    let offered = merged(&rate.offered, from, to, width);
    let lost = merged(&rate.lost, from, to, width);
    // The last column may hold fewer bins than the others: it would look like a drop that never was.
    let columns = ((to - from) / width).max(1).min(offered.len());
    let column = rate.bin_ms * real(width as u64);
    let start = rate.start_ms + rate.bin_ms * real(from as u64);
    let per_second = |most: u64| (real(most) * 1_000.0 / column).max(1.0);
    let most = offered.iter().take(columns).copied().max().unwrap_or(0);
    let worst = lost.iter().take(columns).copied().max().unwrap_or(0);
    let (bottom, floor) = (TOP + STACK, TOP + STACK + GAP + LOSS);
    let frame = Frame {
        time: Scale::new(start, start + column * real(columns as u64), LEFT, WIDTH - RIGHT),
        rate: Scale::new(0.0, per_second(most) * 1.12, bottom, TOP),
        loss: Scale::new(0.0, per_second(worst) * 1.1, floor, floor - LOSS),
        start,
        column,
        columns,
    };
    let mut svg = Svg::new(WIDTH, floor + 30.0, label);
    axes(&mut svg, &frame, bottom, floor, worst > 0);
    stack(&mut svg, record, &frame, (from, to, width));
    svg.path(&steps(&frame, &offered), "offered", "offered");
    losses(&mut svg, &frame, &lost, floor);
    for fault in &record.faults {
        let end = start + column * real(columns as u64);
        if (start..=end).contains(&fault.at_ms) {
            let x = frame.time.at(fault.at_ms);
            svg.line((x, TOP - 6.0), (x, floor), super::mark(record, fault), &fault.text);
            let (place, class) =
                if x > WIDTH - 220.0 { (x - 5.0, "t small strong end halo") } else { (x + 5.0, "t small strong halo") };
            svg.text(place, TOP + 3.0, class, &fault.text);
        }
    }
    Some(svg.finish())
}

fn axes(svg: &mut Svg, frame: &Frame, bottom: f64, floor: f64, any_loss: bool) {
    for tick in frame.rate.ticks(4.0) {
        let y = frame.rate.at(tick);
        svg.line((LEFT, y), (WIDTH - RIGHT, y), "grid", "");
        svg.text(LEFT - 8.0, y + 4.0, "t end small muted", &thousands(tick.round() as u64));
    }
    svg.text(LEFT - 8.0, TOP - 3.0, "t end small muted", "packets/s");
    svg.line((LEFT, bottom), (WIDTH - RIGHT, bottom), "axis", "");
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), "axis", "");
    svg.text(LEFT - 8.0, floor + 1.0, "t end small muted", "lost/s");
    if any_loss {
        // One line: the highest round number says enough about a spike.
        if let Some(tick) = frame.loss.ticks(3.0).last() {
            let y = frame.loss.at(*tick);
            svg.line((LEFT, y), (WIDTH - RIGHT, y), "grid", "");
            svg.text(LEFT - 8.0, y + 4.0, "t end small muted", &thousands(tick.round() as u64));
        }
    } else {
        svg.text((LEFT + WIDTH) / 2.0, floor - LOSS / 2.0 + 4.0, "t mid small muted", "nothing lost");
    }
    for tick in frame.time.ticks(12.0) {
        svg.line((frame.time.at(tick), floor), (frame.time.at(tick), floor + 5.0), "axis", "");
        svg.text(frame.time.at(tick), floor + 19.0, "t mid small muted", &format!("{} s", tick_seconds(tick)));
    }
}

/// One area a member, each on the shoulders of the last.
fn stack(svg: &mut Svg, record: &Record, frame: &Frame, (from, to, width): (usize, usize, usize)) {
    let Throughput { members, .. } = &record.throughput;
    let mut base = vec![0_u64; frame.columns];
    for (name, bins) in members {
        let own = merged(bins, from, to, width);
        let top: Vec<u64> =
            base.iter().enumerate().map(|(at, base)| base + own.get(at).copied().unwrap_or(0)).collect();
        let mut d = steps(frame, &top);
        for at in (0..frame.columns).rev() {
            let y = frame.rate.at(frame.per_second(base[at]));
            // Writing to a string can't fail.
            let _ = write!(d, "L{:.1} {y:.1}L{:.1} {y:.1}", frame.x(at + 1), frame.x(at));
        }
        d.push('Z');
        let part: u64 = own.iter().take(frame.columns).sum();
        svg.path(&d, &format!("area m{}", colour(record, name)), &format!("{name}: {} packets", thousands(part)));
        base = top;
    }
}

/// A line that holds each value over its column.
fn steps(frame: &Frame, values: &[u64]) -> String {
    let mut d = String::new();
    for (at, value) in values.iter().take(frame.columns).enumerate() {
        let y = frame.rate.at(frame.per_second(*value));
        let command = if at == 0 { 'M' } else { 'L' };
        // Writing to a string can't fail.
        let _ = write!(d, "{command}{:.1} {y:.1}L{:.1} {y:.1}", frame.x(at), frame.x(at + 1));
    }
    d
}

fn losses(svg: &mut Svg, frame: &Frame, lost: &[u64], floor: f64) {
    for (at, packets) in lost.iter().take(frame.columns).enumerate().filter(|(_, packets)| **packets > 0) {
        let y = frame.loss.at(frame.per_second(*packets));
        let title =
            format!("{} lost at {} s", thousands(*packets), tick_seconds(frame.start + frame.column * real(at as u64)));
        let width = (frame.x(at + 1) - frame.x(at)).max(1.0);
        svg.rect(frame.x(at), y.min(floor - 1.5), width, (floor - y).max(1.5), "bad", &title);
    }
}

/// What of a record's offered packets was lost: a line for beneath the drawing.
pub(crate) fn summary(record: &Record) -> String {
    let sum = |bins: &[u32]| bins.iter().copied().map(u64::from).sum::<u64>();
    let (offered, lost) = (sum(&record.throughput.offered), sum(&record.throughput.lost));
    format!("{} packets offered, {} lost ({})", thousands(offered), thousands(lost), percent(share(lost, offered)))
}
