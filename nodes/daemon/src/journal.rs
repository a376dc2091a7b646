//! The journal: every input with the instant when it was handed over, from which a test reproduces the outputs.
//!
//! Records are `[length u32 LE][postcard]`. They leave the node's loop by a bounded ring; a record that does not fit is
//! lost, and the journal ends with a mark that says that it cannot be replayed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use scalebed_engine::{Input, Instant};
use serde::{Deserialize, Serialize};

/// Records that may be on their way to the disk.
const RING: usize = 65_536;
/// A longer record is not one of ours.
const LONGEST: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Input(Input, Instant),
    /// So many inputs were lost before here.
    Lost(u64),
}

/// A journal cannot be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("journal cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A record is not one.
    #[error("journal is damaged at record {0}")]
    Damaged(usize),
    /// Inputs were lost while it was written.
    #[error("journal cannot be replayed: {0} inputs were lost when its ring was full")]
    Overflow(u64),
}

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    ring: Option<SyncSender<Record>>,
    lost: u64,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Journal {
    /// Starts a journal and the thread that writes it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (ring, records) = sync_channel(RING);
        let writer = std::thread::Builder::new().name("journal".to_owned()).spawn(move || write(file, &records))?;
        Ok(Self { ring: Some(ring), lost: 0, writer: Some(writer) })
    }

    /// Keeps an input. Never blocks.
    pub fn keep(&mut self, input: &Input, now: Instant) {
        let Some(ring) = &self.ring else { return };
        if self.lost == 0
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                ring.try_send(Record::Input(input.clone(), now))
        {
            self.lost += 1;
        } else if self.lost > 0 {
            self.lost += 1;
        }
    }

    /// Writes everything that is on its way, and the mark if something was lost.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(ring) = self.ring.take()
            && self.lost > 0
        {
            let _gone_is_told_by_the_writer = ring.send(Record::Lost(self.lost));
        }
        let writer = self.writer.take().map(JoinHandle::join);
        writer.map_or(Ok(()), |outcome| {
            outcome.unwrap_or_else(|_| Err(io::Error::other("the journal's writer panicked")))
        })
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

fn write(file: File, records: &Receiver<Record>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            // Nothing stays in this process while there is time: it may be killed.
            Err(TryRecvError::Empty) => {
                file.flush()?;
                match records.recv() {
                    Ok(record) => record,
                    Err(_) => break,
                }
            }
            Err(TryRecvError::Disconnected) => break,
        };
        let bytes = postcard::to_allocvec(&record).map_err(io::Error::other)?;
        file.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        file.write_all(&bytes)?;
    }
    file.flush()
}

/// Reads a journal whole.
///
/// # Errors
/// It cannot be read, is damaged, or inputs were lost. A record that is cut off at the end (the node was killed) ends it.
pub fn read(path: &Path) -> Result<Vec<(Input, Instant)>, JournalError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut inputs = Vec::new();
    let mut length = [0; 4];
    while whole(&mut file, &mut length)? {
        let count = u32::from_le_bytes(length) as usize;
        if count > LONGEST {
            return Err(JournalError::Damaged(inputs.len()));
        }
        let mut bytes = vec![0; count];
        if !whole(&mut file, &mut bytes)? {
            break;
        }
        match postcard::from_bytes(&bytes).map_err(|_| JournalError::Damaged(inputs.len()))? {
            Record::Input(input, now) => inputs.push((input, now)),
            Record::Lost(count) => return Err(JournalError::Overflow(count)),
        }
    }
    Ok(inputs)
}

/// Fills the buffer; false at the end of the file.
fn whole(file: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use scalebed_engine::{Command, Frame, Input, Instant, PortIndex};

    use super::{Journal, JournalError, read};

    #[test]
    fn inputs_come_back_as_they_were() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("journal.bin");
        let inputs = vec![
            (Input::Timeout, Instant(1)),
            (Input::Link { port: PortIndex(1), up: true, changes: 3 }, Instant(2)),
            (Input::Frame { port: PortIndex(0), frame: Frame(vec![1; 1500]), received: Instant(2) }, Instant(3)),
            (Input::Command(Command::Drain), Instant(4)),
        ];
        let mut journal = Journal::create(&path).expect("a journal");
        inputs.iter().for_each(|(input, now)| journal.keep(input, *now));
        journal.finish().expect("written");
        assert_eq!(read(&path).expect("whole"), inputs);
        let bytes = std::fs::read(&path).expect("there");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("cut");
        assert_eq!(read(&path).expect("cut off at the end").len(), 3);
    }

    #[test]
    fn a_node_that_panics_leaves_all_its_inputs() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("journal.bin");
        let outcome = std::panic::catch_unwind(|| {
            let mut journal = Journal::create(&path).expect("a journal");
            (0..1000).for_each(|at| journal.keep(&Input::Timeout, Instant(at)));
            std::panic::resume_unwind(Box::new("the engine"));
        });
        assert!(outcome.is_err());
        assert_eq!(read(&path).expect("whole").len(), 1000);
    }

    #[test]
    fn a_lost_input_makes_it_not_replayable() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("journal.bin");
        let mut journal = Journal::create(&path).expect("a journal");
        journal.keep(&Input::Timeout, Instant(1));
        journal.lost = 2;
        journal.finish().expect("written");
        assert!(matches!(read(&path), Err(JournalError::Overflow(2))));
    }
}
