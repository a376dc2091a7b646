//! Who is where on the data networks: ARP (RFC 826) and neighbour discovery (RFC 4861). The SMO (pivot) answers for the
//! cluster, whatever anybody learns is everybody's, and a takeover is announced in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use scalebed_engine::Frame;
use scalebed_frame::sync::{Item, Neighbour};
use scalebed_frame::view::Arp;
use scalebed_frame::{Mac, MemberId, Ndp, NetworkId, View, build};

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::waiting::For;

/// A next hop that does not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Neighbours that are kept at most: a joiner must hear of all of them, and a peer's queue has room for four times as many
/// items. (A subnet of IPv6 has more addresses than any table, and anybody on it can claim them.)
const NEIGHBOURS: usize = 16_384;

/// Questions that are remembered at most, lest they be asked again within a second.
const ASKED: usize = 4_096;

/// Neighbours of a network that are asked whether they are there.
const PROBED: usize = 3;

impl Gateway {
    /// Requests for the cluster's addresses are answered by the SMO (pivot); whatever is learned is shared.
    pub(crate) fn arp(&mut self, network: NetworkId, arp: &Arp) -> Fate {
        let Some(here) = self.network(network) else { return Fate::Dropped(Reason::NoRoute) };
        let (mac, ip) = (here.cluster_mac, here.cluster_ip);
        let ours = arp.target_ip == ip || self.nat.addresses(network).any(|address| address == arp.target_ip);
        self.heard(network, arp.sender_ip.into(), arp.sender_mac);
        if arp.operation == 2 {
            self.neighbour_answered();
        }
        if arp.operation == 1 && ours && self.view.leads {
            let reply = Arp {
                operation: 2,
                sender_mac: mac,
                sender_ip: arp.target_ip,
                target_mac: arp.sender_mac,
                target_ip: arp.sender_ip,
            };
            let frame = build::arp(mac, arp.sender_mac, reply);
            self.counters.one(Count::ArpAnswered);
            let _lost_is_asked_again = self.send_to_network(network, frame, None);
        }
        Fate::Consumed
    }

    /// The same for neighbour discovery; of routers the cluster hears nothing.
    pub(crate) fn discovery(&mut self, network: NetworkId, frame: &Frame, view: &View) -> Fate {
        let Some(here) = self.network(network) else { return Fate::Dropped(Reason::NoRoute) };
        let (mac, ours) = (here.cluster_mac, here.ipv6.map(|side| side.cluster_ip));
        match Ndp::read(frame.bytes(), view) {
            None => return Fate::Dropped(Reason::Discovery),
            Some(Ndp::Advertisement { target, link, solicited }) => {
                // Who asks from no address is answered by what is told to all nodes.
                let wanted = solicited || self.asked.contains_key(&(network, target.into()));
                self.heard(network, target.into(), link);
                if wanted {
                    self.neighbour_answered();
                }
            }
            Some(Ndp::Solicitation { from, target }) => {
                if let Some((address, link)) = from {
                    self.heard(network, address.into(), link);
                }
                if Some(target) == ours && self.view.leads {
                    // Somebody who is about to take the address has none to be answered at: everybody is told (7.2.4).
                    let to = from.map(|(address, link)| (link, address));
                    self.counters.one(Count::NdAnswered);
                    let frame = build::advertisement(mac, target, true, to);
                    let _lost_is_asked_again = self.send_to_network(network, frame, None);
                }
            }
        }
        Fate::Consumed
    }

    /// Somebody on a network said where an address is. What nobody there can have is not believed.
    fn heard(&mut self, network: NetworkId, address: IpAddr, mac: Mac) {
        let on_link = self.network(network).is_some_and(|here| here.is_on_link(address));
        if on_link && !self.is_ours(address) && mac != Mac::ZERO && !mac.is_group() {
            self.learn(network, address, mac);
        }
    }

    /// A neighbour answered: cables work.
    fn neighbour_answered(&mut self) {
        if self.is_elastic() {
            self.cluster.probed(self.now);
        }
    }

