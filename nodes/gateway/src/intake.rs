//! What a frame is, before anybody asks for its connection.

use scalebed_engine::{Frame, Instant};
use scalebed_frame::control::{self, Body};
use scalebed_frame::shim::{COPY, MAX_HOP, TO_UPLINK};
use scalebed_frame::view::Network;
use scalebed_frame::{Kind, NetworkId, NodeId, Shim, View, ndp};
use scalebed_topologies::lab::PortRole;

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::membership::Place;
use crate::packet::Packet;
use crate::waiting::For;

impl Gateway {
    pub(crate) fn intake(&mut self, port: u16, frame: Frame, received: Instant) -> Fate {
        let Some(view) = View::parse_whole(frame.bytes()) else { return Fate::Dropped(Reason::Malformed) };
        let Some(role) = self.config.ports.get(usize::from(port)).map(|port| port.role) else {
            return Fate::Dropped(Reason::Malformed);
        };
        match (view.shim, role) {
            (None, PortRole::Data(network)) => self.take_plain(port, network, frame, &view),
            (None, _) => Fate::Dropped(Reason::NoShim),
            (Some(shim), _) if shim.group != self.config.group.id => Fate::Dropped(Reason::ForeignGroup),
            (Some(shim), _) => self.take_shimmed(port, frame, &view, shim, received),
        }
    }

    /// A shimmed frame: of an orchestrator, of another member, of the pivot.
    fn take_shimmed(&mut self, port: u16, frame: Frame, view: &View, shim: Shim, received: Instant) -> Fate {
        if shim.target != 0 && shim.target != self.config.id.code() {
            return Fate::Dropped(Reason::NotForMe);
        }
        match shim.kind {
            Kind::Control => return self.control(port, &frame, view, shim, received),
            Kind::Data if shim.has(TO_UPLINK) => return Fate::Dropped(Reason::WrongWay),
            Kind::Data | Kind::Correction | Kind::Handover => {}
        }
        let early = self.is_out() && self.cluster.awaits(shim.generation);
        if !early && let Some(reason) = self.refuses(&shim) {
            return Fate::Dropped(reason);
        }
        match shim.kind {
            Kind::Correction => self.counters.one(Count::CorrectedIn),
            Kind::Handover => self.counters.one(Count::HandoverIn),
            Kind::Data | Kind::Control => {}
        }
        if shim.hop > MAX_HOP {
            return Fate::Dropped(Reason::HopLimit);
        }
        match view.network {
            Network::Arp(_) if early => Fate::Dropped(Reason::Fenced),
            Network::Arp(arp) => self.arp(shim.network, &arp),
            Network::Ip(ip) if ndp::is_discovery(&ip) && early => Fate::Dropped(Reason::Fenced),
            Network::Ip(ip) if ndp::is_discovery(&ip) => self.discovery(shim.network, &frame, view),
            Network::Ip(ip) if ndp::is_listening(&ip) => Fate::Consumed,
            // What orchestrators copy to everybody is one packet: whoever forwarded it would forward it once a member.
            Network::Ip(_) if shim.has(COPY) || is_group(view) => Fate::Dropped(Reason::Broadcast),
            Network::Ip(ip) => {
                let packet = Packet::new(frame, view, ip, shim.network, port);
                // The sender may have the matrix that admits this life; this life's own Prepare takes another way.
                if early { self.wait(For::Admission(shim.generation), packet) } else { self.packet(packet) }
            }
            Network::Other => Fate::Dropped(Reason::UnknownEthertype),
            Network::Malformed => Fate::Dropped(Reason::Malformed),
            Network::Corrupt => Fate::Dropped(Reason::BadChecksum),
        }
    }

    /// The receivers' half of the fence: who is out takes nothing, who is in takes nothing of who is not.
    fn refuses(&self, shim: &Shim) -> Option<Reason> {
        if self.is_out() {
            return Some(Reason::Fenced);
        }
        let origin = NodeId::from_code(shim.origin).and_then(NodeId::member);
        let strange = || !origin.is_some_and(|member| self.view.passes(member, shim.incarnation));
        (shim.kind != Kind::Data && strange()).then_some(Reason::NotAdmitted)
    }

