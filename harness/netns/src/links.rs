//! Cables and addresses: what a sandbox asks of rtnetlink.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage, Stats64};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::sandbox::{NsId, Sandbox};
use crate::{Error, monotonic, sys};

/// Interface indexes of cable ends start here: above those of loopback and whatever a namespace is born with.
const FIRST_INDEX: u32 = 1000;
/// Longest interface name.
const NAME: usize = libc::IFNAMSIZ - 1;

/// How often a host says which group it listens to (RFC 3810 section 9.1; Linux' mld_qrv, which no namespace can set).
pub const MLD_REPORTS: u64 = 2;

/// One end of a cable as it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethEnd {
    /// Where it ends.
    pub ns: NsId,
    /// Interface name, unique in its namespace, 15 bytes at most.
    pub name: String,
    /// MAC.
    pub mac: [u8; 6],
    /// MTU.
    pub mtu: u32,
}

/// What stands behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Nothing: a node reads the port by packet socket, and the kernel's IP stack has no address and no ARP there.
    Cut,
    /// The kernel's own stack: a host.
    Kernel,
}

impl Sandbox {
    /// A cable: a veth pair, both ends created in place by one message, still down, with interface indexes that differ.
    /// (With the same index at both ends the kernel reports a loss of carrier up to a second late.)
    ///
    /// # Errors
    /// A bad name, or the kernel refuses.
    pub fn veth(&mut self, a: &VethEnd, b: &VethEnd) -> Result<(), Error> {
        for end in [a, b] {
            let length = end.name.len();
            if length == 0 || length > NAME {
                let (namespace, interface) = (self.get(end.ns)?.name.clone(), end.name.clone());
                return Err(Error::InterfaceName { namespace, interface, length });
            }
        }
        let index = FIRST_INDEX + 2 * self.cables;
        let peer = LinkUnspec::new_with_index(index + 1)
            .name(&b.name)
            .address(b.mac.to_vec())
            .mtu(b.mtu)
            .setns_by_fd(self.get(b.ns)?.fd.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .index(index)
            .name(&a.name)
            .address(a.mac.to_vec())
            .mtu(a.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let near = self.get(a.ns)?;
        let what = format!("cable {}/{} -- {}/{}", near.name, a.name, self.get(b.ns)?.name, b.name);
        self.ask(what, near.netlink.link().add(message).execute())?;
        self.cables += 1;
        self.get_mut(a.ns)?.interfaces.insert(a.name.clone(), index);
        self.get_mut(b.ns)?.interfaces.insert(b.name.clone(), index + 1);
        Ok(())
    }

    /// An interface up or down; down is a loss of carrier at the other end. Gives the instants before and after the kernel was
    /// asked, ns of [`monotonic`].
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn set_up(&self, ns: NsId, interface: &str, up: bool) -> Result<(u64, u64), Error> {
        let (netlink, message) = self.link(ns, interface)?;
        let message = if up { message.up() } else { message.down() };
        let request = netlink.link().set(message.build()).execute();
        let before = monotonic();
        self.ask(format!("{interface} up {up}"), request)?;
        Ok((before, monotonic()))
    }

    /// Whether an interface resolves neighbours by ARP (IFF_NOARP).
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn arp(&self, ns: NsId, interface: &str, on: bool) -> Result<(), Error> {
        let (netlink, message) = self.link(ns, interface)?;
        self.ask(format!("{interface} arp {on}"), netlink.link().set(message.arp(on).build()).execute())
    }

    /// What stands behind an interface. A new one has the kernel's stack.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn stack(&self, ns: NsId, interface: &str, stack: Stack) -> Result<(), Error> {
        match stack {
            Stack::Cut => self.arp(ns, interface, false),
            Stack::Kernel => self.arp(ns, interface, true),
        }
    }

    /// An address with its prefix length. One of IPv6 is there at once: nobody looks for duplicates of it (RFC 4862), since
    /// whoever gives it knows who has which.
    ///
    /// # Errors
    /// No such interface, IPv6 is off there ([`Self::ipv6`]), or the kernel refuses.
    pub fn address(&self, ns: NsId, interface: &str, address: impl Into<IpAddr>, length: u8) -> Result<(), Error> {
        let (netlink, address) = (&self.get(ns)?.netlink, address.into());
        let mut request = netlink.address().add(self.index(ns, interface)?, address, length);
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        self.ask(format!("address {interface} {address}/{length}"), request.execute())
    }

    /// IPv6 on an interface of a host that is still down: no addresses but those that it is given, and no routes that
    /// somebody advertises. It reports the group of each address that it is given ([`MLD_REPORTS`] times, at once and again a
    /// moment later), and is silent then.
    ///
    /// # Errors
    /// No such interface, or a kernel without IPv6.
    pub fn ipv6(&self, ns: NsId, interface: &str) -> Result<(), Error> {
        self.index(ns, interface)?;
        let settings = [
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("addr_gen_mode", "1"),
            // Else its second report comes at any time within a second, into whatever is measured then.
            ("mldv2_unsolicited_report_interval", "1"),
            ("disable_ipv6", "0"),
        ];
        for (key, value) in settings {
            self.sysctl(ns, &format!("ipv6/conf/{interface}/{key}"), value)?;
        }
        // To itself it talks over loopback.
        self.sysctl(ns, "ipv6/conf/lo/disable_ipv6", "0")
    }

    /// A route to `destination`/`length` through a neighbour of the same family; 0.0.0.0/0 or ::/0 is the default route.
    ///
    /// # Errors
    /// The neighbour is not on a connected network or of the other family, or the kernel refuses.
    pub fn route(
        &self,
        ns: NsId,
        destination: impl Into<IpAddr>,
        length: u8,
        via: impl Into<IpAddr>,
    ) -> Result<(), Error> {
        let (destination, via) = (destination.into(), via.into());
        let what = format!("route {destination}/{length} via {via}");
        let route = match (destination, via) {
            (IpAddr::V4(to), IpAddr::V4(via)) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, length).gateway(via).build()
            }
            (IpAddr::V6(to), IpAddr::V6(via)) => {
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, length).gateway(via).build()
            }
            _ => return Err(Error::Families { what }),
        };
        self.ask(what, self.get(ns)?.netlink.route().add(route).execute())
    }

    /// Checksum offload, TSO, GSO and GRO off: taps see what a cable would carry.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn offloads_off(&self, ns: NsId, interface: &str) -> Result<(), Error> {
        self.index(ns, interface)?;
        self.run_in(ns, || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            sys::offloads_off(socket.as_fd(), interface)
        })?
        .map_err(Error::io(format!("offloads off {interface}")))
    }

    /// Carrier of an interface, and how often it changed since creation.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn carrier(&self, ns: NsId, interface: &str) -> Result<(bool, u32), Error> {
        let (netlink, index) = (self.get(ns)?.netlink.clone(), self.index(ns, interface)?);
        let found = self.ask(format!("carrier of {interface}"), async move {
            Box::pin(netlink.link().get().match_index(index).execute()).try_next().await
        })?;
        let attributes = found.map(|message| message.attributes).unwrap_or_default();
        let carrier = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Carrier(carrier) => Some(*carrier != 0),
            _ => None,
        });
        let changes = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::CarrierChanges(changes) => Some(*changes),
            _ => None,
        });
        carrier.zip(changes).ok_or_else(|| Error::Incomplete { what: format!("carrier of {interface}") })
    }

    /// Frames that each interface of a namespace put into its cable, loopback left out. On veth this counts every way of
    /// sending, and only what reached the other end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tx_packets(&self, ns: NsId) -> Result<BTreeMap<String, u64>, Error> {
        self.counters(ns, |stats| stats.tx_packets)
    }

    /// Frames that each interface was given and could not put into its cable: the other end is down, or the receiving
    /// CPU's backlog is full. No loss of a cable, but on cables that are up a sign that the machine is overloaded.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tx_dropped(&self, ns: NsId) -> Result<BTreeMap<String, u64>, Error> {
        self.counters(ns, |stats| stats.tx_dropped)
    }

    fn counters(&self, ns: NsId, which: impl Fn(&Stats64) -> u64) -> Result<BTreeMap<String, u64>, Error> {
        let namespace = self.get(ns)?;
        let links = namespace.netlink.link().get().execute().boxed_local().try_collect();
        let messages: Vec<LinkMessage> = self.ask(format!("counters of {}", namespace.name), links)?;
        let by_index: BTreeMap<u32, &LinkMessage> =
            messages.iter().map(|message| (message.header.index, message)).collect();
        let counter = |message: &LinkMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(which(stats)),
                _ => None,
            })
        };
        namespace
            .interfaces
            .iter()
            .map(|(name, index)| match by_index.get(index).and_then(|message| counter(message)) {
                Some(count) => Ok((name.clone(), count)),
                None => Err(Error::Incomplete { what: format!("counters of {}/{name}", namespace.name) }),
            })
            .collect()
    }

    /// The index of an interface that this sandbox made.
    pub(crate) fn index(&self, ns: NsId, interface: &str) -> Result<u32, Error> {
        let namespace = self.get(ns)?;
        namespace.interfaces.get(interface).copied().ok_or_else(|| Error::UnknownInterface {
            namespace: namespace.name.clone(),
            interface: interface.to_owned(),
        })
    }

    fn link(&self, ns: NsId, interface: &str) -> Result<(&Handle, LinkMessageBuilder<LinkUnspec>), Error> {
        let index = self.index(ns, interface)?;
        let message = LinkUnspec::new_with_index(index).interface_family(AddressFamily::Unspec);
        Ok((&self.get(ns)?.netlink, message))
    }

    fn ask<T>(&self, what: String, request: impl Future<Output = Result<T, rtnetlink::Error>>) -> Result<T, Error> {
        self.runtime()?.block_on(request).map_err(Error::netlink(what))
    }
}
