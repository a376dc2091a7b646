//! The events file: JSON lines, as every process of a run writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use scalebed_engine::{Instant, NodeEvent};
use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// ns of CLOCK_MONOTONIC.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a NodeEvent>,
    /// The loop ran so much too late, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    stall: Option<u64>,
}

/// Where events go. Each line is written at once, in one piece: a reader never sees half of one.
#[derive(Debug)]
pub struct Events {
    file: File,
}

impl Events {
    /// Opens the file for appending, and creates it if it is not there. It may be a FIFO.
    ///
    /// # Errors
    /// As `open`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().append(true).create(true).open(path)? })
    }

    /// The engine declared something.
    ///
    /// # Errors
    /// As `write`.
    pub fn event(&mut self, at: Instant, event: &NodeEvent) -> io::Result<()> {
        self.write(&Line { at: at.0, event: Some(event), stall: None })
    }

    /// The loop ran late.
    ///
    /// # Errors
    /// As `write`.
    pub fn stall(&mut self, at: Instant, late: u64) -> io::Result<()> {
        self.write(&Line { at: at.0, event: None, stall: Some(late) })
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_harness_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut events = Events::open(&path).unwrap();
        events.event(Instant(5), &NodeEvent::Ready).unwrap();
        events.stall(Instant(9), 26_000_000).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"at\":5,\"event\":\"ready\"}\n{\"at\":9,\"stall\":26000000}\n");
    }
}