    /// A neighbour said where it is. The table is replicated: a new owner never waits for ARP.
    fn learn(&mut self, network: NetworkId, address: IpAddr, mac: Mac) {
        if self.neighbours.get(&(network, address)) != Some(&mac) && self.install_neighbour(network, address, mac) {
            let others: Vec<MemberId> = self.view.others().collect();
            for other in others {
                self.push(other, Item::Neighbour(Neighbour { network, address, mac }));
            }
        }
    }

    /// Takes a neighbour in and sends what waited for it. False: there is no room.
    pub(crate) fn install_neighbour(&mut self, network: NetworkId, address: IpAddr, mac: Mac) -> bool {
        if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&(network, address)) {
            return false;
        }
        self.neighbours.insert((network, address), mac);
        self.asked.remove(&(network, address));
        for packet in self.waiting.take(For::Neighbour(network, address)) {
            let fate = self.send_to_hop(network, address, packet);
            self.counters.settle(fate);
        }
        true
    }

    /// Asks where a next hop is, at most once a second.
    pub(crate) fn ask_neighbour(&mut self, network: NetworkId, hop: IpAddr) {
        if self.asked.get(&(network, hop)).is_some_and(|asked| self.now.since(*asked) < ASK_AGAIN) {
            return;
        }
        if self.asked.len() >= ASKED {
            let now = self.now;
            self.asked.retain(|_, asked| now.since(*asked) < ASK_AGAIN);
            if self.asked.len() >= ASKED {
                return;
            }
        }
        self.asked.insert((network, hop), self.now);
        let (Some(src), Some(here)) = (self.own_mac(network), self.network(network)) else { return };
        // Who asks with its own MAC must not claim the cluster's address with it: a probe has no sender address (RFC 5227;
        // RFC 4861 section 7.2.4: all nodes hear the answer).
        let claims = src == here.cluster_mac;
        let frame = match (hop, here.ipv6) {
            (IpAddr::V4(target_ip), _) => {
                let sender_ip = if claims { here.cluster_ip } else { Ipv4Addr::UNSPECIFIED };
                let ask = Arp { operation: 1, sender_mac: src, sender_ip, target_mac: Mac::ZERO, target_ip };
                self.counters.one(Count::ArpAsked);
                build::arp(src, Mac::BROADCAST, ask)
            }
            (IpAddr::V6(target), Some(side)) => {
                let from = if claims { side.cluster_ip } else { Ipv6Addr::UNSPECIFIED };
                self.counters.one(Count::NdAsked);
                build::solicitation(src, from, target)
            }
            (IpAddr::V6(_), None) => return,
        };
        let _asked_again_if_lost = self.send_to_network(network, frame, None);
    }

    /// Asks a few neighbours of each network where they are: an answer shows that the cables work.
    pub(crate) fn probe_neighbours(&mut self) {
        if self.neighbours.is_empty() {
            // Nobody to ask, nobody to be cut off from.
            self.cluster.probed(self.now);
            return;
        }
        for network in self.config.networks.iter().map(|network| network.id).collect::<Vec<_>>() {
            let known = self.neighbours.keys().filter(|(of, _)| *of == network).map(|(_, address)| *address);
            for address in known.take(PROBED).collect::<Vec<_>>() {
                self.asked.remove(&(network, address));
                self.ask_neighbour(network, address);
            }
        }
    }

    /// Announces the cluster's addresses on every network: gratuitous ARP, and its twin, the unsolicited neighbour
    /// advertisement (RFC 4861 section 7.2.6).
    pub(crate) fn announce(&mut self) {
        for network in self.config.networks.clone() {
            let mac = network.cluster_mac;
            let _next_round_comes = self.send_to_network(network.id, build::gratuitous(mac, network.cluster_ip), None);
            if let Some(side) = network.ipv6 {
                let frame = build::advertisement(mac, side.cluster_ip, true, None);
                let _next_round_comes = self.send_to_network(network.id, frame, None);
            }
        }
    }
}
