//! The plain reference backend: pnet's datalink channel. One system call a frame, no stamps, and its receive path loses
//! 802.1Q tags.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, channel, interfaces};

use crate::batch::FrameBatch;
use crate::losses::{Reason, Unsent};
use crate::{Capabilities, Port};

/// A port on an interface of the namespace that it was opened in.
pub struct PnetPort {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    socket: OwnedFd,
    unsent: Unsent,
    cut: u64,
}

impl std::fmt::Debug for PnetPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PnetPort").field("unsent", &self.unsent).finish_non_exhaustive()
    }
}

impl PnetPort {
    /// What the backend can.
    pub const CAPABILITIES: Capabilities = Capabilities { timestamps: false, tags: false, batch: false };

    /// Opens a port.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        let found = interfaces().into_iter().find(|one| one.name == interface);
        let found = found.ok_or_else(|| io::Error::other(format!("no interface {interface}")))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // A socket of ours: the channel gives its own to nobody, so that one could neither wait for it nor clear it.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        let theirs = socket.try_clone()?.into_raw_fd();
        // The shortest waits that the channel takes: it blocks otherwise.
        let wait = Some(Duration::from_micros(1));
        let config = Config { read_timeout: wait, write_timeout: wait, socket_fd: Some(theirs), ..Config::default() };
        match channel(&found, config)? {
            Channel::Ethernet(sender, receiver) => {
                Ok(Self { sender, receiver, socket, unsent: Unsent::default(), cut: 0 })
            }
            _ => Err(io::Error::other("pnet gave another kind of channel")),
        }
    }

    /// Frames that the kernel did not take.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.unsent.total()
    }

    /// The same, by reason.
    #[must_use]
    pub const fn unsent_by(&self) -> Unsent {
        self.unsent
    }

    /// Frames that came and were thrown away, being longer than a batch takes.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }
}

impl Port for PnetPort {
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()> {
        into.clear();
        while !into.is_full() {
            match self.receiver.next() {
                Ok(frame) => self.cut += u64::from(!into.push(frame)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => break,
                // The channel never reads a socket that has an error but no frame: the error would stay for good.
                Err(error) => match getsockopt(&self.socket, SocketError)? {
                    libc::ENETDOWN => break,
                    0 => return Err(error),
                    other => return Err(io::Error::from_raw_os_error(other)),
                },
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &mut FrameBatch) -> io::Result<()> {
        for slot in batch.frames() {
            match self.sender.send_to(slot.bytes(), None) {
                Some(Ok(())) => {}
                Some(Err(error)) => self.unsent.count(Reason::of(&error).ok_or(error)?),
                None => self.unsent.count(Reason::Refused),
            }
        }
        batch.clear();
        Ok(())
    }
}

impl AsFd for PnetPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
