//! ICMP errors follow the connection whose packet they quote. The tuple that is quoted, reversed, is that of the packets
//! that go the error's way: by it the error finds its owner as they do (`path`). It never begins a connection, and nothing
//! about one changes by it (RFC 5508 REQ-6).

use std::net::IpAddr;

use scalebed_frame::rewrite::{self, End};
use scalebed_frame::{Flow, NetworkId, Quote, checksum, quote};

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::packet::Packet;

impl Gateway {
    /// Why an ICMP error goes no further, as far as it says so itself. `None`: it goes on, as does all that is none.
    pub(crate) fn refuses_error(&self, packet: &Packet) -> Option<Reason> {
        let Some(quote) = packet.quote else {
            return quote::is_error(&packet.ip).then_some(Reason::IcmpError);
        };
        if !checksum::icmp_is_valid(packet.frame.bytes(), &packet.ip) {
            // RFC 5508 REQ-3: what was altered on the way may name another's connection.
            return Some(Reason::BadChecksum);
        }
        // RFC 1122 section 3.2.2: a broadcast draws no errors. Which address is one, only who knows the network can tell;
        // a subnet of two has none (RFC 3021), nor has one of IPv6.
        let subnets = self.config.networks.iter().map(|network| network.subnet).filter(|subnet| subnet.length < 31);
        let broadcast = |address: IpAddr| subnets.clone().any(|subnet| address == subnet.last());
        (broadcast(quote.flow.src) || broadcast(quote.flow.dst)).then_some(Reason::Broadcast)
    }

    /// An error about a packet of a connection that this member owns; `out` is the tuple that packets going the error's way
    /// leave with. It tells the quoted packet's sender of that packet as it sent it (RFC 5508 REQ-4, REQ-5).
    pub(crate) fn forward_error(&mut self, quote: &Quote, out: Flow, mut packet: Packet) -> Fate {
        if self.is_spoofed(packet.ip.src, packet.network) {
            return Fate::Dropped(Reason::Spoofed);
        }
        if packet.ip.ttl <= 1 {
            // Nobody is told: no error is about an error.
            return Fate::Dropped(Reason::Ttl);
        }
        let (l3, ip, frame) = (packet.l3, &packet.ip, packet.frame.bytes_mut());
        rewrite::set_quote(frame, ip, quote, out.reversed());
        if out.dst != packet.flow.dst {
            rewrite::set_end(frame, l3, ip, End::Destination, out.dst, 0);
        }
        // The router that complains stays, unless the way out hides who is behind it: then it is behind it too.
        if out.src != packet.flow.src {
            rewrite::set_end(frame, l3, ip, End::Source, out.src, 0);
        }
        rewrite::decrement_ttl(frame, l3);
        self.counters.one(Count::Processed);
        self.counters.one(Count::IcmpErrors);
        let Some((network, hop)) = self.egress(out.dst) else { return Fate::Dropped(Reason::NoRoute) };
        self.send_to_hop(network, hop, packet)
    }

    /// Does a source claim to be the cluster, or to live at another network than where it entered? A data packet's source
    /// is its connection's; of an error anybody may be the source.
    fn is_spoofed(&self, source: IpAddr, entered: NetworkId) -> bool {
        let elsewhere = self.egress(source).is_some_and(|(network, _)| network != entered);
        self.is_ours(source) || self.nat.hides_behind(source) || elsewhere
    }
}
