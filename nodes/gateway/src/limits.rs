//! What becomes of a packet that may go no further, or not as it is: its hops are used up, or it is larger than the network
//! that it leaves to. Its source is told by ICMP, or it goes on in pieces.

use scalebed_engine::Frame;
use scalebed_frame::{Flow, Mac, NetworkId, Protocol, View, build, pieces, quote};

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::packet::Packet;

/// RFC 792, code of destination unreachable: fragmentation needed and don't fragment set.
const FRAGMENTATION_NEEDED: u8 = 4;

/// What an ICMP error says: type, code, and the four bytes behind its checksum.
type Said = (u8, u8, [u8; 4]);

impl Gateway {
    /// RFC 792, RFC 4443 section 3.3: its hops are used up.
    pub(crate) fn time_exceeded(&mut self, packet: &Packet) {
        let kind = if packet.ip.src.is_ipv4() { quote::TIME_EXCEEDED } else { quote::v6::TIME_EXCEEDED };
        if self.tell_source(packet, (kind, 0, [0; 4])) {
            self.counters.one(Count::TimeExceeded);
        }
    }

    /// Does it fit the network that it leaves to, whole or in pieces?
    pub(crate) fn fits(&self, packet: &Packet, left: NetworkId) -> bool {
        let length = packet.ip.end - packet.l3;
        let view = || View::parse(packet.frame.bytes());
        length <= self.mtu(left) || view().is_some_and(|view| pieces::may_break(packet.frame.bytes(), &view))
    }

    /// RFC 1191 section 4 (the next hop's MTU in the last two bytes), RFC 4443 section 3.2 (in all four).
    pub(crate) fn too_big(&mut self, packet: &Packet, left: NetworkId) {
        let mtu = u32::try_from(self.mtu(left)).unwrap_or(u32::MAX).to_be_bytes();
        let said = if packet.ip.src.is_ipv4() {
            (quote::UNREACHABLE, FRAGMENTATION_NEEDED, mtu)
        } else {
            (quote::v6::TOO_BIG, 0, mtu)
        };
        if self.tell_source(packet, said) {
            self.counters.one(Count::TooBig);
        }
    }

    fn mtu(&self, network: NetworkId) -> usize {
        self.network(network).map_or(usize::MAX, |network| network.mtu.into())
    }

    /// Sends a finished frame of a packet out to a network: as it is, or in pieces that the network takes.
    pub(crate) fn send_fitting(&mut self, network: NetworkId, frame: Frame, came_by: u16) -> Fate {
        let mtu = self.mtu(network);
        if frame.bytes().len() <= build::L3 + mtu {
            return self.send_to_network(network, frame, Some(came_by));
        }
        let mut fate = Fate::Dropped(Reason::TooBig);
        // An error about a packet among them: nobody is told that an error is too big.
        if !View::parse(frame.bytes()).is_some_and(|view| pieces::may_break(frame.bytes(), &view)) {
            return fate;
        }
        let pieces = pieces::pieces(&frame, mtu, 0);
        self.counters.add(Count::Broken, if pieces.len() > 1 { pieces.len() as u64 } else { 0 });
        for piece in pieces {
            fate = self.send_to_network(network, piece, Some(came_by));
        }
        fate
    }

    /// Tells the source of a packet why it died here, from our address there: its header and 8 bytes of what it sent (RFC
    /// 792), of IPv6 as much as 1,280 bytes hold (RFC 4443 section 2.4). Of a packet in pieces the first alone is told of.
    /// False: nobody was told.
    fn tell_source(&mut self, packet: &Packet, (kind, code, head): Said) -> bool {
        let here = self.network(packet.network).and_then(|network| network.cluster_ip_like(packet.flow.src));
        let (Some(here), false) = (here, packet.is_later_piece()) else { return false };
        let Some((network, hop)) = self.egress(packet.flow.src) else { return false };
        let quoted_to = if here.is_ipv4() { packet.ip.l4 + 8 } else { packet.l3 + quote::v6::LONGEST };
        let mut rest = head.to_vec();
        let quoted = packet.frame.bytes().get(packet.l3..quoted_to.min(packet.ip.end));
        rest.extend_from_slice(quoted.unwrap_or_default());
        let envelope = build::Envelope { src: Mac::ZERO, dst: Mac::ZERO, ttl: 64, identification: 0 };
        let flow = Flow { protocol: Protocol::ICMP, src: here, dst: packet.flow.src, src_port: 0, dst_port: 0 };
        let frame = build::icmp(envelope, flow, kind, code, &rest);
        // It is our own, not one that came in: it does not wait for a neighbour, the next one finds it.
        self.send_own(network, hop, frame, packet.port)
    }
}
