//! The node's ports: what has come, and what is queued to go out in one call a port.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use scalebed_engine::{Frame, Instant, Status};
use scalebed_port::{FrameBatch, PacketPort, Port};

/// Every port of a node, in order.
pub struct Ports<P> {
    ports: Vec<P>,
    names: Vec<String>,
    outgoing: Vec<FrameBatch>,
    incoming: FrameBatch,
    /// Frames that were too long for a batch.
    oversized: u64,
}

impl Ports<PacketPort> {
    /// Opens them by interface name.
    ///
    /// # Errors
    /// One does not exist, or raw sockets are not permitted.
    pub fn open(names: &[String]) -> io::Result<Self> {
        let ports = names.iter().map(|name| PacketPort::open(name)).collect::<io::Result<Vec<_>>>()?;
        Ok(Self::new(ports, names.to_vec()))
    }

    /// Descriptors to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ports.iter().map(|port| port.as_fd())
    }

    /// Adds what the ports themselves lost to the node's account.
    pub fn account(&mut self, status: &mut Status) {
        let mut put = |reason: String, count: u64| {
            status.drops.insert(reason, count);
        };
        put("port-oversized".to_owned(), self.oversized);
        for (name, port) in self.names.iter().zip(&mut self.ports) {
            for (reason, count) in port.unsent_by().reasons() {
                put(format!("port-unsent-{reason} {name}"), count);
            }
            put(format!("port-cut {name}"), port.cut());
            put(format!("port-receive-queue {name}"), port.dropped().unwrap_or(0));
        }
    }
}

impl<P: Port> Ports<P> {
    /// These ports, under these names.
    #[must_use]
    pub fn new(ports: Vec<P>, names: Vec<String>) -> Self {
        let outgoing = ports.iter().map(|_| FrameBatch::new()).collect();
        Self { ports, names, outgoing, incoming: FrameBatch::new(), oversized: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// A batch of what has come on a port.
    ///
    /// # Errors
    /// The port fails for good.
    pub fn receive(&mut self, port: usize) -> io::Result<Vec<(Frame, Instant)>> {
        self.ports[port].recv(&mut self.incoming)?;
        Ok(self.incoming.frames().map(|slot| (Frame(slot.bytes().to_vec()), slot.received)).collect())
    }

    /// Queues a frame; a full batch goes out at once.
    ///
    /// # Errors
    /// The port fails for good.
    pub fn queue(&mut self, port: usize, frame: &Frame) -> io::Result<()> {
        let Some(batch) = self.outgoing.get_mut(port) else { return Ok(()) };
        if batch.is_full() {
            self.ports[port].send(batch)?;
        }
        if !batch.push(frame.bytes()) {
            self.oversized += 1;
        }
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// A port fails for good.
    pub fn flush(&mut self) -> io::Result<()> {
        for (port, batch) in self.ports.iter_mut().zip(&mut self.outgoing).filter(|(_, batch)| !batch.is_empty()) {
            port.send(batch)?;
        }
        Ok(())
    }
}
