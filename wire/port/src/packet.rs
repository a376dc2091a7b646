//! The default backend: an AF_PACKET socket, recvmmsg and sendmmsg.
//!
//! Cut the kernel's IP stack behind the port (no address, no ARP, no IPv6; the harness does it for node namespaces): a
//! packet socket gets copies, and a stack that still listens answers frames of its own accord, which costs the sender
//! half its time besides.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::batch::{BATCH, FrameBatch, LONGEST};
use crate::clock::{Offset, monotonic};
use crate::losses::{Reason, Unsent};
use crate::sys::{self, Arrival};
use crate::{Capabilities, Port};

/// Bytes of the receive queue: 500 ms at the small profile's peak. Of the send queue too, so that it is the interface's
/// own queue that drops.
const QUEUE: i32 = 16 << 20;

/// A port on an interface of the namespace that it was opened in.
///
/// It outlives an interface that goes down and comes up again. Of one that was removed it stays deaf.
#[derive(Debug)]
pub struct PacketPort {
    socket: OwnedFd,
    offset: Offset,
    unsent: Unsent,
    dropped: u64,
    cut: u64,
}

impl PacketPort {
    /// What the backend can.
    pub const CAPABILITIES: Capabilities = Capabilities { timestamps: true, tags: true, batch: true };

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
        Ok(Self { socket, offset: Offset::now(), unsent: Unsent::default(), dropped: 0, cut: 0 })
    }

    /// Frames that the kernel did not take: the interface was down, or its queue full.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.unsent.total()
    }

    /// The same, by reason.
    #[must_use]
    pub const fn unsent_by(&self) -> Unsent {
        self.unsent
    }

    /// Frames that came and were thrown away, being longer than [`LONGEST`].
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Frames that found no room in the receive queue, so far.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn dropped(&mut self) -> io::Result<u64> {
        self.dropped += sys::statistics(self.socket.as_fd())?.1;
        Ok(self.dropped)
    }

    fn take(&mut self, into: &mut FrameBatch, arrivals: &[Arrival]) {
        let now = monotonic();
        self.offset.refresh(now);
        for (place, arrival) in arrivals.iter().enumerate() {
            let length = arrival.length + arrival.tag.map_or(0, |tag| tag.len());
            if arrival.cut || length > LONGEST {
                self.cut += 1;
                continue;
            }
            // The first frames after the first socket that asks for stamps may have none.
            let received = if arrival.stamp == 0 { now } else { self.offset.to_monotonic(arrival.stamp).min(now) };
            into.keep(place, arrival.length, arrival.tag, received);
        }
    }
}

impl Port for PacketPort {
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()> {
        into.clear();
        let mut arrivals = [Arrival::default(); BATCH];
        // Twice at most: an interface that went down leaves one error in the socket, which reading takes out.
        for _ in 0..2 {
            match sys::receive(self.socket.as_fd(), into.rooms(), &mut arrivals) {
                Ok(count) => {
                    self.take(into, &arrivals[..count]);
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
        // An interface that went down leaves one error in the socket, even if it is up again: it is not this frame's.
        let mut stale = true;
        let mut open = batch.filled();
        while !open.is_empty() {
            let step = match sys::send(self.socket.as_fd(), open) {
                Ok(count) => count,
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) && std::mem::take(&mut stale) => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                // This frame cannot go; the next one may.
                Err(error) => {
                    self.unsent.count(Reason::of(&error).ok_or(error)?);
                    1
                }
            };
            open = &open[step.min(open.len())..];
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
