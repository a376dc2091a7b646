//! The engine and its ports, without anything that waits: the part of the shell that a test drives by hand.

use std::collections::VecDeque;
use std::io;

use scalebed_engine::{Engine, Input, Instant, NodeEvent, Output, PortIndex};
use scalebed_port::{BATCH, Port};

use crate::journal::Journal;
use crate::ports::Ports;

/// What an engine wants beside sending frames.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Set a port administratively up or down.
    SetPort(u16, bool),
    /// Tell whoever listens, as of then.
    Event(Instant, NodeEvent),
}

/// What a look at all ports brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Frames handed over.
    pub(crate) frames: usize,
    /// When the first of them was received, where the backend has stamps.
    pub(crate) oldest: Option<Instant>,
    /// A port had at least a whole batch: there may be more.
    pub(crate) full: bool,
}

/// An engine, its ports, and the record of what it was told.
pub(crate) struct Node<E, P> {
    engine: E,
    pub(crate) ports: Ports<P>,
    journal: Option<Journal>,
    deadline: Option<Instant>,
    effects: VecDeque<Effect>,
}

impl<E: Engine, P: Port> Node<E, P> {
    pub(crate) const fn new(engine: E, ports: Ports<P>, journal: Option<Journal>) -> Self {
        Self { engine, ports, journal, deadline: None, effects: VecDeque::new() }
    }

