//! ARP of one side: asks for the cluster's MAC, and answers for the stations.

use std::time::Duration;

use scalebed_engine::{Frame, Instant};
use scalebed_frame::view::Arp;
use scalebed_frame::{Mac, build};

use crate::config::Side;

/// Between two questions while the answer is known: an address that moved silently is found again within this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Between two questions while nobody has answered.
const ASK: Duration = Duration::from_millis(100);
/// RFC 826.
const REQUEST: u16 = 1;
/// RFC 826.
const REPLY: u16 = 2;

/// What one side knows of the cluster's address.
#[derive(Debug)]
pub(crate) struct Resolver {
    gateway: Option<Mac>,
    next_ask: Instant,
    /// How often the gateway's MAC became another one.
    pub(crate) moves: u64,
}

impl Resolver {
    pub(crate) const fn new() -> Self {
        Self { gateway: None, next_ask: Instant(0), moves: 0 }
    }

    /// The cluster's MAC.
    pub(crate) const fn gateway(&self) -> Option<Mac> {
        self.gateway
    }

    /// When [`Self::ask`] is due.
    pub(crate) const fn deadline(&self) -> Instant {
        self.next_ask
    }

    /// The question, in the name of the next hop.
    pub(crate) fn ask(&mut self, side: &Side, now: Instant) -> Frame {
        self.next_ask = now + if self.gateway.is_some() { ASK_AGAIN } else { ASK };
        let sender_mac = side.mac(side.next_hop.into());
        let (sender_ip, target_ip) = (side.next_hop, side.gateway);
        let arp = Arp { operation: REQUEST, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip };
        build::arp(sender_mac, Mac::BROADCAST, arp)
    }

    /// Learns from what is heard, and answers what is asked of the side's stations.
    pub(crate) fn on_arp(&mut self, side: &Side, arp: &Arp) -> Option<Frame> {
        if arp.sender_ip == side.gateway && !arp.sender_mac.is_group() && self.gateway != Some(arp.sender_mac) {
            self.moves += u64::from(self.gateway.is_some());
            self.gateway = Some(arp.sender_mac);
        }
        let own = side.answers(arp.target_ip).filter(|_| arp.operation == REQUEST && arp.sender_ip != arp.target_ip)?;
        let (target_mac, target_ip) = (arp.sender_mac, arp.sender_ip);
        let reply = Arp { operation: REPLY, sender_mac: own, sender_ip: arp.target_ip, target_mac, target_ip };
        Some(build::arp(own, arp.sender_mac, reply))
    }
}
