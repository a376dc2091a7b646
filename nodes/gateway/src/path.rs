//! Whose a packet is, and what its connection makes of it.

use std::time::Duration;

use scalebed_frame::rewrite::{self, End};
use scalebed_frame::sync::{Item, Version};
use scalebed_frame::view::Transport;
use scalebed_frame::{Bucket, Flow, Mac, MemberId, Protocol, build};
use scalebed_topologies::lab::Sticky;

use crate::counters::{Count, Fate, Reason};
use crate::engine::Gateway;
use crate::membership::Place;
use crate::packet::{Arrival, Packet};
use crate::rulebase;
use crate::table::{Connection, Id, Tellings};
use crate::tracking::{Event, Track, Verdict, Way};
use crate::waiting::For;

/// A packet that took longer was not overtaken by what sync told meanwhile: it is late.
const OVERTAKEN: Duration = Duration::from_millis(500);

/// What is known of a packet that entered at the pivot, for its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entering {
    /// Its connection, if sync told of it or it is owned here.
    pub known: Option<Known>,
    /// The owner of its bucket in the accepted matrix; `None` before the first matrix.
    pub owner: Option<MemberId>,
    /// How the group is configured to choose.
    pub sticky: Sticky,
}

/// A connection as the pivot knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who owns it.
    pub owner: MemberId,
    /// Is that life of the owner admitted?
    pub admitted: bool,
    /// The owner of its bucket now: who takes it over when the owner is gone.
    pub heir: Option<MemberId>,
}

/// The pivot's decision: whose packet it is. `None`: nobody can say.
pub type Decide = fn(&Entering) -> Option<MemberId>;

impl Gateway {
    /// Does this member, in this life, own the connection?
    pub(crate) fn owns(&self, connection: &Connection) -> bool {
        connection.owner == self.view.id && connection.life == self.view.incarnation
    }

    /// A packet of a data network, at the member that receives for all: to whom the decision says.
    pub(crate) fn enter(&mut self, packet: Packet) -> Fate {
        let Some(decide) = self.decide else { return Fate::Dropped(Reason::NotPivot) };
        let packet = match self.whole(packet) {
            Ok(packet) => packet,
            Err(fate) => return fate,
        };
        if self.is_local(&packet) {
            return self.packet(packet);
        }
        let bucket = self.bucket(&packet.flow, packet.ports, packet.network);
        let known = self.table.find(&packet.flow).and_then(|(id, _)| self.table.get(id)).map(|one| Known {
            owner: one.owner,
            admitted: self.view.admits(one.owner, one.life),
            heir: self.view.owner(one.bucket),
        });
        let entering = Entering { known, owner: self.view.owner(bucket), sticky: self.config.group.sticky };
        match decide(&entering) {
            Some(owner) if owner != self.view.id => self.hand_over(owner, packet),
            Some(_) => self.packet(packet),
            None => Fate::Dropped(Reason::NoMatrix),
        }
    }

    /// For an address of the cluster itself, and of no connection that hides behind it.
    fn is_local(&self, packet: &Packet) -> bool {
        let ours = self.is_ours(packet.flow.dst);
        let fresh = matches!(packet.ip.transport, Transport::Echo { reply: false, .. });
        ours && self.table.find(&packet.flow).is_none() && (fresh || !self.nat.hides_behind(packet.flow.dst))
    }

    /// To the connection's owner, to the bucket's, or on its way.
    pub(crate) fn route(&mut self, packet: Packet) -> Fate {
        if self.is_local(&packet) {
            return self.local(packet);
        }
        let Some((id, way)) = self.table.find(&packet.flow) else { return self.unknown(packet) };
        let Some(connection) = self.table.get(id) else { return self.unknown(packet) };
        if self.owns(connection) {
            return self.process(id, way, packet);
        }
        let (owner, life, bucket) = (connection.owner, connection.life, connection.bucket);
        if self.view.admits(owner, life) && owner != self.view.id {
            // What it sent on before it became the owner may come after the copy that says that it is.
            let settled = self.now.since(connection.refresh) >= OVERTAKEN;
            if packet.arrival == Arrival::Corrected(owner) && settled {
                // The owner itself does not know it any more: the copy is stale.
                self.counters.one(Count::StaleCopies);
                self.forget(id);
                return self.unknown(packet);
            }
            return self.pass(owner, packet);
        }
        // Its owner is gone: whoever owns its bucket takes it over.
        match self.view.place(bucket).copied() {
            None => Fate::Dropped(Reason::NoMatrix),
            Some(place) if place.assignment.owner != self.view.id => self.pass(place.assignment.owner, packet),
            Some(place) if !place.may_own => self.wait(For::Activate(bucket), packet),
            // A copy of an earlier life: the previous owner may know better, as long as its list is not complete.
            Some(Place { waiting_for: Some(previous), .. }) if packet.arrival != Arrival::Corrected(previous) => {
                if self.cluster.move_overdue(bucket, self.now) {
                    return Fate::Dropped(Reason::MoveIncomplete);
                }
                self.counters.one(Count::ToPrevious);
                self.pass(previous, packet)
            }
            Some(_) => {
                self.take_over(id);
                self.process(id, way, packet)
            }
        }
    }