    /// A packet that came before the Prepare that is accepted now. It was for this life only if the bucket became its own
    /// when the sender says; else it was for an earlier one.
    pub(crate) fn admit(&mut self, packet: Packet) -> Fate {
        let shim = View::parse(packet.frame.bytes()).and_then(|view| view.shim);
        let bucket = self.bucket(&packet.flow, packet.ports, packet.network);
        let dealt = |place: &Place| {
            place.assignment.owner == self.view.id && place.assignment.moved.counter == packet.generation
        };
        match shim.and_then(|shim| self.refuses(&shim)) {
            Some(reason) => Fate::Dropped(reason),
            None if !self.view.place(bucket).is_some_and(dealt) => Fate::Dropped(Reason::Fenced),
            None => self.packet(packet),
        }
    }

    /// ElasticXL: a plain frame of a data network.
    fn take_plain(&mut self, port: u16, network: NetworkId, frame: Frame, view: &View) -> Fate {
        if self.is_out() {
            return Fate::Dropped(Reason::Fenced);
        }
        let own = self.config.ports[usize::from(port)].mac;
        let cluster = self.network(network).map(|network| network.cluster_mac);
        match view.network {
            Network::Arp(arp) => self.arp(network, &arp),
            Network::Ip(ip) if ndp::is_discovery(&ip) => self.discovery(network, &frame, view),
            Network::Ip(ip) if ndp::is_listening(&ip) => Fate::Consumed,
            Network::Ip(_) if view.dst.is_group() => Fate::Dropped(Reason::Broadcast),
            Network::Ip(_) if view.dst != own && Some(view.dst) != cluster => Fate::Dropped(Reason::NotMyMac),
            Network::Ip(_) if !self.view.leads => Fate::Dropped(Reason::NotPivot),
            Network::Ip(ip) => {
                let packet = Packet::new(frame, view, ip, network, port);
                self.enter(packet)
            }
            Network::Other => Fate::Dropped(Reason::UnknownEthertype),
            Network::Malformed => Fate::Dropped(Reason::Malformed),
            Network::Corrupt => Fate::Dropped(Reason::BadChecksum),
        }
    }

    fn control(&mut self, port: u16, frame: &Frame, view: &View, shim: Shim, received: Instant) -> Fate {
        let Some(piece) = control::payload(frame.bytes(), view) else { return Fate::Dropped(Reason::BadControl) };
        match self.reassembler.push(shim.origin, piece) {
            Ok(None) => Fate::Consumed,
            Err(_) => Fate::Dropped(Reason::BadControl),
            Ok(Some(message)) => {
                if let NodeId::Member(member) = message.from
                    && message.from != self.config.id
                {
                    if let Body::Heartbeat(beat) = &message.body
                        && beat.smo
                    {
                        self.announced(beat);
                    }
                    if self.streams.heard(member, message.incarnation) {
                        self.ask_again(member);
                        self.move_again(member);
                    }
                    if let Body::Sync(sync) = message.body {
                        if message.to == Some(self.config.id) {
                            self.sync_message(member, message.incarnation, sync);
                        }
                        return Fate::Consumed;
                    }
                }
                self.cluster.on_control(port, &message, received, self.now);
                Fate::Consumed
            }
        }
    }

    /// An IP packet, wherever it came from.
    pub(crate) fn packet(&mut self, packet: Packet) -> Fate {
        let packet = match self.whole(packet) {
            Ok(packet) => packet,
            Err(fate) => return fate,
        };
        if let Some(reason) = self.refuses_error(&packet) {
            return Fate::Dropped(reason);
        }
        if !packet.is_tracked() {
            return Fate::Dropped(Reason::Untracked);
        }
        self.route(packet)
    }
}

/// Multicast, by its address: below the shim the MAC is the member's.
fn is_group(view: &View) -> bool {
    view.ip().is_some_and(|ip| ip.dst.is_multicast())
}
