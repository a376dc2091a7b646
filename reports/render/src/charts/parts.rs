//! Where the time of a failover went: detect, decide, barrier, announce.

use scalebed_record::Record;
use scalebed_record::record::FaultRow;

use super::WIDTH;
use crate::svg::{Scale, Svg};
use crate::words::{clip, millis, real};

const LEFT: f64 = 220.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 34.0;
/// The parts in the order in which they happen.
pub(crate) const ORDER: [&str; 4] = ["detect", "decide", "barrier", "announce"];

/// The parts of an event in order: the four known ones, then whatever else was measured.
pub(crate) fn parts(fault: &FaultRow) -> Vec<(&str, f64)> {
    let known = ORDER.iter().filter_map(|name| fault.parts_ms.get_key_value(*name));
    let rest = fault.parts_ms.iter().filter(|(name, _)| !ORDER.contains(&name.as_str()));
    known.chain(rest).map(|(name, ms)| (name.as_str(), *ms)).collect()
}

/// One bar an event that has parts; `None` where none has.
pub(crate) fn failover(record: &Record) -> Option<String> {
    let rows: Vec<&FaultRow> = record.faults.iter().filter(|fault| !fault.parts_ms.is_empty()).collect();
    let total = |fault: &FaultRow| parts(fault).iter().map(|(_, ms)| ms.max(0.0)).sum::<f64>();
    let most = rows.iter().map(|fault| total(fault)).max_by(f64::total_cmp)?;
    let scale = Scale::new(0.0, most, LEFT, WIDTH - RIGHT);
    let mut svg = Svg::new(WIDTH, ROW * real(rows.len() as u64) + 8.0, "parts of each failover");
    for (index, fault) in rows.into_iter().enumerate() {
        let y = 4.0 + ROW * real(index as u64);
        svg.text(12.0, y + 19.0, "t", &clip(&fault.text, 30));
        let mut from = 0.0;
        for (place, (name, ms)) in parts(fault).into_iter().enumerate() {
            let (x, width) = (scale.at(from), scale.at(from + ms.max(0.0)) - scale.at(from));
            let title = format!("{name} {}", millis(ms));
            svg.rect(x, y + 3.0, width.max(1.0), ROW - 10.0, &format!("p{}", place % 5), &title);
            if width > 7.0 * real(title.chars().count() as u64) {
                svg.text(x + 8.0, y + 19.0, "t small strong onbar", &title);
            }
            from += ms.max(0.0);
        }
        svg.text(WIDTH - RIGHT + 12.0, y + 19.0, "t small strong", &millis(from));
    }
    Some(svg.finish())
}
