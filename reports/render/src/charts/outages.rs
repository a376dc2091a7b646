//! One strip a flow that lost something, from its first to its last lost packet, sorted by owner.

use scalebed_record::Record;
use scalebed_record::record::Outage;

use super::{WIDTH, colour};
use crate::svg::{Scale, Svg, tick_seconds};
use crate::words::{clip, real, seconds};

const LEFT: f64 = 120.0;
const TOP: f64 = 10.0;
const ROW: f64 = 5.0;
/// Most strips that are drawn.
pub(crate) const MOST: usize = 120;

/// How many strips are drawn, of how many.
pub(crate) fn outages_shown(record: &Record) -> (usize, usize) {
    (record.outages.len().min(MOST), record.outages.len())
}

/// Draws the strips; `None` where nothing was lost.
pub(crate) fn outages(record: &Record) -> Option<String> {
    let rows = chosen(record);
    let first = rows.iter().map(|row| row.from_ms).min_by(f64::total_cmp)?;
    let last = rows.iter().map(|row| row.to_ms).max_by(f64::total_cmp)?;
    let pad = ((last - first) * 0.06).max(20.0);
    let time = Scale::new(first - pad, last + pad, LEFT, WIDTH - 16.0);
    let groups = rows.chunk_by(|a, b| a.owner == b.owner);
    let gaps = groups.clone().count().saturating_sub(1);
    let bottom = TOP + ROW * real(rows.len() as u64) + 12.0 * real(gaps as u64) + 14.0;
    let mut svg = Svg::new(WIDTH, bottom + 30.0, "outages by flow");
    for tick in time.ticks(10.0) {
        svg.line((time.at(tick), TOP - 4.0), (time.at(tick), bottom), "grid", "");
        svg.text(time.at(tick), bottom + 17.0, "t mid small muted", &format!("{} s", tick_seconds(tick)));
    }
    svg.line((LEFT, bottom), (WIDTH - 16.0, bottom), "axis", "");
    for fault in &record.faults {
        if (first - pad..=last + pad).contains(&fault.at_ms) {
            svg.line(
                (time.at(fault.at_ms), TOP - 6.0),
                (time.at(fault.at_ms), bottom),
                super::mark(record, fault),
                &fault.text,
            );
        }
    }
    let mut y = TOP;
    for group in groups {
        let height = ROW * real(group.len() as u64);
        if let Some(head) = group.first() {
            let middle = (y + height / 2.0 + 4.0).max(y + 10.0);
            svg.text(12.0, middle, "t", &clip(&head.owner, 15));
        }
        for row in group {
            strip(&mut svg, record, row, time, y);
            y += ROW;
        }
        y += 12.0;
    }
    Some(svg.finish())
}

/// Sorted by owner, then time. Beyond the most, flows that nobody predicted come first: they are what is to be seen.
fn chosen(record: &Record) -> Vec<&Outage> {
    let mut rows: Vec<&Outage> = record.outages.iter().collect();
    rows.sort_by_key(|row| (row.predicted, row.class != "probe", row.flow));
    rows.truncate(MOST);
    rows.sort_by(|a, b| a.owner.cmp(&b.owner).then(a.from_ms.total_cmp(&b.from_ms)).then(a.flow.cmp(&b.flow)));
    rows
}

fn strip(svg: &mut Svg, record: &Record, row: &Outage, time: Scale, y: f64) {
    let (from, to) = (time.at(row.from_ms), time.at(row.to_ms));
    let title = format!(
        "flow {} ({}), owner {}: {} lost from {} to {}{}",
        row.flow,
        row.class,
        row.owner,
        row.lost,
        seconds(row.from_ms),
        seconds(row.to_ms),
        if row.predicted { "" } else { ", not predicted" }
    );
    let class = if row.predicted { format!("m{}", colour(record, &row.owner)) } else { "bad".to_owned() };
    svg.rect(from, y, (to - from).max(3.0), ROW - 1.0, &class, &title);
}
