//! The journal: what a node was started with, every input with the instant when it was handed over, and a digest of what
//! came of it. From it the same outputs are produced again, input by input.
//!
//! A file is [`MAGIC`], then records `[length u32 LE][postcard]`. The loop encodes a record into memory; a thread carries
//! what has gathered to the file every [`FLUSH`], because a wake-up a packet would cost more than the packet. So a node
//! that is killed leaves all but its last 10 ms, and one that panics leaves everything.

mod read;
mod write;

use std::hash::Hasher as _;

use scalebed_engine::{Input, Instant, Output};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

pub use read::{JournalError, Kept, Reader};
pub use write::Journal;

/// What a journal begins with; the last character counts formats.
const MAGIC: [u8; 8] = *b"scbjrnl1";

/// A record as it is read. [`write`] encodes the same from borrowed parts.
#[derive(Debug, Deserialize)]
enum Record {
    Start(Start),
    /// The digest is that of its outputs; none: the node ended while it handled this one.
    Input(Input, Instant, Option<[u8; 8]>),
    /// Memory was full: what came from here on was not kept.
    Lost,
}

/// What a node was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// `mho`, `sgm`, `pivot` or `switch`.
    pub program: String,
    /// JSON of its configuration, as it was read.
    pub config: String,
}

/// A digest over the outputs of one input.
#[derive(Debug, Default)]
pub struct Digest(SipHasher13);

impl Digest {
    /// Takes an output in.
    pub fn see(&mut self, output: &Output) {
        match output {
            Output::Transmit { port, frame } => {
                self.0.write_u8(1);
                self.0.write_u16(port.0);
                self.0.write_usize(frame.bytes().len());
                self.0.write(frame.bytes());
            }
            Output::Idle(deadline) => {
                self.0.write_u8(2);
                self.0.write_u8(u8::from(deadline.is_some()));
                self.0.write_u64(deadline.map_or(0, |deadline| deadline.0));
            }
            Output::SetPort { .. } | Output::Event(_) | Output::InstallConfig(_) | Output::Reboot => {
                self.0.write_u8(3);
                self.0.write(&postcard::to_allocvec(output).unwrap_or_default());
            }
        }
    }

    /// Its value; the next output begins a new one.
    pub fn take(&mut self) -> u64 {
        std::mem::take(&mut self.0).finish()
    }
}

#[cfg(test)]
mod tests;
