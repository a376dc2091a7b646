//! What a generator is told at its start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_engine::PortIndex;
use scalebed_frame::{Mac, NetworkId};
use scalebed_record::Schedule;
use scalebed_topologies::lab::Prefix;
use serde::{Deserialize, Serialize};

/// Configuration of a generator. Port 0 is on the inside, port 1 on the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its name in the lab.
    pub name: String,
    /// What to send when.
    pub schedule: Schedule,
    /// The stations that it plays on the inside.
    pub inside: Side,
    /// The stations that it plays on the outside.
    pub outside: Side,
    /// Addresses behind the inside's next hop: a flow whose source is one of them, or on link on the inside, has its
    /// client there. All other clients are outside.
    pub inside_prefixes: Vec<Prefix>,
}

/// The stations of one side: the next hop has the MAC `Mac::host(mac_base)`, the on-link addresses those that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The network.
    pub network: NetworkId,
    /// Number of the first MAC ([`Mac::host`]); `1 + on_link.len()` numbers are taken.
    pub mac_base: u32,
    /// Addresses of both families that answer ARP or neighbour solicitations, each with a MAC of its own.
    pub on_link: Vec<IpAddr>,
    /// The router that it plays: answers ARP, and every address that is not on link lies behind it.
    pub next_hop: Ipv4Addr,
    /// The cluster's address on this network, to be resolved.
    pub gateway: Ipv4Addr,
    /// The same of IPv6; without it the side has IPv4 alone.
    #[serde(default)]
    pub ipv6: Option<Side6>,
}

/// A side's addresses of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side6 {
    /// The router that it plays, with the MAC of the IPv4 one.
    pub next_hop: Ipv6Addr,
    /// The cluster's address, to be resolved.
    pub gateway: Ipv6Addr,
}

/// One of the two ports, and with it a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Port 0.
    Inside,
    /// Port 1.
    Outside,
}

impl Place {
    /// Both, in order of port.
    pub const BOTH: [Self; 2] = [Self::Inside, Self::Outside];

    /// The port.
    #[must_use]
    pub const fn port(self) -> PortIndex {
        PortIndex(self as u16)
    }

    /// The side of a port; `None` if the generator has no such port.
    #[must_use]
    pub const fn of(port: PortIndex) -> Option<Self> {
        match port.0 {
            0 => Some(Self::Inside),
            1 => Some(Self::Outside),
            _ => None,
        }
    }

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }
}

impl Config {
    /// Where the client of a flow with this source is.
    #[must_use]
    pub fn client(&self, source: IpAddr) -> Place {
        let inside =
            self.inside.number(source).is_some() || self.inside_prefixes.iter().any(|prefix| prefix.contains(source));
        if inside { Place::Inside } else { Place::Outside }
    }

    /// The stations of a side.
    #[must_use]
    pub const fn side(&self, place: Place) -> &Side {
        match place {
            Place::Inside => &self.inside,
            Place::Outside => &self.outside,
        }
    }
}

impl Side {
    /// The MAC that frames from `address` leave with: its own on link, the next hop's for all that lies behind it.
    #[must_use]
    pub fn mac(&self, address: IpAddr) -> Mac {
        Mac::host(self.mac_base.wrapping_add(self.number(address).unwrap_or(0)))
    }

    /// The MAC that answers for `address`; `None` if no station here has it.
    #[must_use]
    pub fn answers(&self, address: impl Into<IpAddr>) -> Option<Mac> {
        self.number(address.into()).map(|number| Mac::host(self.mac_base.wrapping_add(number)))
    }

    /// Is this the MAC of one of the stations?
    #[must_use]
    pub fn has(&self, mac: Mac) -> bool {
        let Mac([0x02, 0x5a, a, b, c, d]) = mac else { return false };
        let number = u32::from_be_bytes([a, b, c, d]).wrapping_sub(self.mac_base);
        usize::try_from(number).is_ok_and(|number| number <= self.on_link.len())
    }

    /// Is it the router that the side plays, in either family?
    pub(crate) fn is_next_hop(&self, address: IpAddr) -> bool {
        address == self.next_hop || self.ipv6.is_some_and(|side| address == side.next_hop)
    }

    fn number(&self, address: IpAddr) -> Option<u32> {
        if self.is_next_hop(address) {
            return Some(0);
        }
        let place = self.on_link.iter().position(|&own| own == address)?;
        u32::try_from(place + 1).ok()
    }
}