    pub(crate) fn wait(&mut self, what: For, packet: Packet) -> Fate {
        if self.waiting.push(what, packet, self.now) { Fate::Waits } else { Fate::Dropped(Reason::QueueFull) }
    }

    fn unknown(&mut self, packet: Packet) -> Fate {
        let bucket = self.bucket(&packet.flow, packet.ports, packet.network);
        if packet.generation > self.view.accepted.counter {
            return self.wait(For::Generation(packet.generation), packet);
        }
        let Some(place) = self.view.place(bucket).copied() else { return Fate::Dropped(Reason::NoMatrix) };
        let owner = place.assignment.owner;
        if owner != self.view.id {
            if packet.arrival == Arrival::Corrected(owner) {
                // This member is the previous owner, and does not know it either: it is the new owner's.
                self.counters.one(Count::HandedBack);
            }
            return self.pass(owner, packet);
        }
        if !place.may_own {
            return self.wait(For::Activate(bucket), packet);
        }
        let may_start = packet.is_first() && !self.nat.hides_behind(packet.flow.dst);
        if let Some(previous) = place.waiting_for
            && packet.arrival != Arrival::Corrected(previous)
        {
            if !self.cluster.move_overdue(bucket, self.now) {
                self.counters.one(Count::ToPrevious);
                return self.pass(previous, packet);
            }
            if may_start {
                return Fate::Dropped(Reason::MoveIncomplete);
            }
        }
        if may_start { self.create(bucket, packet) } else { self.ask(packet) }
    }

    /// "Who knows this tuple?" Asked once, of everybody; the packet waits for 20 ms at most.
    fn ask(&mut self, packet: Packet) -> Fate {
        let flow = packet.flow;
        // One that was asked for is not held again: nobody knew.
        if packet.asked {
            return Fate::Dropped(Reason::OutOfState);
        }
        let others: Vec<MemberId> = self.view.others().collect();
        if others.is_empty() {
            return Fate::Dropped(Reason::OutOfState);
        }
        if !self.waiting.is_awaited(For::Answer(flow)) {
            self.counters.one(Count::Queries);
            for other in others {
                self.push(other, Item::Query(flow));
            }
        }
        self.wait(For::Answer(flow), packet)
    }

    /// A first packet that this member owns: policy, route, translation, and a connection.
    fn create(&mut self, bucket: Bucket, packet: Packet) -> Fate {
        let flow = packet.flow;
        if self.is_ours(flow.src) || self.egress(flow.src).is_none_or(|(network, _)| network != packet.network) {
            return Fate::Dropped(Reason::Spoofed);
        }
        if !rulebase::accepts(&self.config.group.rules, &flow) {
            return Fate::Dropped(Reason::Policy);
        }
        let Some((left, _)) = self.egress(flow.dst) else { return Fate::Dropped(Reason::NoRoute) };
        let Some(reverse) = self.translate(&packet, left) else { return Fate::Dropped(Reason::NatPorts) };
        let track = Track::first(flow.protocol);
        let version = self.table.tombstone(&flow).map_or(0, |old| old.counter + 1);
        let expires = self.now + track.timeout(flow.protocol);
        let connection = Connection {
            forward: flow,
            reverse,
            entered: packet.network,
            left,
            owner: self.view.id,
            life: self.view.incarnation,
            bucket,
            back: self.bucket(&reverse, packet.ports, left),
            version: Version { generation: self.view.accepted.counter, counter: version },
            track,
            born: self.now,
            expires,
            refresh: expires,
            told: Tellings::default(),
        };
        match self.table.insert(connection) {
            Err(reason) => {
                self.nat.free(reverse.dst, reverse.dst_port);
                Fate::Dropped(reason)
            }
            Ok(id) => {
                self.counters.one(Count::Created);
                self.sync_new(id);
                self.process(id, Way::Forward, packet)
            }
        }
    }

