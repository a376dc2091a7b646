//! What is wrong with a file: every problem with its line and column, and what to write instead.

use std::fmt;

/// At most this many problems of one file are listed; the rest is counted.
const MOST: usize = 20;
/// Beyond so many, problems are not looked at any more: the time that a hostile file takes stays bounded.
const KEPT: usize = 100;
/// A source line is shown up to this length.
const WIDTH: usize = 100;

/// A place in a file: line and column count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// Length of what is meant, in characters; at least one is marked.
    pub length: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// The nearest valid key or value, or what to write instead.
    pub instead: String,
    /// The line as it stands in the file.
    source: String,
}

/// A file that cannot be used. Displays as `file:line:column: what is wrong; what to write instead`, each problem with
/// its source line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    file: String,
    problems: Vec<Problem>,
}

impl Error {
    /// The file, as it was named to us.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Every problem, in order of the file; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line of the first problem, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.problems.first().map_or(1, |problem| problem.place.line)
    }

    /// Column of the first problem, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.problems.first().map_or(1, |problem| problem.place.column)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(MOST).enumerate() {
            let Place { line, column, length } = problem.place;
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}:{line}:{column}: {}; {}", self.file, problem.what, problem.instead)?;
            if column <= WIDTH && !problem.source.is_empty() {
                let source: String = problem.source.chars().take(WIDTH).collect();
                let marks = length.clamp(1, (source.chars().count() + 1).saturating_sub(column).max(1));
                write!(f, "\n{line:>5} | {source}\n      | {:pad$}{}", "", "^".repeat(marks), pad = column - 1)?;
            }
        }
        match self.problems.len().saturating_sub(MOST) {
            0 => Ok(()),
            more if self.problems.len() < KEPT => write!(f, "\n{}: and {more} more", self.file),
            _ => write!(f, "\n{}: and many more", self.file),
        }
    }
}

/// Collects the problems of one file.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    text: &'a str,
    list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    /// Notes one problem. The place is moved into the file where a parser reported its very end.
    pub(crate) fn add(&mut self, place: Place, what: impl Into<String>, instead: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let lines = self.text.lines().count().max(1);
        let line = place.line.clamp(1, lines);
        let source = self.text.lines().nth(line - 1).unwrap_or_default();
        let column = if place.line > lines { source.chars().count() + 1 } else { place.column.max(1) };
        // A control character in a quoted line must not reach the terminal; a tab would shift the mark.
        let source = source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let place = Place { line, column, length: place.length.max(1) };
        self.list.push(Problem { place, what: what.into(), instead: instead.into(), source });
    }

    /// Enough is known: further looking adds nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= KEPT
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value, unless something was wrong.
    pub(crate) fn finish<T>(mut self, file: &str, value: Option<T>) -> Result<T, Error> {
        if let (Some(value), true) = (value, self.is_empty()) {
            return Ok(value);
        }
        if self.is_empty() {
            self.add(Place::default(), "the file says nothing", "write a mapping of keys");
        }
        self.list.sort_by_key(|problem| problem.place);
        Err(Error { file: file.to_owned(), problems: self.list })
    }
}

/// The candidate that is nearest to `text`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let text = text.chars().take(64).collect::<String>().to_lowercase();
    let near = |candidate: &&str| strsim::jaro_winkler(&text, &candidate.to_lowercase());
    candidates.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|candidate| near(candidate) > 0.7).copied()
}

/// `nearest valid key: x` or the whole list.
pub(crate) fn suggestion(kind: &str, text: &str, candidates: &[&str]) -> String {
    match nearest(text, candidates) {
        Some(near) => format!("nearest valid {kind}: `{near}`"),
        None => format!("valid {kind}s: {}", candidates.join(", ")),
    }
}

/// A text of the file as it may stand in a message: short, and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 40 {
        short.push('…');
    }
    format!("`{short}`")
}
