//! Deals addresses and ports of either family.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_engine::Rng;
use scalebed_frame::signature::Direction;
use scalebed_frame::{Flow, Protocol};
use scalebed_topologies::lab::Prefix;

use crate::profile::{Addresses, Profile, is_taken};

/// Service ports that servers listen on.
const SERVICES: (u16, u64) = (8_000, 64);
/// Ports that clients send from.
const CLIENT_PORTS: (u16, u64) = (10_000, 50_000);
/// Draws of an address before one that was dealt already is taken again.
const TRIES: u32 = 64;
/// So many addresses of a prefix at most are drawn from: an IPv6 prefix has more than enough.
const MOST_HOSTS: u64 = 1 << 32;

/// Which addresses a flow has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Of number `n` of flows of which `percent` are of IPv6.
    pub(crate) fn of(n: u32, percent: u32) -> Self {
        if is_taken(n, percent) { Self::V6 } else { Self::V4 }
    }

    const fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == matches!(self, Self::V4)
    }

    const fn nowhere(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// The addresses of a profile, and what was dealt of them.
pub(crate) struct Dealer<'a> {
    /// Clients, then servers: those of IPv4, then those of IPv6.
    ends: [[Pool<'a>; 2]; 2],
    rng: Rng,
    used: [BTreeSet<IpAddr>; 2],
    flows: BTreeSet<Flow>,
}

/// The addresses of one side and family.
struct Pool<'a> {
    on_link: Vec<IpAddr>,
    behind: Vec<&'a Prefix>,
}

impl<'a> Pool<'a> {
    fn new(addresses: &'a Addresses, family: Family) -> Self {
        Self {
            on_link: addresses.on_link.iter().copied().filter(|address| family.has(address)).collect(),
            behind: addresses.behind.iter().filter(|prefix| family.has(&prefix.address)).collect(),
        }
    }

    fn draw(&self, rng: &mut Rng, on_link: bool) -> Option<IpAddr> {
        let Self { on_link: stations, behind } = self;
        if on_link && !stations.is_empty() || behind.is_empty() {
            return stations.get(usize::try_from(rng.below(stations.len() as u64)).ok()?).copied();
        }
        let prefix = behind.get(usize::try_from(rng.below(behind.len() as u64)).ok()?)?;
        // Neither the network's own address nor the last one.
        let hosts = prefix.addresses().saturating_sub(2).min(MOST_HOSTS);
        Some(prefix.host(1 + rng.below(hosts)))
    }
}

impl<'a> Dealer<'a> {
    pub(crate) fn new(profile: &'a Profile) -> Self {
        let pools = |side: &'a Addresses| [Family::V4, Family::V6].map(|family| Pool::new(side, family));
        let ends = [pools(&profile.clients), pools(&profile.servers)];
        Self { ends, rng: Rng::new(profile.seed, "addresses"), used: Default::default(), flows: BTreeSet::new() }
    }

    pub(crate) fn flow(
        &mut self,
        (protocol, family): (Protocol, Family),
        client_on_link: bool,
        server_on_link: bool,
    ) -> Flow {
        let src = self.address(Direction::Forward, family, client_on_link);
        let dst = self.address(Direction::Reverse, family, server_on_link);
        let dst_port = SERVICES.0 + narrow(self.rng.below(SERVICES.1));
        let mut src_port = CLIENT_PORTS.0 + narrow(self.rng.below(CLIENT_PORTS.1));
        // Few addresses and many flows can meet; a free port is at most one round away.
        for _ in 0..CLIENT_PORTS.1 {
            if self.flows.insert(Flow { protocol, src, dst, src_port, dst_port }) {
                break;
            }
            src_port = CLIENT_PORTS.0 + narrow((u64::from(src_port - CLIENT_PORTS.0) + 1) % CLIENT_PORTS.1);
        }
        Flow { protocol, src, dst, src_port, dst_port }
    }

    /// The sender of a direction: a client for forward, a server for reverse.
    fn address(&mut self, sender_of: Direction, family: Family, on_link: bool) -> IpAddr {
        let (pools, used) = match sender_of {
            Direction::Forward => (&self.ends[0], &mut self.used[0]),
            Direction::Reverse => (&self.ends[1], &mut self.used[1]),
        };
        let mut address = family.nowhere();
        for _ in 0..TRIES {
            address = pools[family as usize].draw(&mut self.rng, on_link).unwrap_or(family.nowhere());
            if used.insert(address) {
                break;
            }
        }
        address
    }
}

fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
