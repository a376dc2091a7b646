//! The plain reference backend: pnet's datalink channel. One system call a frame, no stamps, and its receive path loses
//! 802.1Q tags.

use std::io;
use std::time::Duration;

use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, channel, interfaces};

use crate::batch::FrameBatch;
use crate::{Capabilities, Port};

/// A port on an interface of the namespace that it was opened in.
pub struct PnetPort {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    unsent: u64,
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
        // The shortest wait that the channel takes: a read of it blocks otherwise.
        let config = Config { read_timeout: Some(Duration::from_micros(1)), ..Config::default() };
        match channel(&found, config)? {
            Channel::Ethernet(sender, receiver) => Ok(Self { sender, receiver, unsent: 0 }),
            _ => Err(io::Error::other("pnet gave another kind of channel")),
        }
    }

    /// Frames that the kernel did not take.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.unsent
    }
}

impl Port for PnetPort {
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()> {
        into.clear();
        while !into.is_full() {
            match self.receiver.next() {
                Ok(frame) => {
                    let _cut_never = into.push(frame);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &mut FrameBatch) -> io::Result<()> {
        for slot in batch.frames() {
            if !matches!(self.sender.send_to(slot.bytes(), None), Some(Ok(()))) {
                self.unsent += 1;
            }
        }
        batch.clear();
        Ok(())
    }
}
