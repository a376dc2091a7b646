//! Pieces of packets. Nobody puts them together here: each goes on by itself, the way of its packet's first piece, which
//! alone has the ports. Whoever saw that first piece knows whose the others are (virtual reassembly); those that come
//! before it wait a little.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::view::Ip;
use scalebed_frame::{Flow, Protocol};

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::packet::Packet;
use crate::waiting::For;

/// How long the pieces of a packet are expected after its first: they left one host together. Identifications come again
/// later (RFC 6864 on IPv4's 16 bits).
const LIFE: Duration = Duration::from_secs(3);
/// Packets in pieces that are remembered; the oldest gives way.
const KNOWN: usize = 4_096;

/// What the pieces of one packet have in common (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pieces {
    src: IpAddr,
    dst: IpAddr,
    protocol: Protocol,
    identification: u32,
}

impl Pieces {
    pub(crate) const fn of(ip: &Ip) -> Self {
        // The next header of later pieces of IPv6 may be another than the first one's transport: it is no part of the key.
        let protocol = if ip.src.is_ipv4() { ip.protocol } else { Protocol(0) };
        Self { src: ip.src, dst: ip.dst, protocol, identification: ip.identification }
    }
}

/// Tuples of packets in pieces whose first piece was seen.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    known: BTreeMap<Pieces, (Flow, Instant)>,
    /// In order of their ends. One that came again since has a later one further behind.
    ends: VecDeque<(Instant, Pieces)>,
    /// Learned since the last look: what waits for them can go on.
    fresh: Vec<Pieces>,
}

impl Fragments {
    fn learn(&mut self, pieces: Pieces, flow: Flow, now: Instant) {
        while let Some(&(end, oldest)) = self.ends.front()
            && (end <= now || self.ends.len() >= KNOWN)
        {
            self.ends.pop_front();
            if self.known.get(&oldest).is_some_and(|(_, until)| *until == end) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(pieces, (flow, now + LIFE));
        self.ends.push_back((now + LIFE, pieces));
        self.fresh.push(pieces);
    }

    fn find(&self, pieces: &Pieces, now: Instant) -> Option<Flow> {
        self.known.get(pieces).filter(|(_, until)| now < *until).map(|(flow, _)| *flow)
    }
}

impl Gateway {
    /// A piece with the tuple of its packet; all else as it is. `Err`: it waits for the first piece, or is one
    /// of a packet that has no ports: of a protocol that is not tracked, or an ICMP error, which quotes too little to be
    /// broken.
    pub(crate) fn whole(&mut self, mut packet: Packet) -> Result<Packet, Fate> {
        let Some(pieces) = packet.pieces().filter(|_| !packet.pieced) else { return Ok(packet) };
        if !packet.is_later_piece() {
            if !packet.has_transport() {
                return Err(Fate::Dropped(Reason::Fragment));
            }
            self.fragments.learn(pieces, packet.flow, self.now);
        } else if let Some(flow) = self.fragments.find(&pieces, self.now) {
            packet.flow = flow;
        } else {
            return Err(self.wait(For::FirstPiece(pieces), packet));
        }
        self.counters.one(Count::Pieces);
        // Where a packet in pieces entered, its addresses alone decided; whose its connection is, its ports say too.
        (packet.pieced, packet.ports) = (true, true);
        Ok(packet)
    }

    /// Sends on what waited for first pieces that have come, behind them.
    pub(crate) fn pieces_follow(&mut self) {
        for pieces in std::mem::take(&mut self.fragments.fresh) {
            for packet in self.waiting.take(For::FirstPiece(pieces)) {
                let fate = if packet.is_plain() { self.enter(packet) } else { self.packet(packet) };
                self.counters.settle(fate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(identification: u32) -> Pieces {
        Pieces { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), protocol: Protocol::UDP, identification }
    }

    fn flow(src_port: u16) -> Flow {
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Flow { protocol: Protocol::UDP, src, dst, src_port, dst_port: 9 }
    }

    #[test]
    fn what_is_remembered_is_bounded_in_time_and_number() {
        let mut fragments = Fragments::default();
        let start = Instant(1);
        fragments.learn(pieces(0), flow(1), start);
        assert_eq!(fragments.find(&pieces(0), start + LIFE / 2), Some(flow(1)));
        assert_eq!(fragments.find(&pieces(1), start), None);
        assert_eq!(fragments.find(&pieces(0), start + LIFE), None);
        // The identification comes again: its earlier end does not end it.
        fragments.learn(pieces(0), flow(2), start + LIFE / 2);
        fragments.learn(pieces(1), flow(3), start + LIFE);
        assert_eq!(fragments.find(&pieces(0), start + LIFE), Some(flow(2)));
        for identification in 0..10_000 {
            fragments.learn(pieces(identification), flow(4), start + LIFE);
        }
        assert_eq!((fragments.known.len(), fragments.ends.len()), (KNOWN, KNOWN));
        fragments.learn(pieces(20_000), flow(5), start + LIFE * 3);
        assert_eq!((fragments.known.len(), fragments.ends.len()), (1, 1));
    }
}