    /// When the engine wants to be woken.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Hands an input over and queues what comes of it: frames at their ports, the rest for [`Self::effect`].
    pub(crate) fn hand(&mut self, input: Input, now: Instant) -> io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.input(&input, now);
        }
        self.engine.handle(input, now);
        loop {
            let output = self.engine.poll();
            if let Some(journal) = &mut self.journal {
                journal.output(&output);
            }
            match output {
                Output::Transmit { port, frame } => self.ports.queue(usize::from(port.0), &frame)?,
                Output::SetPort { port, up } => self.effects.push_back(Effect::SetPort(port.0, up)),
                Output::Event(event) => self.effects.push_back(Effect::Event(now, event)),
                // Cloning and upgrades come with later issues; nothing asks for them yet.
                Output::InstallConfig(_) | Output::Reboot => {}
                Output::Idle(deadline) => {
                    self.deadline = deadline;
                    if let Some(journal) = &mut self.journal {
                        journal.done();
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Hands over one batch of every port in turn, each frame with the clock as it is then.
    pub(crate) fn frames(&mut self, clock: &dyn Fn() -> Instant) -> io::Result<Round> {
        let mut round = Round::default();
        for port in 0..self.ports.len() {
            let batch = self.ports.receive(port)?;
            round.frames += batch.len();
            round.full |= batch.len() == BATCH;
            let stamps = batch.iter().map(|(_, received)| *received).filter(|received| received.0 > 0);
            round.oldest = round.oldest.into_iter().chain(stamps).min();
            let port = PortIndex(u16::try_from(port).unwrap_or(u16::MAX));
            for (frame, received) in batch {
                self.hand(Input::Frame { port, frame, received }, clock())?;
            }
        }
        Ok(round)
    }

    /// The next thing to do that is not a frame.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Ends the record.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.journal.map_or(Ok(()), Journal::finish)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use scalebed_engine::{Command, Engine, Input, Instant, NodeEvent, Output, PortIndex, replay};
    use scalebed_frame::Mac;
    use scalebed_port::{BATCH, FrameBatch, MemoryPort, Port as _};
    use scalebed_switch::{Config, Switch};
    use scalebed_topologies::lab::{Port, PortRole};

    use super::{Effect, Node, Round};
    use crate::journal::{self, Digest, Journal, Reader, Start};
    use crate::ports::Ports;

    fn port(name: &str) -> Port {
        Port { name: name.to_owned(), role: PortRole::Access, mac: Mac::ZERO, mtu: 1500, cable: 0 }
    }

    fn config() -> Config {
        Config { name: "inside".to_owned(), ports: vec![port("p0"), port("p1")] }
    }

    fn frame(number: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![number; length];
        bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]);
        bytes
    }

    fn put(port: &mut MemoryPort, frames: &[Vec<u8>]) {
        let mut batch = FrameBatch::new();
        for chunk in frames.chunks(BATCH) {
            chunk.iter().for_each(|frame| assert!(batch.push(frame)));
            port.send(&mut batch).expect("memory");
        }
    }

    fn take(port: &mut MemoryPort) -> Vec<Vec<u8>> {
        let mut batch = FrameBatch::new();
        let mut frames = Vec::new();
        loop {
            port.recv(&mut batch).expect("memory");
            if batch.is_empty() {
                return frames;
            }
            frames.extend(batch.frames().map(|slot| slot.bytes().to_vec()));
        }
    }

    /// An engine beside the far ends of its cables, its links told.
    fn started<E: Engine>(engine: E, journal: Option<Journal>) -> (Node<E, MemoryPort>, MemoryPort, MemoryPort) {
        let ((near0, far0), (near1, far1)) = (MemoryPort::pair(), MemoryPort::pair());
        let mut node =
            Node::new(engine, Ports::new(vec![near0, near1], vec!["p0".to_owned(), "p1".to_owned()]), journal);
        for port in [PortIndex(0), PortIndex(1)] {
            node.hand(Input::Link { port, up: true, changes: 1 }, Instant(1)).expect("memory");
        }
        node.hand(Input::Timeout, Instant(2)).expect("memory");
        (node, far0, far1)
    }

    #[test]
    fn a_round_takes_a_batch_of_every_port_and_loses_nothing() {
        let (mut node, mut far0, mut far1) = started(Switch::new(config()), None);
        assert_eq!(node.effect(), Some(Effect::Event(Instant(2), NodeEvent::Ready)));
        let sent: Vec<Vec<u8>> = (0..70).map(|number| frame(number, 64)).collect();
        put(&mut far0, &sent);
        put(&mut far1, &[frame(200, 60)]);
        let now = || Instant(3);
        assert_eq!(node.frames(&now).expect("memory"), Round { frames: BATCH + 1, oldest: None, full: true });
        assert_eq!(node.frames(&now).expect("memory"), Round { frames: BATCH, oldest: None, full: true });
        assert_eq!(node.frames(&now).expect("memory"), Round { frames: 70 - 2 * BATCH, oldest: None, full: false });
        node.ports.flush().expect("memory");
        assert_eq!(take(&mut far1), sent);
        assert_eq!(take(&mut far0), [frame(200, 60)]);
    }

    /// An engine that keeps what it gave out.
    struct Kept<E>(E, Vec<Output>);

    impl<E: Engine> Engine for Kept<E> {
        fn handle(&mut self, input: Input, now: Instant) {
            self.0.handle(input, now);
        }

        fn poll(&mut self) -> Output {
            self.1.push(self.0.poll());
            self.1[self.1.len() - 1].clone()
        }
    }

    #[test]
    fn a_journal_replays_to_the_same_outputs_byte_for_byte() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("journal");
        let start = Start { program: "switch".to_owned(), config: serde_json::to_string(&config()).expect("json") };
        let journal = Journal::begin(std::fs::File::create(&path).expect("a file"), &start).expect("a journal");
        let (mut node, mut far0, mut far1) = started(Kept(Switch::new(config()), Vec::new()), Some(journal));
        let clock = Cell::new(Instant(10));
        let tick = || {
            clock.set(clock.get() + Duration::from_micros(7));
            clock.get()
        };
        for round in 0..20 {
            put(&mut far0, &[frame(round, 64 + usize::from(round)), frame(round, 1500)]);
            put(&mut far1, &[vec![round; 5], frame(round, 61)]);
            node.frames(&tick).expect("memory");
            if round == 10 {
                node.hand(Input::Link { port: PortIndex(1), up: false, changes: 2 }, tick()).expect("memory");
                node.hand(Input::Command(Command::Status { id: 4 }), tick()).expect("memory");
            }
        }
        let recorded = std::mem::take(&mut node.engine.1);
        node.finish().expect("written");
        let mut reader = Reader::open(&path).expect("a journal");
        assert_eq!(*reader.start(), start);
        let kept: Vec<journal::Kept> = std::iter::from_fn(|| reader.input().expect("whole")).collect();
        let inputs: Vec<_> = kept.iter().map(|kept| (kept.input.clone(), kept.now)).collect();
        let replayed = replay(&mut Switch::new(config()), &inputs);
        let bytes = |outputs: &[Output]| postcard::to_allocvec(outputs).expect("serialised");
        assert!(recorded.len() > 100, "something happened");
        assert_eq!(bytes(&recorded), bytes(&replayed));
        let mut digest = Digest::default();
        let mut digests = Vec::new();
        for output in &replayed {
            digest.see(output);
            if matches!(output, Output::Idle(_)) {
                digests.push(Some(digest.take()));
            }
        }
        assert_eq!(kept.iter().map(|kept| kept.outputs).collect::<Vec<_>>(), digests);
        // One input less, and it shows.
        assert_ne!(bytes(&recorded), bytes(&replay(&mut Switch::new(config()), &inputs[1..])));
    }
}
