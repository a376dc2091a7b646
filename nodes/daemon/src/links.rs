//! The carrier of the node's ports, over netlink: told at once, and with the kernel's count of changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Multicast group of link changes (RTMGRP_LINK, rtnetlink(7)).
const LINK_GROUP: u32 = 1;
/// Longer than any message of a namespace with a few ports.
const BUFFER: usize = 65_536;
const EBUSY: i32 = nix::Error::EBUSY as i32;

/// A change of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// Place in the list of names.
    pub port: u16,
    /// Carrier, of a port that is up itself.
    pub up: bool,
    /// The kernel's count of carrier changes.
    pub changes: u32,
}

/// Watches and sets the ports of a namespace.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    names: Vec<String>,
    indexes: Vec<u32>,
    last: Vec<Option<(bool, u32)>>,
    /// Messages were lost: the state of all is to be asked for again.
    stale: bool,
    /// Room for a message, kept between calls.
    buffer: Vec<u8>,
}

impl Links {
    /// Opens the watch, and asks for the present state of all: it comes as the first changes.
    ///
    /// # Errors
    /// Netlink is not there, or a port does not exist.
    pub fn open(names: Vec<String>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP))?;
        let mut indexes = Vec::with_capacity(names.len());
        for name in &names {
            let index = nix::net::if_::if_nametoindex(name.as_str())
                .map_err(|error| io::Error::other(format!("no interface {name}: {error}")))?;
            indexes.push(index);
        }
        let last = vec![None; names.len()];
        let links = Self { socket, names, indexes, last, stale: false, buffer: Vec::new() };
        links.ask()?;
        Ok(links)
    }

    /// Everything that changed since the last call, in order.
    ///
    /// # Errors
    /// The socket fails, or the kernel refused to set a port: what should be down and is not is no small thing.
    pub fn changes(&mut self) -> io::Result<Vec<LinkChange>> {
        // Taken out for the time of the call: the loop asks often, and mostly in vain.
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let outcome = self.drain(&mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<Vec<LinkChange>> {
        let mut changes = Vec::new();
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => self.read(&buffer[..count], &mut changes)?,
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => self.stale = true,
                Err(error) => return Err(error.into()),
            }
        }
        if std::mem::take(&mut self.stale) {
            self.ask()?;
        }
        Ok(changes)
    }

    /// Asks for the state of all.
    fn ask(&self) -> io::Result<()> {
        self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Sets a port administratively up or down.
    ///
    /// # Errors
    /// No such port, or the kernel's socket refuses the request.
    pub fn set(&self, port: u16, up: bool) -> io::Result<()> {
        let index = self.indexes.get(usize::from(port)).ok_or_else(|| io::Error::other("no such port"))?;
        let mut message = LinkMessage::default();
        message.header.index = *index;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST)
    }

    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = flags;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn read(&mut self, mut bytes: &[u8], changes: &mut Vec<LinkChange>) -> io::Result<()> {
        while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
            let length = buffer.length() as usize;
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).map(|message| message.payload) {
                Ok(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))) => {
                    changes.extend(self.change(&link));
                }
                Ok(NetlinkPayload::Error(refusal)) => match refusal.code.map_or(0, |code| -code.get()) {
                    0 => {}
                    // The dump asked for before has not ended.
                    EBUSY => self.stale = true,
                    code => return Err(io::Error::from_raw_os_error(code)),
                },
                _ => {}
            }
            // Messages are aligned to 4 bytes (netlink(7)).
            bytes = bytes.get(length.next_multiple_of(4).max(4)..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn change(&mut self, link: &LinkMessage) -> Option<LinkChange> {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        })?;
        let place = self.names.iter().position(|known| known == name)?;
        let counted = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::CarrierChanges(changes) => Some(*changes),
            _ => None,
        });
        let up = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        let now = (up, counted.unwrap_or(0));
        if self.last[place] == Some(now) {
            return None;
        }
        self.last[place] = Some(now);
        Some(LinkChange { port: u16::try_from(place).ok()?, up, changes: now.1 })
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::AsFd as _;
    use std::time::{Duration, Instant};

    use scalebed_netns::{Error, Sandbox, VethEnd};
    use scalebed_port::wait;

    use super::{LinkChange, Links};

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Waits until the last change of the port says so.
    fn until(links: &mut Links, up: bool) -> LinkChange {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no such change");
            wait(&[links.as_fd()], Some(PATIENCE)).expect("a wait");
            if let Some(change) = links.changes().expect("read").pop().filter(|change| change.up == up) {
                return change;
            }
        }
    }

    #[test]
    fn netns_a_port_is_set_and_its_carrier_told_and_counted() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut sandbox = match Sandbox::create(place.path()) {
            Ok(sandbox) => sandbox,
            Err(Error::Init { step, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
                println!("skipped: netns_a_port_is_set_...: namespaces are not permitted here ({step}: {source})");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let [near, far] = ["near", "far"].map(|name| sandbox.namespace(name).expect("a namespace"));
        let end = |ns, number| VethEnd { ns, name: "p0".to_owned(), mac: [2, 0, 0, 0, 0, number], mtu: 1600 };
        sandbox.veth(&end(near, 1), &end(far, 2)).expect("a cable");
        sandbox.set_up(far, "p0", true).expect("up");
        let open = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            sandbox.run_in(near, || Links::open(names)).expect("in it")
        };
        assert!(open(&["p0", "p9"]).is_err_and(|error| error.to_string().contains("p9")));
        let mut links = open(&["p0"]).expect("a watch");
        // The first change is the present state.
        assert_eq!((until(&mut links, false).port, sandbox.carrier(far, "p0").expect("read").0), (0, false));
        links.set(0, true).expect("asked");
        let up = until(&mut links, true);
        assert!(sandbox.carrier(far, "p0").expect("read").0, "the other end sees it");
        sandbox.set_up(far, "p0", false).expect("down");
        let down = until(&mut links, false);
        assert!(down.changes > up.changes, "{up:?} {down:?}");
        links.set(0, false).expect("asked");
        assert!(links.set(1, true).is_err());
        // A refusal is not lost: no interface has this index.
        links.indexes[0] = 0x7fff_ffff;
        links.set(0, true).expect("asked");
        wait(&[links.as_fd()], Some(PATIENCE)).expect("a wait");
        assert!(links.changes().is_err());
    }
}
