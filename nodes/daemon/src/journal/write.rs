//! The writing end.

use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use scalebed_engine::{Frame, Input, Instant, Output, PortIndex};
use serde::{Serialize, Serializer};

use super::{Digest, MAGIC, Start};

/// What has gathered goes to the file so often. Nodes are killed on purpose: it is what is missing of their end.
pub const FLUSH: Duration = Duration::from_millis(10);
/// Bytes that may wait for the file: several seconds of a busy node.
const MOST_WAITING: usize = 64 << 20;

/// [`super::Record`] from borrowed parts, without the digest that follows an input.
#[derive(Serialize)]
enum Record<'a> {
    Start(&'a Start),
    Input(Told<'a>, Instant),
    Lost,
}

/// An [`Input`]: a frame's bytes go in one piece, as postcard writes them byte by byte otherwise.
enum Told<'a> {
    Frame(PortIndex, Bytes<'a>, Instant),
    Other(&'a Input),
}

impl<'a> Told<'a> {
    fn of(input: &'a Input) -> Self {
        match input {
            Input::Frame { port, frame: Frame(bytes), received } => Self::Frame(*port, Bytes(bytes), *received),
            other => Self::Other(other),
        }
    }
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStructVariant as _;
        match self {
            // The first variant of `Input`, field by field; a test reads it back as one.
            Self::Frame(port, bytes, received) => {
                let mut frame = serializer.serialize_struct_variant("Input", 0, "Frame", 3)?;
                frame.serialize_field("port", port)?;
                frame.serialize_field("frame", bytes)?;
                frame.serialize_field("received", received)?;
                frame.end()
            }
            Self::Other(input) => input.serialize(serializer),
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// What the loop and the thread share.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// The file cannot be written.
    broken: bool,
}

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    /// The record under way: its length comes last.
    open: Vec<u8>,
    digest: Digest,
    /// Memory was full once: nothing is kept after that.
    lost: bool,
    most_waiting: usize,
    waiting: Arc<Mutex<Waiting>>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Journal {
    /// Starts a journal in an empty file, and the thread that writes it.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn begin(file: File, start: &Start) -> io::Result<Self> {
        Self::with_room(file, start, MOST_WAITING)
    }

    pub(super) fn with_room(file: File, start: &Start, most_waiting: usize) -> io::Result<Self> {
        let waiting = Arc::new(Mutex::new(Waiting { bytes: MAGIC.to_vec(), ..Waiting::default() }));
        let shared = Arc::clone(&waiting);
        let writer = std::thread::Builder::new().name("journal".to_owned()).spawn(move || carry(file, &shared))?;
        let mut journal = Self {
            open: Vec::new(),
            digest: Digest::default(),
            lost: false,
            most_waiting,
            waiting,
            writer: Some(writer),
        };
        journal.encode(&Record::Start(start));
        journal.close();
        Ok(journal)
    }

    /// Keeps an input that is about to be handed over. Never blocks.
    pub fn input(&mut self, input: &Input, now: Instant) {
        if !self.lost {
            self.encode(&Record::Input(Told::of(input), now));
        }
    }

    /// Keeps one output of it.
    pub fn output(&mut self, output: &Output) {
        if !self.lost {
            self.digest.see(output);
        }
    }

    /// All its outputs were kept.
    pub fn done(&mut self) {
        if !self.lost {
            let digest = self.digest.take();
            self.open.push(1);
            self.open.extend(digest.to_le_bytes());
            self.close();
        }
    }

    /// Writes everything that is on its way.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn encode(&mut self, record: &Record<'_>) {
        let mut into = mem::take(&mut self.open);
        into.clear();
        into.extend([0; 4]);
        // Into memory it cannot fail; without the record the length is 0, which the reader refuses.
        self.open = postcard::to_extend(record, into).unwrap_or_else(|_| vec![0; 4]);
    }

    /// The length of the record under way is known.
    fn seal(&mut self) {
        let length = u32::try_from(self.open.len() - 4).unwrap_or(u32::MAX);
        self.open[..4].copy_from_slice(&length.to_le_bytes());
    }

    /// Hands the record under way to the thread.
    fn close(&mut self) {
        self.seal();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes.len() + self.open.len() > self.most_waiting || waiting.broken {
            drop(waiting);
            self.lose();
        } else {
            waiting.bytes.extend_from_slice(&self.open);
            self.open.clear();
        }
    }

    /// The mark itself always finds room.
    fn lose(&mut self) {
        self.lost = true;
        self.encode(&Record::Lost);
        self.seal();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes.append(&mut self.open);
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if !self.open.is_empty() {
            // The node ends while it handles an input: that is the one to look at.
            self.open.push(0);
            self.close();
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        writer.thread().unpark();
        writer.join().unwrap_or_else(|_| Err(io::Error::other("the journal's writer panicked")))
    }
}

impl Drop for Journal {
    /// A node that panics leaves its last inputs too.
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("journal: {error}");
        }
    }
}

fn carry(mut file: File, waiting: &Mutex<Waiting>) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let ended = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.clear();
            mem::swap(&mut bytes, &mut waiting.bytes);
            waiting.ended
        };
        if let Err(error) = file.write_all(&bytes) {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.broken = true;
            return Err(error);
        }
        if ended {
            return Ok(());
        }
        std::thread::park_timeout(FLUSH);
    }
}
