//! Asking a node over its control socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use scalebed_engine::{NodeEvent, Status};

/// A node that does not answer within this is not asked again.
const LIMIT: Duration = Duration::from_secs(2);

/// A node's own account of itself.
///
/// # Errors
/// The socket is not there, the node does not answer in time, or what it says is not a status.
pub fn status(socket: &Path) -> io::Result<Status> {
    ask(socket, "")
}

/// Gives it new settings, JSON of its engine's own type; its account afterwards.
///
/// # Errors
/// As [`status`].
pub fn configure(socket: &Path, json: &str) -> io::Result<Status> {
    let request = serde_json::json!({ "configure": json });
    ask(socket, &format!("{request}\n"))
}

fn ask(socket: &Path, before: &str) -> io::Result<Status> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("{before}\"status\"\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let value: serde_json::Value = serde_json::from_str(&line)?;
    let event = value.get("event").cloned().unwrap_or(value);
    match serde_json::from_value(event)? {
        NodeEvent::Status(status) => Ok(*status),
        other => Err(io::Error::other(format!("not a status: {other:?}"))),
    }
}
