//! The comparison's table for a terminal: each value with the number of its evidence, listed below.

use std::fmt::Write as _;

use scalebed_record::comparison::{Cell, Comparison};

use crate::words::clip;

/// Widest column of text.
const WIDEST: usize = 44;

pub(crate) fn text(comparison: &Comparison) -> String {
    let mut files: Vec<&str> = Vec::new();
    let mut lines = vec![["", "ElasticXL", "Maestro"].map(str::to_owned)];
    for row in &comparison.rows {
        let cells = [&row.elasticxl, &row.maestro].map(|cell| numbered(cell, &mut files));
        let [elasticxl, maestro] = cells;
        lines.push([clip(&plain(&row.aspect), WIDEST), elasticxl, maestro]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for (index, [aspect, elasticxl, maestro]) in lines.iter().enumerate() {
        let line = format!("{aspect:<0$}  {elasticxl:<1$}  {maestro}", widths[0], widths[1]);
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}", line.trim_end());
        if index == 0 {
            let _ = writeln!(out, "{}", "-".repeat(widths.iter().sum::<usize>() + 4));
        }
    }
    for (index, file) in files.iter().enumerate() {
        let _ = writeln!(out, "[{}] {}", index + 1, plain(file));
    }
    out
}

/// The value, and the number of the file that shows it.
fn numbered<'a>(cell: &'a Cell, files: &mut Vec<&'a str>) -> String {
    let value = clip(&plain(&cell.value), WIDEST);
    if cell.evidence.is_empty() {
        return value;
    }
    let place = files.iter().position(|file| *file == cell.evidence).unwrap_or(files.len());
    if place == files.len() {
        files.push(&cell.evidence);
    }
    format!("{value} [{}]", place + 1)
}

/// Without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
