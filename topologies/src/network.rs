//! The networks of a lab, their addresses of both families and their routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_frame::{Mac, NetworkId};
use serde::{Deserialize, Serialize};

use crate::prefix::Prefix;

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkRole {
    /// Faces users: topology internal.
    Inside,
    /// Faces the world: topology external.
    Outside,
    /// Management: its traffic goes to the SMO.
    Management,
}

/// A network of the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id, from 1.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: NetworkRole,
    /// Its subnet.
    pub subnet: Prefix,
    /// The cluster's one address on it.
    pub cluster_ip: Ipv4Addr,
    /// Its IPv6 side, if it has one.
    #[serde(default)]
    pub ipv6: Option<Ipv6Side>,
    /// The largest IP packet on its cables, bytes.
    #[serde(default = "plain_mtu")]
    pub mtu: u16,
    /// The cluster's one MAC on it (VMAC of Maestro, cluster MAC of ElasticXL).
    pub cluster_mac: Mac,
    /// Remote prefixes that are reached through a next hop on this network, of both families.
    pub routes: Vec<Route>,
}

/// Ethernet's.
pub const PLAIN_MTU: u16 = 1_500;

const fn plain_mtu() -> u16 {
    PLAIN_MTU
}

/// The IPv6 side of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Side {
    /// Its subnet.
    pub subnet: Prefix,
    /// The cluster's one address on it.
    pub cluster_ip: Ipv6Addr,
}

impl Network {
    /// Its subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = Prefix> + use<> {
        std::iter::once(self.subnet).chain(self.ipv6.map(|side| side.subnet))
    }

    /// The cluster's addresses on it, IPv4 first.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + use<> {
        std::iter::once(self.cluster_ip.into()).chain(self.ipv6.map(|side| side.cluster_ip.into()))
    }

    /// Is it an address of one of its subnets?
    #[must_use]
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.subnets().any(|subnet| subnet.contains(address))
    }

    /// The cluster's address on it of the family of `other`.
    #[must_use]
    pub fn cluster_ip_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.cluster_ips().find(|address| address.is_ipv4() == other.is_ipv4())
    }

    /// What is on it or behind it: its subnets and the prefixes of its routes.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.subnets().chain(self.routes.iter().map(|route| route.prefix))
    }
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// To where.
    pub prefix: Prefix,
    /// Through whom, of the same family.
    pub via: IpAddr,
}