    /// The tuple of the answers; `None`: no NAT port is left.
    fn translate(&mut self, packet: &Packet, left: scalebed_frame::NetworkId) -> Option<Flow> {
        let plain = packet.flow.reversed();
        let rule = self.nat.rule(packet.network, left).filter(|_| plain.is_ipv4());
        let Some(rule) = rule else { return Some(plain) };
        let address = self.nat.address(rule)?;
        let echo = plain.protocol == Protocol::ICMP;
        let hidden = |port: u16| Flow {
            dst: address,
            dst_port: port,
            src_port: if echo { port } else { plain.src_port },
            ..plain
        };
        let table = &self.table;
        let port = self.nat.take(rule, |port| table.find(&hidden(port)).is_none())?;
        Some(hidden(port))
    }

    /// A packet of a connection that this member owns: state, translation, TTL, out.
    fn process(&mut self, id: Id, way: Way, mut packet: Packet) -> Fate {
        let Some(connection) = self.table.get(id) else { return Fate::Dropped(Reason::OutOfState) };
        let (entered, left) = connection.networks(way);
        if entered != packet.network {
            return Fate::Dropped(Reason::WrongNetwork);
        }
        let out = match way {
            Way::Forward => connection.reverse.reversed(),
            Way::Reverse => connection.forward.reversed(),
        };
        if let Some(quote) = packet.quote {
            return self.forward_error(&quote, out, packet);
        }
        let before = connection.track;
        // What a connection makes of a packet its first piece has said.
        let said = (!packet.is_later_piece()).then(|| before.after(Event::of(&packet.ip.transport), way));
        let track = match said.unwrap_or(Verdict::Pass(before)) {
            Verdict::Refuse => return Fate::Dropped(Reason::TcpState),
            Verdict::Anew => {
                self.end(id);
                return self.unknown(packet);
            }
            Verdict::Pass(track) => track,
        };
        if packet.ip.ttl <= 1 {
            self.time_exceeded(&packet);
            return Fate::Dropped(Reason::Ttl);
        }
        if !self.fits(&packet, left) {
            self.too_big(&packet, left);
            return Fate::Dropped(Reason::TooBig);
        }
        let protocol = packet.flow.protocol;
        let now = self.now;
        if let Some(connection) = self.table.get_mut(id) {
            connection.track = track;
            connection.expires = now + track.timeout(protocol);
        }
        self.table.rearm(id);
        self.refresh(id, before.state != track.state);
        if (out.src, out.src_port) != (packet.flow.src, packet.flow.src_port) {
            rewrite::set_end(packet.frame.bytes_mut(), packet.l3, &packet.ip, End::Source, out.src, out.src_port);
        }
        if (out.dst, out.dst_port) != (packet.flow.dst, packet.flow.dst_port) {
            rewrite::set_end(packet.frame.bytes_mut(), packet.l3, &packet.ip, End::Destination, out.dst, out.dst_port);
        }
        rewrite::decrement_ttl(packet.frame.bytes_mut(), packet.l3);
        self.counters.one(Count::Processed);
        let Some((network, hop)) = self.egress(out.dst) else { return Fate::Dropped(Reason::NoRoute) };
        debug_assert_eq!(network, left, "routes do not change in a run");
        self.send_to_hop(network, hop, packet)
    }

    /// An echo request to the cluster is answered where it lands; nothing else is served.
    fn local(&mut self, packet: Packet) -> Fate {
        if packet.pieced {
            return Fate::Dropped(Reason::Fragment);
        }
        let Transport::Echo { reply: false, sequence, payload, .. } = packet.ip.transport else {
            return Fate::Dropped(Reason::Local);
        };
        let Some((network, hop)) = self.egress(packet.flow.src) else { return Fate::Dropped(Reason::NoRoute) };
        let data = packet.frame.bytes().get(payload..packet.ip.end).unwrap_or_default();
        let envelope = build::Envelope { src: Mac::ZERO, dst: Mac::ZERO, ttl: 64, identification: 0 };
        let frame = build::echo(envelope, packet.flow.reversed(), true, sequence, data);
        self.counters.one(Count::EchoAnswered);
        self.send_to_hop(network, hop, Packet { frame, l3: 14, ..packet })
    }
}
