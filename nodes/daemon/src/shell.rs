//! The loop around an engine: waits, reads the clock, hands inputs over, does what comes out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use scalebed_engine::{Command, Engine, EventLine, Input, Instant, NodeEvent, PortIndex};
use scalebed_port::{PacketPort, Ready, clock, drop_privileges, wait};

use crate::Interfaces;
use crate::args::Args;
use crate::control::ControlSocket;
use crate::journal::{Journal, Start};
use crate::links::Links;
use crate::node::{Effect, Node, Round};
use crate::ports::Ports;

/// Under load the next look comes after this: a wake-up a packet costs more than the packet (at 100 us the wake-ups of a
/// lab filled two cores; a cross-CPU wake-up takes
/// 100 us), and a loop under SCHED_FIFO that never sleeps is throttled.
const TICK: Duration = Duration::from_micros(500);
/// So long after the last frame the loop counts as loaded.
const LOADED: Duration = Duration::from_millis(1);
/// A loop that ran later than this says so: timing bars are not judged then.
const STALL: Duration = Duration::from_millis(25);
/// Places in the list that the loop waits for; the control socket and its clients come last but for the ports.
const LINKS: usize = 0;
const SIGNALS: usize = 1;
const CONTROL: usize = 2;
/// The request number of the account at the end, which nobody asked for.
const FINAL: u64 = 0;
/// Nothing waits longer, whatever the engine says.
const LONGEST: Duration = Duration::from_secs(1);

/// A node process: its engine and everything around it.
pub struct Shell<E> {
    node: Node<E, PacketPort>,
    links: Links,
    control: ControlSocket,
    /// A file or a FIFO.
    events: File,
    signals: SignalFd,
    last_round: Round,
    last_frame: Instant,
    lateness: Lateness,
}

impl<E: Engine> Shell<E> {
    /// Opens everything that the node needs in the namespace that it was started in. `start` is for the journal.
    ///
    /// # Errors
    /// A port, socket or file cannot be opened.
    pub fn open(engine: E, args: &Args, interfaces: Interfaces, start: &Start) -> io::Result<Self> {
        // Before any thread is started: a signal is an input of the loop.
        let mask: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let Interfaces { names, keeps } = interfaces;
        let ports = Ports::open(&names)?;
        let links = Links::open(names)?;
        let control = ControlSocket::bind(&args.control)?;
        let events = OpenOptions::new().create(true).append(true).open(&args.events)?;
        let journal = args.journal.as_deref().map(File::create).transpose()?;
        drop_privileges(keeps)?;
        // Its thread comes after that: capabilities are a thread's own.
        let journal = journal.map(|file| Journal::begin(file, start)).transpose()?;
        Ok(Self {
            node: Node::new(engine, ports, journal),
            links,
            control,
            events,
            signals,
            last_round: Round::default(),
            last_frame: Instant(0),
            lateness: Lateness::from(clock::monotonic()),
        })
    }

    /// Runs until SIGTERM.
    ///
    /// # Errors
    /// A port, socket or file fails for good.
    pub fn run(mut self) -> io::Result<()> {
        // The carrier of every port comes first, then the first Timeout.
        self.read_links()?;
        self.hand(Input::Timeout)?;
        self.node.ports.flush()?;
        // Starting is not being late.
        self.lateness = Lateness::from(clock::monotonic());
        loop {
            let (due, ready) = self.pause()?;
            let now = clock::monotonic();
            self.confess(due, now)?;
            if ready.is(SIGNALS) && matches!(self.signals.read_signal(), Ok(Some(_))) {
                break;
            }
            // First what is due: a process that was stopped sees its own gap before its backlog.
            if self.node.deadline().is_some_and(|deadline| deadline <= now) {
                self.hand(Input::Timeout)?;
            }
            if ready.is(LINKS) {
                self.read_links()?;
            }
            self.read_frames(now)?;
            if self.control.is_served_by(|place| ready.is(CONTROL + place)) {
                for command in self.control.serve() {
                    self.hand(Input::Command(command))?;
                }
            }
            self.node.ports.flush()?;
            // Stopped in the middle of a turn: whatever comes next is late by its length.
            self.confess(now, clock::monotonic())?;
        }
        self.leave()
    }

