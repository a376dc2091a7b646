//! The reading end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use scalebed_engine::{Input, Instant};

use super::{MAGIC, Record, Start};

/// A longer record is not one of ours.
const LONGEST: usize = 1 << 20;

/// A journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("is not a journal of this version")]
    Foreign,
    /// A record is not one.
    #[error("is damaged at record {0}")]
    Damaged(u64),
}

/// One input of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was handed over.
    pub input: Input,
    /// By the clock then, ns of CLOCK_MONOTONIC.
    pub now: Instant,
    /// [`super::Digest`] of its outputs; none: the node ended while it handled this one.
    pub outputs: Option<u64>,
}

/// Reads a journal input by input: it may be larger than memory.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    file: R,
    start: Start,
    records: u64,
    lost: bool,
}

impl Reader {
    /// Opens a journal and reads what the node was started with.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// As [`Reader::open`], from anything that can be read.
    ///
    /// # Errors
    /// As there.
    pub fn new(mut file: R) -> Result<Self, JournalError> {
        let mut magic = [0; MAGIC.len()];
        if !whole(&mut file, &mut magic)? || magic != MAGIC {
            return Err(JournalError::Foreign);
        }
        let start = Start { program: String::new(), config: String::new() };
        let mut reader = Self { file, start, records: 0, lost: false };
        match reader.record()? {
            Some(Record::Start(start)) => Ok(Self { start, ..reader }),
            _ => Err(JournalError::Damaged(0)),
        }
    }

    /// What the node was started with.
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// Was memory full while it was written? What came after that is not in it.
    pub const fn lost(&self) -> bool {
        self.lost
    }

    /// The next input; none at the end. A record that is cut off (the node was killed) is the end.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn input(&mut self) -> Result<Option<Kept>, JournalError> {
        match self.record()? {
            Some(Record::Input(input, now, outputs)) => {
                Ok(Some(Kept { input, now, outputs: outputs.map(u64::from_le_bytes) }))
            }
            Some(Record::Start(_)) => Err(JournalError::Damaged(self.records - 1)),
            Some(Record::Lost) => {
                self.lost = true;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn record(&mut self) -> Result<Option<Record>, JournalError> {
        let damaged = JournalError::Damaged(self.records);
        let mut length = [0; 4];
        if !whole(&mut self.file, &mut length)? {
            return Ok(None);
        }
        let count = u32::from_le_bytes(length) as usize;
        if count > LONGEST {
            return Err(damaged);
        }
        let mut bytes = vec![0; count];
        if !whole(&mut self.file, &mut bytes)? {
            return Ok(None);
        }
        self.records += 1;
        match postcard::take_from_bytes(&bytes) {
            Ok((record, [])) => Ok(Some(record)),
            Ok(_) | Err(_) => Err(damaged),
        }
    }
}

/// Fills the buffer; false at the end of the file.
fn whole(file: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
