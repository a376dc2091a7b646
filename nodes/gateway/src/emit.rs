//! The way out: routes, neighbours, ports.

use std::net::IpAddr;

use scalebed_engine::Frame;
use scalebed_frame::shim::{MAX_HOP, TO_UPLINK};
use scalebed_frame::{Kind, Mac, MemberId, NetworkId, NodeId, Shim, mac, rewrite};
use scalebed_topologies::lab::PortRole;

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::packet::{Arrival, Packet};
use crate::waiting::For;

impl Gateway {
    /// The network that an address is reached by, and its next hop.
    pub(crate) fn egress(&self, address: IpAddr) -> Option<(NetworkId, IpAddr)> {
        if let Some(network) = self.config.networks.iter().find(|network| network.is_on_link(address)) {
            return Some((network.id, address));
        }
        let routes =
            self.config.networks.iter().flat_map(|network| network.routes.iter().map(move |one| (network, one)));
        let best = routes.filter(|(_, route)| route.prefix.contains(address)).max_by_key(|(_, one)| one.prefix.length);
        best.map(|(network, route)| (network.id, route.via))
    }

    /// Is it an address of the cluster itself?
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        self.config.networks.iter().any(|network| network.cluster_ips().any(|own| own == address))
    }

    /// Sends a finished packet to its next hop, or lets it wait until that has answered.
    pub(crate) fn send_to_hop(&mut self, network: NetworkId, hop: IpAddr, mut packet: Packet) -> Fate {
        let Some(&dst) = self.neighbours.get(&(network, hop)) else {
            self.ask_neighbour(network, hop);
            let waits = self.waiting.push(For::Neighbour(network, hop), packet, self.now);
            return if waits { Fate::Waits } else { Fate::Dropped(Reason::QueueFull) };
        };
        let _plain_already = Shim::remove(packet.frame.bytes_mut());
        let Some(src) = self.own_mac(network) else { return Fate::Dropped(Reason::NoRoute) };
        rewrite::set_macs(packet.frame.bytes_mut(), dst, src);
        self.send_fitting(network, packet.frame, packet.port)
    }

    /// Sends a frame of this member's own to a next hop. False: the hop is not known yet (it is asked), or no port is up.
    pub(crate) fn send_own(&mut self, network: NetworkId, hop: IpAddr, mut frame: Frame, port: u16) -> bool {
        let (Some(&dst), Some(src)) = (self.neighbours.get(&(network, hop)), self.own_mac(network)) else {
            self.ask_neighbour(network, hop);
            return false;
        };
        rewrite::set_macs(frame.bytes_mut(), dst, src);
        self.send_to_network(network, frame, Some(port)) == Fate::Sent
    }

    /// The MAC that this member sends with on a network: the cluster's; of an ElasticXL member that is not the pivot its
    /// own, so that the switch never learns the cluster's behind it.
    pub(crate) fn own_mac(&self, network: NetworkId) -> Option<Mac> {
        let here = self.network(network)?;
        if self.is_elastic() && !self.view.leads {
            let own = self.config.ports.iter().find(|port| port.role == PortRole::Data(network));
            return own.map(|port| port.mac);
        }
        Some(here.cluster_mac)
    }

    /// Sends a plain frame out to a network: by the data port, or under the shim up a downlink, best that it came by.
    pub(crate) fn send_to_network(&mut self, network: NetworkId, mut frame: Frame, came_by: Option<u16>) -> Fate {
        let port = if self.is_elastic() {
            self.port_where(|role| role == PortRole::Data(network))
        } else {
            let mut shim = self.shim(Kind::Data, network);
            shim.flags |= TO_UPLINK;
            shim.insert(frame.bytes_mut());
            self.downlink(came_by)
        };
        let Some(port) = port else { return Fate::Dropped(Reason::PortDown) };
        self.transmit(port, frame);
        Fate::Sent
    }

    fn shim(&self, kind: Kind, network: NetworkId) -> Shim {
        let mut shim = Shim::new(kind, network, self.config.group.id);
        shim.origin = self.config.id.code();
        shim.incarnation = (self.view.incarnation.0 & 0xffff) as u16;
        shim
    }

    fn port_where(&self, wanted: impl Fn(PortRole) -> bool) -> Option<u16> {
        let found = (0u16..).zip(&self.config.ports).find(|(port, spec)| wanted(spec.role) && self.up(*port));
        found.map(|(port, _)| port)
    }

    /// A downlink with carrier: the wanted one if it can be.
    fn downlink(&self, wanted: Option<u16>) -> Option<u16> {
        let is = |port: &u16| {
            let role = self.config.ports.get(usize::from(*port)).map(|port| port.role);
            matches!(role, Some(PortRole::Downlink(_))) && self.up(*port)
        };
        wanted.filter(is).or_else(|| self.port_where(|role| matches!(role, PortRole::Downlink(_))))
    }

    /// The correction layer: a packet goes on to another member, as it is.
    pub(crate) fn pass(&mut self, to: MemberId, packet: Packet) -> Fate {
        if packet.hop >= MAX_HOP {
            return Fate::Dropped(Reason::HopLimit);
        }
        // What entered at the pivot it hands over, however it found out to whom: a handover is not a hop.
        if self.is_elastic() && self.view.leads && packet.arrival == Arrival::Entered && packet.hop == 0 {
            return self.hand_over(to, packet);
        }
        let hop = packet.hop + 1;
        let fate = self.send_to_member(to, packet, Kind::Correction, hop);
        if fate == Fate::Sent {
            self.counters.one(Count::CorrectedOut);
        }
        fate
    }

    /// The pivot hands a packet out.
    pub(crate) fn hand_over(&mut self, to: MemberId, packet: Packet) -> Fate {
        let hop = packet.hop;
        let fate = self.send_to_member(to, packet, Kind::Handover, hop);
        if fate == Fate::Sent {
            self.counters.one(Count::HandoverOut);
        }
        fate
    }

    fn send_to_member(&mut self, to: MemberId, mut packet: Packet, kind: Kind, hop: u8) -> Fate {
        let old = Shim::remove(packet.frame.bytes_mut());
        let mut shim = self.shim(kind, packet.network);
        shim.hop = hop;
        shim.target = NodeId::from(to).code();
        shim.ingress = old.map_or(0, |old| old.ingress);
        (shim.generation, shim.author) = old.map_or((0, 0), |old| (old.generation, old.author));
        shim.insert(packet.frame.bytes_mut());
        let group = self.config.group.id;
        let (port, dst) = if self.is_elastic() {
            (self.port_where(|role| role == PortRole::Sync), mac::smac(group, to))
        } else {
            let port = self.downlink(Some(packet.port));
            let interface = port.map_or(0, |port| match self.config.ports[usize::from(port)].role {
                PortRole::Downlink(mho) => mho.0.saturating_sub(1),
                _ => 0,
            });
            (port, mac::bmac(group, to, interface))
        };
        let Some(port) = port else { return Fate::Dropped(Reason::PortDown) };
        let src = self.config.ports[usize::from(port)].mac;
        rewrite::set_macs(packet.frame.bytes_mut(), dst, src);
        self.transmit(port, packet.frame);
        Fate::Sent
    }
}
