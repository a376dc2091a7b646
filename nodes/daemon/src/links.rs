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
        let links = Self { socket, names, indexes, last };
        links.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)?;
        Ok(links)
    }

    /// Everything that changed since the last call, in order.
    ///
    /// # Errors
    /// The socket fails. (An overrun of its buffer asks for the state of all again.)
    pub fn changes(&mut self) -> io::Result<Vec<LinkChange>> {
        let mut buffer = vec![0; BUFFER];
        let mut changes = Vec::new();
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => self.read(&buffer[..count], &mut changes),
                Err(nix::Error::EAGAIN) => return Ok(changes),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => {
                    self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
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

    fn read(&mut self, mut bytes: &[u8], changes: &mut Vec<LinkChange>) {
        while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
            let length = buffer.length() as usize;
            if let Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(inner), .. }) =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
                && let RouteNetlinkMessage::NewLink(link) = inner
            {
                changes.extend(self.change(&link));
            }
            // Messages are aligned to 4 bytes (netlink(7)).
            bytes = bytes.get(length.next_multiple_of(4).max(4)..).unwrap_or(&[]);
        }
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
