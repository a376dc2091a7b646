//! The default backend: an AF_PACKET socket, recvmmsg and sendmmsg.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::batch::{BATCH, FrameBatch};
use crate::clock::{Offset, monotonic};
use crate::{Capabilities, Port, sys};

/// Bytes of the receive queue: 500 ms at the small profile's peak.
const QUEUE: i32 = 16 << 20;

/// A port on an interface of the namespace that it was opened in.
#[derive(Debug)]
pub struct PacketPort {
    socket: OwnedFd,
    offset: Offset,
    unsent: u64,
    dropped: u64,
}

impl PacketPort {
    /// What the backend can.
    pub const CAPABILITIES: Capabilities = Capabilities { timestamps: true, tags: false, batch: true };

    /// Opens a port. The interface may be down; frames come once it is up.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)
            .map_err(|error| io::Error::other(format!("no interface {interface}: {error}")))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: nothing is queued before the socket is bound to its interface.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        sys::bind_packet(socket.as_fd(), index, QUEUE)?;
        Ok(Self { socket, offset: Offset::now(), unsent: 0, dropped: 0 })
    }

    /// Frames that the kernel did not take: the interface was down, or its queue full.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Frames that found no room in the receive queue, so far.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn dropped(&mut self) -> io::Result<u64> {
        self.dropped += sys::statistics(self.socket.as_fd())?.1;
        Ok(self.dropped)
    }
}

impl Port for PacketPort {
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()> {
        into.clear();
        let mut stamps = [0; BATCH];
        // Twice at most: an interface that went down leaves one error in the socket, which reading takes out.
        for _ in 0..2 {
            match sys::receive(self.socket.as_fd(), into, &mut stamps) {
                Ok(count) => {
                    let now = monotonic();
                    self.offset.refresh(now);
                    for (slot, stamp) in into.slots.iter_mut().zip(stamps).take(count) {
                        let at = self.offset.to_monotonic(stamp);
                        slot.received = if stamp == 0 { now } else { at.min(now) };
                    }
                    into.used = count;
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &mut FrameBatch) -> io::Result<()> {
        while batch.done < batch.used {
            match sys::send(self.socket.as_fd(), batch) {
                Ok(0) => break,
                Ok(count) => batch.done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // One frame cannot go (interface down, queue full, too long): it is counted, the next may go.
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENETDOWN | libc::ENXIO | libc::ENOBUFS | libc::EAGAIN | libc::EMSGSIZE) => {
                        batch.done += 1;
                        self.unsent += 1;
                    }
                    _ => return Err(error),
                },
            }
        }
        batch.clear();
        Ok(())
    }
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
