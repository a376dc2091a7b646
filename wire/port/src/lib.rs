//! Raw packet input and output behind one small trait, and its backends: AF_PACKET with recvmmsg and sendmmsg (the
//! default), pnet's datalink channel (the plain reference), and memory (tests).

use std::io;

mod batch;
pub mod clock;
mod losses;
mod memory;
mod packet;
mod pnet;
mod privileges;
#[expect(unsafe_code, reason = "recvmmsg, sendmmsg and packet socket options, which nix does not wrap")]
mod sys;
mod wait;

pub use batch::{BATCH, FrameBatch, LONGEST, Slot};
pub use losses::Unsent;
pub use memory::MemoryPort;
pub use packet::PacketPort;
pub use pnet::PnetPort;
pub use privileges::{Keeps, drop_privileges};
pub use wait::{Ready, wait};

/// What a backend can. The conformance suite skips by name what a backend says it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Kernel receive stamps.
    pub timestamps: bool,
    /// 802.1Q tags survive.
    pub tags: bool,
    /// Several frames a system call.
    pub batch: bool,
}

/// A place where frames come in and go out. A frame that crosses it is complete: its checksums are valid.
pub trait Port {
    /// Clears the batch and fills it with what has come; nothing having come leaves it empty. Never blocks.
    ///
    /// # Errors
    /// The port fails for good. An interface that goes down is not a failure: frames come again when it is up.
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()>;

    /// Sends every frame of the batch and clears it. What the kernel (or the other port) does not take is counted by the
    /// backend with its reason, and the frames behind it go. What it takes may still be lost on the way: with the other
    /// end of the cable down, it counts the frame as the interface's `tx_dropped` and says nothing. Never blocks.
    ///
    /// # Errors
    /// The port fails for good.
    fn send(&mut self, batch: &mut FrameBatch) -> io::Result<()>;
}
