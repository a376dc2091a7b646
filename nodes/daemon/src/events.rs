//! What the node declares, as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use scalebed_engine::{Instant, NodeEvent};
use serde::Serialize;

/// A line: an event, or a stall of the node's own loop.
#[derive(Debug, Serialize)]
struct Line<'a> {
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a NodeEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stall: Option<u64>,
}

/// The event stream of a node.
#[derive(Debug)]
pub struct Events(File);

impl Events {
    /// Opens a file to append to, or a FIFO.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// Writes an event, whole.
    ///
    /// # Errors
    /// The stream cannot be written.
    pub fn event(&mut self, at: Instant, event: &NodeEvent) -> io::Result<()> {
        self.line(&Line { at: at.0, event: Some(event), stall: None })
    }

    /// Says that the loop ran `late`.
    ///
    /// # Errors
    /// The stream cannot be written.
    pub fn stall(&mut self, at: Instant, late: Duration) -> io::Result<()> {
        let stall = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.line(&Line { at: at.0, event: None, stall: Some(stall) })
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}

/// The line of an event, for the control socket.
///
/// # Errors
/// Serialisation fails (a bug).
pub fn line(at: Instant, event: &NodeEvent) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Line { at: at.0, event: Some(event), stall: None })?;
    text.push(b'\n');
    Ok(text)
}
