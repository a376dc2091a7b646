//! The event stream of a process: JSON lines, as every process of a run writes them and the harness reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Instant, NodeEvent};

/// One line: an event, or a stall of the process' own loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// By the process' clock, ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// What it declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<NodeEvent>,
    /// Its loop ran so much later than due, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<u64>,
}

impl EventLine {
    /// The line of an event.
    #[must_use]
    pub fn event(at: Instant, event: &NodeEvent) -> Self {
        Self { at: at.0, event: Some(event.clone()), stall: None }
    }

    /// The line of a stall.
    #[must_use]
    pub fn stall(at: Instant, late: Duration) -> Self {
        Self { at: at.0, event: None, stall: Some(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// Its bytes, the end of line included: to be written in one piece, so that a reader never sees half of one.
    ///
    /// # Errors
    /// Serialisation fails (a bug).
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::EventLine;
    use crate::{Instant, NodeEvent};

    #[test]
    fn lines_read_back_as_they_were_written() {
        for (line, text) in [
            (EventLine::event(Instant(5), &NodeEvent::Ready), "{\"at\":5,\"event\":\"ready\"}\n"),
            (EventLine::stall(Instant(9), Duration::from_millis(26)), "{\"at\":9,\"stall\":26000000}\n"),
        ] {
            let bytes = line.to_bytes().expect("json");
            assert_eq!(bytes, text.as_bytes());
            assert_eq!(serde_json::from_slice::<EventLine>(&bytes).expect("a line"), line);
        }
    }
}
