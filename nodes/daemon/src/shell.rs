//! The loop around an engine: waits, reads the clock, hands inputs over, does what comes out.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use scalebed_engine::{Command, Engine, Input, Instant, NodeEvent, Output, PortIndex};
use scalebed_port::{clock, wait};
use scalebed_topologies::lab::Port as PortSpec;

use crate::args::Args;
use crate::control::ControlSocket;
use crate::events::Events;
use crate::journal::Journal;
use crate::links::Links;
use crate::ports::Ports;

/// Under load the next look comes after this: a wake-up a packet costs more than the packet (a cross-CPU wake-up takes
/// 100 us), and a loop under SCHED_FIFO that never sleeps is throttled.
const TICK: Duration = Duration::from_micros(100);
/// So long after the last frame the loop counts as loaded.
const LOADED: Duration = Duration::from_millis(1);
/// A loop that ran later than this says so: timing bars are not judged then.
const STALL: Duration = Duration::from_millis(25);
/// Nothing waits longer, whatever the engine says.
const LONGEST: Duration = Duration::from_secs(1);

/// A node process: its engine and everything around it.
pub struct Shell<E> {
    engine: E,
    ports: Ports,
    links: Links,
    control: ControlSocket,
    events: Events,
    journal: Option<Journal>,
    signals: SignalFd,
    deadline: Option<Instant>,
    last_frame: Instant,
}

impl<E: Engine> Shell<E> {
    /// Opens everything that the node needs in the namespace that it was started in.
    ///
    /// # Errors
    /// A port, socket or file cannot be opened.
    pub fn open(engine: E, args: &Args, ports: &[PortSpec]) -> io::Result<Self> {
        // Before any thread is started: a signal is an input of the loop.
        let mask: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        Ok(Self {
            engine,
            ports: Ports::open(&names)?,
            links: Links::open(names)?,
            control: ControlSocket::bind(&args.control)?,
            events: Events::open(&args.events)?,
            journal: args.journal.as_deref().map(Journal::create).transpose()?,
            signals,
            deadline: None,
            last_frame: Instant(0),
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
        self.flush()?;
        loop {
            let planned = self.pause()?;
            let now = clock::monotonic();
            let late = now.since(planned);
            if late > STALL {
                self.events.stall(now, late)?;
            }
            if matches!(self.signals.read_signal(), Ok(Some(_))) {
                break;
            }
            // First what is due: a process that was stopped sees its own gap before its backlog.
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.hand(Input::Timeout)?;
            }
            self.read_links()?;
            self.read_frames()?;
            for command in self.control.serve() {
                self.hand(Input::Command(command))?;
            }
            self.flush()?;
        }
        self.hand(Input::Command(Command::Status { id: 0 }))?;
        self.journal.map_or(Ok(()), Journal::finish)
    }

    /// Waits for what comes first; gives the instant when the wait should have ended.
    fn pause(&self) -> io::Result<Instant> {
        let now = clock::monotonic();
        let left = self.deadline.map_or(LONGEST, |deadline| deadline.since(now)).min(LONGEST);
        let loaded = self.last_frame.0 > 0 && now.since(self.last_frame) < LOADED;
        let timeout = if loaded && !left.is_zero() { left.min(TICK) } else { left };
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.links.as_fd(), self.signals.as_fd()];
        fds.extend(self.control.fds());
        if !loaded {
            fds.extend(self.ports.fds());
        }
        let woken = wait(&fds, Some(timeout))?;
        // Something came before the end: nothing was planned then.
        Ok(if woken.any() { clock::monotonic() } else { now + timeout })
    }

    fn read_links(&mut self) -> io::Result<()> {
        for change in self.links.changes()? {
            let port = PortIndex(change.port);
            self.hand(Input::Link { port, up: change.up, changes: change.changes })?;
        }
        Ok(())
    }

    fn read_frames(&mut self) -> io::Result<()> {
        for port in 0..self.ports.len() {
            for (frame, received) in self.ports.receive(port)? {
                self.last_frame = clock::monotonic();
                let port = PortIndex(u16::try_from(port).unwrap_or(u16::MAX));
                self.hand(Input::Frame { port, frame, received })?;
            }
        }
        Ok(())
    }

    /// Hands an input over with the clock as it is now, and does what comes of it.
    fn hand(&mut self, input: Input) -> io::Result<()> {
        let now = clock::monotonic();
        if let Some(journal) = &mut self.journal {
            journal.keep(&input, now);
        }
        self.engine.handle(input, now);
        loop {
            match self.engine.poll() {
                Output::Transmit { port, frame } => self.ports.queue(usize::from(port.0), &frame)?,
                Output::SetPort { port, up } => self.links.set(port.0, up)?,
                Output::Event(event) => self.tell(now, &event)?,
                // Cloning and upgrades come with later issues; nothing asks for them yet.
                Output::InstallConfig(_) | Output::Reboot => {}
                Output::Idle(deadline) => {
                    self.deadline = deadline;
                    return Ok(());
                }
            }
        }
    }

    fn tell(&mut self, now: Instant, event: &NodeEvent) -> io::Result<()> {
        if let NodeEvent::Status(status) = event {
            // What the shell itself saw belongs to the node's account.
            let mut status = status.clone();
            self.ports.account(&mut status);
            let event = NodeEvent::Status(status);
            return self.control.tell(now, &event);
        }
        self.events.event(now, event)?;
        self.control.tell(now, event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ports.flush()
    }
}
