//! The contract of whatever hangs on a cable.
//!
//! An [`Engine`] is a value with two methods. It has no clock, socket, file, thread or randomness of its own: time comes
//! as an argument, seeds in its configuration, side effects leave as [`Output`]. The same engine runs in a process, on
//! the fabric of a test, and in the simulated world; same configuration and inputs give the same outputs.

mod event;
mod instant;
mod line;
mod rng;

pub use event::{Command, DropCount, MoveReport, NodeEvent, Role, Status};
pub use instant::Instant;
pub use line::EventLine;
pub use rng::Rng;
pub use scalebed_frame::Frame;

use serde::{Deserialize, Serialize};

/// A port of a node, by its place in the node's port list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortIndex(pub u16);

/// Whatever hangs on a cable.
pub trait Engine {
    /// Takes one input in. `now` is the clock when the shell hands it over, not when a frame was received: a process
    /// that was stopped and woken must see its own gap before it reads its backlog. `now` never goes back.
    fn handle(&mut self, input: Input, now: Instant);

    /// The next side effect; called after every `handle` until it says [`Output::Idle`].
    fn poll(&mut self) -> Output;
}

/// What happens to an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A complete frame arrived.
    Frame {
        /// Where.
        port: PortIndex,
        /// What.
        frame: Frame,
        /// When the kernel (or the fabric) received it.
        received: Instant,
    },
    /// The carrier of a port, told at start for every port and then at each change.
    Link {
        /// Which port.
        port: PortIndex,
        /// Carrier?
        up: bool,
        /// How many changes the kernel has counted: a woken process sees a flap that it slept through.
        changes: u32,
    },
    /// An operator's or the harness's request.
    Command(Command),
    /// The instant of the last `Idle` has come. Also what starts an engine, once it was told the carrier of every port.
    Timeout,
}

/// What an engine does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Send a complete frame.
    Transmit {
        /// Where.
        port: PortIndex,
        /// What.
        frame: Frame,
    },
    /// Set a port administratively up or down: the other end sees the carrier.
    SetPort {
        /// Which port.
        port: PortIndex,
        /// Up?
        up: bool,
    },
    /// Tell whoever listens. Declared state: never proof.
    Event(NodeEvent),
    /// Take this configuration for the next start (cloning; a later issue builds it).
    InstallConfig(Vec<u8>),
    /// Restart the node (a new software level; a later issue builds it).
    Reboot,
    /// Nothing more to do; wake me at this instant, if any.
    Idle(Option<Instant>),
}

/// Feeds a journal (every input with the instant when it was handed over) to an engine that was configured alike, and
/// gives all its outputs, `Idle`s among them.
pub fn replay(engine: &mut dyn Engine, journal: &[(Input, Instant)]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (input, now) in journal {
        engine.handle(input.clone(), *now);
        loop {
            let output = engine.poll();
            let idle = matches!(output, Output::Idle(_));
            outputs.push(output);
            if idle {
                break;
            }
        }
    }
    outputs
}

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn handle(&mut self, input: Input, now: Instant) {
        (**self).handle(input, now);
    }

    fn poll(&mut self) -> Output {
        (**self).poll()
    }
}