    /// Waits for what comes first; gives the instant when the loop should have gone on at the latest, and what is ready.
    fn pause(&self) -> io::Result<(Instant, Ready)> {
        let now = clock::monotonic();
        let end = now + LONGEST;
        let due = self.node.deadline().map_or(end, |deadline| deadline.min(end));
        let loaded = self.last_frame.0 > 0 && now.since(self.last_frame) < LOADED;
        let timeout = if self.last_round.full {
            // More is there already: there is nothing to wait for.
            Duration::ZERO
        } else if loaded {
            due.since(now).min(TICK)
        } else {
            due.since(now)
        };
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.links.as_fd(), self.signals.as_fd()];
        fds.extend(self.control.fds());
        if !loaded {
            fds.extend(self.node.ports.fds());
        }
        Ok((due, wait(&fds, Some(timeout))?))
    }

    fn read_links(&mut self) -> io::Result<()> {
        for change in self.links.changes()? {
            let port = PortIndex(change.port);
            self.hand(Input::Link { port, up: change.up, changes: change.changes })?;
        }
        Ok(())
    }

    /// `now`: when this turn of the loop began.
    fn read_frames(&mut self, now: Instant) -> io::Result<()> {
        self.last_round = self.node.frames(&clock::monotonic)?;
        if self.last_round.frames > 0 {
            self.last_frame = now;
        }
        // Stopped in its wait, without a deadline, it shows that by the age of what it finds.
        if let Some(oldest) = self.last_round.oldest {
            self.confess(oldest, now)?;
        }
        self.effects()
    }

    /// Hands an input over with the clock as it is now, and does what comes of it.
    fn hand(&mut self, input: Input) -> io::Result<()> {
        self.node.hand(input, clock::monotonic())?;
        self.effects()
    }

    fn effects(&mut self) -> io::Result<()> {
        while let Some(effect) = self.node.effect() {
            match effect {
                Effect::SetPort(port, up) => self.links.set(port, up)?,
                Effect::Event(at, NodeEvent::Status(mut status)) => {
                    // What the shell itself saw belongs to the node's account.
                    self.node.ports.account(&mut status);
                    status.counters.insert("stalls".to_owned(), self.lateness.stalls);
                    let asked = status.id != FINAL;
                    let event = NodeEvent::Status(status);
                    if asked {
                        self.control.tell(at, &event)?;
                    } else {
                        self.write(&EventLine::event(at, &event))?;
                    }
                }
                Effect::Event(at, event) => {
                    self.write(&EventLine::event(at, &event))?;
                    self.control.tell(at, &event)?;
                }
            }
        }
        Ok(())
    }

    /// Says so if the loop is late.
    fn confess(&mut self, due: Instant, now: Instant) -> io::Result<()> {
        self.lateness.stall(due, now).map_or(Ok(()), |late| self.write(&EventLine::stall(now, late)))
    }

    fn write(&mut self, line: &EventLine) -> io::Result<()> {
        self.events.write_all(&line.to_bytes()?)
    }

    /// An orderly end: the last account as the last event, the journal whole.
    fn leave(mut self) -> io::Result<()> {
        match self.hand(Input::Command(Command::Status { id: FINAL })) {
            // Whoever read the events went first.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            outcome => outcome?,
        }
        self.node.finish()
    }
}

/// How late the loop ran, each instant counted once.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    /// Everything before has been told.
    told: Instant,
    stalls: u64,
}

impl Lateness {
    const fn from(start: Instant) -> Self {
        Self { told: start, stalls: 0 }
    }

    /// How long the loop stood still, if it came to what was `due` too late.
    fn stall(&mut self, due: Instant, now: Instant) -> Option<Duration> {
        let late = now.since(due.max(self.told));
        if late <= STALL {
            return None;
        }
        (self.told, self.stalls) = (now, self.stalls + 1);
        Some(late)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scalebed_engine::Instant;

    use super::Lateness;

    #[test]
    fn a_stall_is_told_once_and_only_after_the_start() {
        let ms = Instant::from_millis;
        let mut lateness = Lateness::from(ms(1000));
        assert_eq!(lateness.stall(ms(900), ms(1025)), None, "25 ms are still in time; what was before does not count");
        assert_eq!(lateness.stall(ms(1010), ms(1050)), Some(Duration::from_millis(40)));
        assert_eq!(lateness.stall(ms(1015), ms(1050)), None, "the same gap, seen by another clock");
        assert_eq!(lateness.stall(ms(1015), ms(1080)), Some(Duration::from_millis(30)));
        assert_eq!((lateness.stall(ms(2000), ms(1100)), lateness.stalls), (None, 2));
    }
}
