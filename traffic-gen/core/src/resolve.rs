//! ARP and neighbour discovery of one side: asks for the cluster's MAC, and answers for the stations.

use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::{Frame, Instant};
use scalebed_frame::view::Arp;
use scalebed_frame::{Mac, Ndp, build};

use crate::config::Side;

/// Between two questions while the answer is known: an address that moved silently is found again within this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Between two questions while nobody has answered.
const ASK: Duration = Duration::from_millis(100);
/// RFC 826.
const REQUEST: u16 = 1;
/// RFC 826.
const REPLY: u16 = 2;

/// What one side knows of the cluster's addresses.
#[derive(Debug)]
pub(crate) struct Resolver {
    ipv4: Gateway,
    /// `None`: the side has IPv4 alone.
    ipv6: Option<Gateway>,
    /// How often a gateway's MAC became another one.
    pub(crate) moves: u64,
}

/// The cluster in one family.
#[derive(Clone, Copy, Debug)]
struct Gateway {
    mac: Option<Mac>,
    next_ask: Instant,
}

impl Gateway {
    const UNKNOWN: Self = Self { mac: None, next_ask: Instant(0) };

    fn is_asked_for(&mut self, now: Instant) {
        self.next_ask = now + if self.mac.is_some() { ASK_AGAIN } else { ASK };
    }

    /// Somebody has the address at `mac`. True: it was elsewhere before.
    fn learn(&mut self, mac: Mac) -> bool {
        if mac.is_group() || self.mac == Some(mac) {
            return false;
        }
        self.mac.replace(mac).is_some()
    }
}

impl Resolver {
    pub(crate) fn new(side: &Side) -> Self {
        Self { ipv4: Gateway::UNKNOWN, ipv6: side.ipv6.map(|_| Gateway::UNKNOWN), moves: 0 }
    }

    /// The cluster's MAC for packets between addresses of the family of this one.
    pub(crate) fn gateway(&self, like: IpAddr) -> Option<Mac> {
        match like {
            IpAddr::V4(_) => self.ipv4.mac,
            IpAddr::V6(_) => self.ipv6?.mac,
        }
    }

    /// Is the cluster's MAC known in every family that the side has?
    pub(crate) fn is_settled(&self) -> bool {
        self.ipv4.mac.is_some() && self.ipv6.is_none_or(|gateway| gateway.mac.is_some())
    }

    /// When [`Self::ask`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.ipv6.map_or(self.ipv4.next_ask, |gateway| gateway.next_ask.min(self.ipv4.next_ask))
    }

    /// The questions that are due, in the name of the next hop. `all`: due or not.
    pub(crate) fn ask(&mut self, side: &Side, all: bool, now: Instant) -> Vec<Frame> {
        let mut questions = Vec::new();
        let sender_mac = side.mac(side.next_hop.into());
        if all || self.ipv4.next_ask <= now {
            self.ipv4.is_asked_for(now);
            let (sender_ip, target_ip) = (side.next_hop, side.gateway);
            let arp = Arp { operation: REQUEST, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip };
            questions.push(build::arp(sender_mac, Mac::BROADCAST, arp));
        }
        if let (Some(gateway), Some(own)) = (&mut self.ipv6, side.ipv6)
            && (all || gateway.next_ask <= now)
        {
            gateway.is_asked_for(now);
            questions.push(build::solicitation(sender_mac, own.next_hop, own.gateway));
        }
        questions
    }

    /// Learns from what is heard, and answers what is asked of the side's stations.
    pub(crate) fn on_arp(&mut self, side: &Side, arp: &Arp) -> Option<Frame> {
        if arp.sender_ip == side.gateway {
            self.moves += u64::from(self.ipv4.learn(arp.sender_mac));
        }
        let own = side.answers(arp.target_ip).filter(|_| arp.operation == REQUEST && arp.sender_ip != arp.target_ip)?;
        let (target_mac, target_ip) = (arp.sender_mac, arp.sender_ip);
        let reply = Arp { operation: REPLY, sender_mac: own, sender_ip: arp.target_ip, target_mac, target_ip };
        Some(build::arp(own, arp.sender_mac, reply))
    }

    /// The same of IPv6: who asks says where it is, as an ARP request's sender does.
    pub(crate) fn on_ndp(&mut self, side: &Side, ndp: Ndp) -> Option<Frame> {
        let told = match ndp {
            Ndp::Solicitation { from, .. } => from,
            Ndp::Advertisement { target, link, .. } => Some((target, link)),
        };
        if let (Some((address, mac)), Some(gateway), Some(own)) = (told, &mut self.ipv6, side.ipv6)
            && address == own.gateway
        {
            self.moves += u64::from(gateway.learn(mac));
        }
        let Ndp::Solicitation { from, target } = ndp else { return None };
        let own = side.answers(target).filter(|_| from.is_none_or(|(address, _)| address != target))?;
        // Who has no address yet cannot be answered: all hear that it is taken (RFC 4861, 7.2.4).
        let to = from.map(|(address, mac)| (mac, address));
        Some(build::advertisement(own, target, side.is_next_hop(target.into()), to))
    }
}
