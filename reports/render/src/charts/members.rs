//! Bars a member: distinct keys against expectation and tolerance, and shares of packets.

use scalebed_record::Record;
use scalebed_record::record::MemberRow;

use super::{WIDTH, colour};
use crate::svg::{Scale, Svg};
use crate::words::{clip, percent, real, thousands};

const LEFT: f64 = 120.0;
const RIGHT: f64 = 250.0;
const ROW: f64 = 34.0;

/// Keys a member owns, with what was expected; `None` without members.
pub(crate) fn keys(record: &Record) -> Option<String> {
    let most = |row: &MemberRow| real(row.keys).max(row.expected_keys + row.tolerance_keys);
    let most = record.members.iter().map(most).max_by(f64::total_cmp).filter(|most| *most > 0.0)?;
    let scale = Scale::new(0.0, most * 1.04, LEFT, WIDTH - RIGHT);
    let mut svg = Svg::new(WIDTH, ROW * real(record.members.len() as u64) + 12.0, "keys a member, with expectation");
    for (index, row) in record.members.iter().enumerate() {
        let y = 6.0 + ROW * real(index as u64);
        svg.text(12.0, y + 20.0, "t", &clip(&row.member, 15));
        svg.rect(LEFT, y + 4.0, WIDTH - RIGHT - LEFT, ROW - 12.0, "track", "");
        let class = format!("m{}", colour(record, &row.member));
        svg.rect(LEFT, y + 4.0, scale.at(real(row.keys)) - LEFT, ROW - 12.0, &class, &thousands(row.keys));
        let (low, high) = (row.expected_keys - row.tolerance_keys, row.expected_keys + row.tolerance_keys);
        let title = format!("expected {:.0} ± {:.0}", row.expected_keys, row.tolerance_keys);
        svg.rect(scale.at(low), y, scale.at(high) - scale.at(low), ROW - 4.0, "tolerance", &title);
        let x = scale.at(row.expected_keys);
        svg.line((x, y), (x, y + ROW - 4.0), "expected", &title);
        let fits = (low..=high).contains(&real(row.keys));
        let text = format!("{} of {:.0} ± {:.0}", thousands(row.keys), row.expected_keys, row.tolerance_keys);
        svg.text(WIDTH - RIGHT + 14.0, y + 20.0, if fits { "t small" } else { "t small strong badtext" }, &text);
    }
    Some(svg.finish())
}

/// Shares of packets that entered at each member, and that each processed, over the page's width.
pub(crate) fn shares(record: &Record) -> Option<String> {
    shares_within(record, WIDTH, RIGHT)
}

/// As [`shares`], for half the page.
pub(crate) fn shares_beside(record: &Record) -> Option<String> {
    shares_within(record, WIDTH / 2.0, RIGHT / 2.0)
}

fn shares_within(record: &Record, total: f64, right: f64) -> Option<String> {
    if record.members.is_empty() {
        return None;
    }
    let row_height = 44.0;
    let scale = Scale::new(0.0, 1.0, LEFT, total - right);
    let height = row_height * real(record.members.len() as u64) + 12.0;
    let mut svg = Svg::new(total, height, "shares of packets a member");
    for (index, row) in record.members.iter().enumerate() {
        let y = 6.0 + row_height * real(index as u64);
        svg.text(12.0, y + 22.0, "t", &clip(&row.member, 15));
        let colour = colour(record, &row.member);
        for (offset, word, value, class) in [
            (2.0, "ingress", row.ingress_share, format!("m{colour} pale")),
            (20.0, "processed", row.processed_share, format!("m{colour}")),
        ] {
            svg.rect(LEFT, y + offset, total - right - LEFT, 15.0, "track", "");
            svg.rect(LEFT, y + offset, scale.at(value) - LEFT, 15.0, &class, &format!("{word} {}", percent(value)));
            svg.text(total - right + 14.0, y + offset + 12.0, "t small", &format!("{word} {}", percent(value)));
        }
    }
    Some(svg.finish())
}
