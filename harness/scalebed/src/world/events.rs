//! What node processes declare, as it comes: one FIFO a node, JSON lines, kept in the run directory as they are read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use scalebed_engine::EventLine;

/// The reading end of a node's events.
#[derive(Debug)]
pub struct Stream {
    fifo: File,
    kept: File,
    partial: Vec<u8>,
}

impl Stream {
    /// Makes `folder/events.fifo` and keeps what comes in `folder/events.jsonl`.
    ///
    /// # Errors
    /// The FIFO or the file cannot be made.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join("events.fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Opened for both: a restart of the node must not look like the end of the stream.
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
        let kept = OpenOptions::new().create(true).append(true).open(folder.join("events.jsonl"))?;
        Ok(Self { fifo, kept, partial: Vec::new() })
    }

    /// Every whole line that has come.
    ///
    /// # Errors
    /// The FIFO cannot be read, the file not be written, or a line is not JSON of ours.
    pub fn drain(&mut self) -> io::Result<Vec<EventLine>> {
        let mut chunk = [0; 65_536];
        let mut lines = Vec::new();
        loop {
            match self.fifo.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    self.kept.write_all(&chunk[..count])?;
                    self.partial.extend_from_slice(&chunk[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            lines.push(serde_json::from_slice(&line)?);
        }
        Ok(lines)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Stream;

    #[test]
    fn lines_come_whole_and_are_kept() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut stream = Stream::create(place.path()).expect("a stream");
        let mut writer = std::fs::OpenOptions::new().write(true).open(place.path().join("events.fifo")).expect("fifo");
        writer.write_all(b"{\"at\":1,\"event\":\"ready\"}\n{\"at\":2,").expect("written");
        assert_eq!(stream.drain().expect("read").len(), 1);
        writer.write_all(b"\"stall\":30}\n").expect("written");
        let rest = stream.drain().expect("read");
        assert_eq!((rest[0].at, rest[0].stall), (2, Some(30)));
        let kept = std::fs::read_to_string(place.path().join("events.jsonl")).expect("kept");
        assert_eq!(kept.lines().count(), 2);
    }
}
