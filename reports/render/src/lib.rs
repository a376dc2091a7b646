//! A record as HTML, Markdown, JSON and JUnit; the comparison of two labs. Every page is one file: inline style, inline
//! drawings, no script, no request to anywhere, and every text of a run escaped.

use scalebed_record::comparison::Comparison;
use scalebed_record::record::{Record, Topology};

mod charts;
mod junit;
mod markdown;
mod page;
mod svg;
mod table;
mod words;

/// A report that could not be written; each is a bug.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template does not fit its data.
    #[error("report template: {0}")]
    Template(#[from] minijinja::Error),
    /// JSON.
    #[error("record as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JUnit's XML.
    #[error("JUnit report: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

/// A run as one self-contained HTML page.
///
/// # Errors
/// [`Error::Template`].
pub fn html(record: &Record) -> Result<String, Error> {
    page::run(record)
}

/// A lab as one drawing that stands alone; nothing without nodes.
#[must_use]
pub fn drawing(topology: &Topology) -> String {
    let record = Record { topology: topology.clone(), ..Record::default() };
    let svg = charts::topology(&record).unwrap_or_default();
    let style = concat!(include_str!("../templates/style.css"), "text { font-family: system-ui, sans-serif; }");
    // Inside a page it takes the page's style and size.
    svg.replacen('>', &format!("><style>{style}</style>"), 1).replacen(
        "<svg ",
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1160\" ",
        1,
    )
}

/// A run as Markdown.
///
/// # Errors
/// None at present.
pub fn markdown(record: &Record) -> Result<String, Error> {
    Ok(markdown::run(record))
}

/// A run as JSON, units in the names; the schema's version is in it.
///
/// # Errors
/// [`Error::Json`].
pub fn json(record: &Record) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(record)? + "\n")
}

/// Runs as JUnit: one suite a run, one case a check; `invalid` is an error, never green.
///
/// # Errors
/// [`Error::Junit`].
pub fn junit(records: &[Record]) -> Result<String, Error> {
    junit::report(records)
}

/// A comparison as one self-contained HTML page.
///
/// # Errors
/// [`Error::Template`].
pub fn comparison_html(comparison: &Comparison) -> Result<String, Error> {
    page::comparison(comparison)
}

/// A comparison as Markdown.
///
/// # Errors
/// None at present.
pub fn comparison_markdown(comparison: &Comparison) -> Result<String, Error> {
    Ok(markdown::comparison(comparison))
}

/// A comparison's table for a terminal.
#[must_use]
pub fn comparison_text(comparison: &Comparison) -> String {
    table::text(comparison)
}
