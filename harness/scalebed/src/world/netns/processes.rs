//! Processes of a lab in namespaces: how they are started and signalled, what they say, and how they end.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scalebed_netns::{Process, ProcessSpec};
use scalebed_record::{Entry, Fact};

use super::{GENERATOR, Netns, PRIORITY, TESTER_PRIORITY, Waited, broke};
use crate::exit::{self, Failure};
use crate::world::events::Stream;
use crate::world::{Done, Told, World as _};

impl Netns {
    pub(super) fn node_folder(&self, node: usize) -> Result<PathBuf, Failure> {
        let folder = self.folder.join("nodes").join(self.name(node));
        std::fs::create_dir_all(&folder).map_err(|error| broke(&format!("{}: {error}", folder.display())))?;
        Ok(folder)
    }

    /// Starts a program in a node's namespace; its events come through the node's FIFO.
    pub(super) fn spawn(&mut self, node: usize, program: &str, args: Vec<String>) -> Result<Process, Failure> {
        let folder = self.node_folder(node)?;
        if let std::collections::btree_map::Entry::Vacant(place) = self.streams.entry(node) {
            let stream = Stream::create(&folder).map_err(|error| broke(&format!("{}: {error}", folder.display())))?;
            place.insert(stream);
        }
        let spec = ProcessSpec {
            program: self.programs.join(program),
            args,
            env: Vec::new(),
            stdout: folder.join("stdout.log"),
            stderr: folder.join("stderr.log"),
            fifo_priority: Some(if program == GENERATOR { TESTER_PRIORITY } else { PRIORITY }),
        };
        self.sandbox
            .spawn(self.namespaces[&node], &spec)
            .map_err(|error| Failure::new(exit::APPLY, format!("{}: cannot start {program}: {error}", self.name(node))))
    }

    pub(super) fn process(&mut self, node: usize) -> Result<&mut Process, Failure> {
        let name = self.lab.nodes[node].name.clone();
        self.running.get_mut(&node).ok_or_else(|| Failure::new(exit::BUG, format!("{name} is not running")))
    }

    /// Takes note of what happens until a node says something, the operator stops it, or `asked` can be read: how a live
    /// lab waits.
    ///
    /// # Errors
    /// A descriptor failed.
    pub fn wait(&mut self, asked: BorrowedFd<'_>, timeout: Duration) -> Result<Waited, Failure> {
        let mut waited = Waited::default();
        (waited.interrupted, waited.asked) = self.listen(Some(asked), timeout)?;
        waited.told = std::mem::take(&mut self.told);
        waited.died = self.dead();
        for (node, _) in &waited.died {
            self.running.remove(node);
        }
        Ok(waited)
    }

    /// Reads what nodes said; was a stop asked for, and can `also` be read?
    pub(super) fn listen(&mut self, also: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<(bool, bool), Failure> {
        let (interrupted, asked) = {
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            fds.extend(also.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            fds.extend(self.streams.values().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            if let Some(signals) = &self.signals {
                fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
            }
            // Rounded up: poll counts milliseconds, and a timeout of 0 would spin.
            let wait = PollTimeout::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, wait) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(broke(&format!("poll: {error}"))),
            }
            let readable = |fd: Option<&PollFd<'_>>| {
                fd.and_then(PollFd::revents).is_some_and(|got| got.contains(PollFlags::POLLIN))
            };
            (self.signals.is_some() && readable(fds.last()), also.is_some() && readable(fds.first()))
        };
        if interrupted && let Some(signals) = &self.signals {
            let _consumed = signals.read_signal();
        }
        for (node, stream) in &mut self.streams {
            let lines =
                stream.drain().map_err(|error| broke(&format!("{}: events: {error}", self.lab.nodes[*node].name)))?;
            for line in lines {
                if let Some(event) = line.event {
                    self.told.push(Told { at: line.at, node: *node, event });
                }
                if let Some(late) = line.stall {
                    let who = self.lab.nodes[*node].name.clone();
                    self.stalls.push(Entry { at: line.at, fact: Fact::Stall { who, late } });
                }
            }
        }
        Ok((interrupted, asked))
    }

    /// Processes of ours that ended without being told to, with their last words.
    fn dead(&mut self) -> Vec<(usize, String)> {
        let mut dead = Vec::new();
        for (node, process) in &mut self.running {
            if let Some(status) = process.exited() {
                let name = &self.lab.nodes[*node].name;
                let stderr = std::fs::read_to_string(self.folder.join("nodes").join(name).join("stderr.log"));
                let last = stderr.unwrap_or_default().lines().last().unwrap_or("(no message)").to_owned();
                dead.push((*node, format!("{status}: {last}")));
            }
        }
        dead
    }

    /// In a run that is a bug.
    pub(super) fn nobody_died(&mut self) -> Result<(), Failure> {
        match self.dead().first() {
            None => Ok(()),
            Some((node, how)) => Err(broke(&format!("{} ended by itself ({how})", self.name(*node)))),
        }
    }

    pub(super) fn signal(
        &mut self,
        node: usize,
        proof: &str,
        send: impl FnOnce(&mut Process) -> Result<(), scalebed_netns::Error>,
    ) -> Result<Done, Failure> {
        let name = self.name(node).to_owned();
        let before = self.now();
        let process = self.process(node)?;
        send(process).map_err(|error| broke(&format!("{name}: {error}")))?;
        Ok(Done { before, after: self.now(), proof: proof.to_owned() })
    }
}
