//! Why a frame did not go out.

use std::io;

/// Why the kernel did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    LinkDown,
    QueueFull,
    Refused,
}

impl Reason {
    /// The reason behind an error that concerns one frame; `None` if the port itself fails. packet(7).
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV), _) => Some(Self::LinkDown),
            (Some(libc::ENOBUFS | libc::EAGAIN), _) | (None, io::ErrorKind::TimedOut) => Some(Self::QueueFull),
            (Some(libc::EMSGSIZE | libc::EINVAL), _) => Some(Self::Refused),
            _ => None,
        }
    }
}

/// Frames that a port was given and that did not go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// The interface was down, or gone.
    pub link_down: u64,
    /// A queue was full: the socket's, the interface's, or the other port's.
    pub queue_full: u64,
    /// No frame of this interface: longer than its MTU allows, or without a whole Ethernet header.
    pub refused: u64,
}

impl Unsent {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.link_down + self.queue_full + self.refused
    }

    /// Each reason's name and count.
    #[must_use]
    pub const fn reasons(&self) -> [(&'static str, u64); 3] {
        [("link-down", self.link_down), ("queue-full", self.queue_full), ("refused", self.refused)]
    }

    pub(crate) const fn count(&mut self, reason: Reason) {
        match reason {
            Reason::LinkDown => self.link_down += 1,
            Reason::QueueFull => self.queue_full += 1,
            Reason::Refused => self.refused += 1,
        }
    }
}
