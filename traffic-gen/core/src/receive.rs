//! What comes in: own, foreign or corrupt.

use scalebed_engine::{Frame, Instant, PortIndex};
use scalebed_frame::signature::{Direction, Signature};
use scalebed_frame::view::{ACK, Ip, Network, RST, SYN, Tcp, Transport};
use scalebed_frame::{Flow, Ndp, View, checksum};

use crate::config::Place;
use crate::flows::{End, Traffic};
use crate::generator::Generator;
use crate::tcp::{Reaction, Round, Segment, State};

impl Generator {
    pub(crate) fn on_frame(&mut self, port: PortIndex, frame: &Frame, received: Instant, now: Instant) {
        let bytes = frame.bytes();
        let (Some(place), Some(view)) = (Place::of(port), View::parse(bytes)) else {
            self.counters.foreign += 1;
            return;
        };
        let side = self.config.side(place);
        let is_heard = view.dst.is_group() || side.has(view.dst);
        let resolver = &mut self.resolvers[place as usize];
        match (view.network, Ndp::read(bytes, &view)) {
            (Network::Arp(arp), _) if is_heard => {
                let answer = resolver.on_arp(side, &arp);
                self.after_question(place, answer);
            }
            (_, Some(ndp)) if is_heard => {
                let answer = resolver.on_ndp(side, ndp);
                self.after_question(place, answer);
            }
            _ if view.dst.is_group() || !side.has(view.dst) => self.counters.flooded += 1,
            (Network::Ip(ip), _) if checksum::is_valid(bytes, view.l3, &ip) => match ip.transport {
                Transport::Tcp(tcp) => self.on_tcp(place, &ip, &tcp, bytes, received, now),
                Transport::Udp { payload, .. } => self.on_udp(place, &ip, bytes.get(payload..ip.end)),
                Transport::Echo { .. } | Transport::Icmp { .. } | Transport::None => self.counters.foreign += 1,
            },
            (Network::Ip(_) | Network::Corrupt, _) => self.counters.corrupt += 1,
            (Network::Arp(_) | Network::Other | Network::Malformed, _) => self.counters.foreign += 1,
        }
    }

    /// Something was heard about neighbours: the answer goes out, and perhaps all is known now.
    fn after_question(&mut self, place: Place, answer: Option<Frame>) {
        if let Some(answer) = answer {
            self.transmit(place, answer);
        }
        self.settle_ready();
    }

    fn on_udp(&mut self, place: Place, ip: &Ip, payload: Option<&[u8]>) {
        let Some(signature) = self.signature(payload.unwrap_or_default()) else { return };
        match self.flows.get_mut(signature.flow as usize) {
            Some(flow) if flow.sender(signature.direction) != place => {
                if let Traffic::Udp { seen } = &mut flow.traffic {
                    if signature.direction == Direction::Forward {
                        *seen = Some(ip.flow());
                    }
                    self.counters.received += 1;
                } else {
                    self.counters.foreign += 1;
                }
            }
            Some(_) | None => self.counters.foreign += 1,
        }
    }

    /// The run's signature at the start of `payload`; what is there instead is counted.
    fn signature(&mut self, payload: &[u8]) -> Option<Signature> {
        let schedule = &self.config.schedule;
        match Signature::read(&schedule.key, payload) {
            Some(signature) if signature.run == schedule.run => Some(signature),
            Some(_) => {
                self.counters.foreign += 1;
                None
            }
            None => {
                let is_altered = Signature::peek(payload).is_some_and(|signature| signature.run == schedule.run);
                *(if is_altered { &mut self.counters.corrupt } else { &mut self.counters.foreign }) += 1;
                None
            }
        }
    }

    fn on_tcp(&mut self, place: Place, ip: &Ip, tcp: &Tcp, bytes: &[u8], received: Instant, now: Instant) {
        let payload = bytes.get(tcp.payload..ip.end).unwrap_or_default();
        let tuple = ip.flow();
        let Some((index, end)) = self.connection(place, tuple, tcp) else {
            self.refuse(place, tuple, tcp, payload.len());
            return;
        };
        let mut reaction = Reaction::default();
        self.with_pair(index, end, now, |pair, out| {
            reaction = pair.end(end).on_segment(tcp, payload.len(), now, out);
            pair.note(end, reaction, received.0);
        });
        if reaction.delivered {
            self.on_delivered(index, end, payload, received, now);
        }
    }

    /// The end that a segment is for. A SYN names its flow by its sequence number: whatever NAT did to its tuple, the
    /// server takes it as the client's.
    fn connection(&mut self, place: Place, tuple: Flow, tcp: &Tcp) -> Option<(u32, End)> {
        let is_here = |index: u32, end| self.flows.get(index as usize).is_some_and(|flow| flow.place(end) == place);
        if let Some(&index) = self.clients.get(&tuple).filter(|&&index| is_here(index, End::Client)) {
            return Some((index, End::Client));
        }
        if let Some(&index) = self.servers.get(&tuple).filter(|&&index| is_here(index, End::Server)) {
            return Some((index, End::Server));
        }
        if tcp.flags & (SYN | ACK | RST) != SYN {
            return None;
        }
        let &index = self.handshakes.get(&(tcp.sequence, tuple.dst_port))?;
        if !is_here(index, End::Server) {
            return None;
        }
        let Traffic::Tcp(pair) = &mut self.flows.get_mut(index as usize)?.traffic else { return None };
        // A SYN that was sent again may come through another binding, as long as nothing is established.
        if !matches!(pair.server.state(), State::Listen | State::SynReceived) {
            return None;
        }
        if let Some(old) = pair.seen.replace(tuple) {
            self.servers.remove(&old);
        }
        self.servers.insert(tuple, index);
        Some((index, End::Server))
    }

    fn refuse(&mut self, place: Place, tuple: Flow, tcp: &Tcp, length: usize) {
        self.counters.foreign += 1;
        if !tcp.has(RST) {
            self.counters.refused += 1;
            self.send_tcp(place, tuple.reversed(), &Segment::refusal(tcp, length), &[]);
        }
    }

    /// The next 48 bytes of a stream arrived.
    fn on_delivered(&mut self, index: u32, end: End, payload: &[u8], received: Instant, now: Instant) {
        let direction = match end {
            End::Server => Direction::Forward,
            End::Client => Direction::Reverse,
        };
        let signature = self.signature(payload);
        let start = self.config.schedule.start;
        let Some(flow) = self.flows.get_mut(index as usize) else { return };
        let Traffic::Tcp(pair) = &mut flow.traffic else { return };
        let own = signature.filter(|signature| (signature.flow, signature.direction) == (index, direction));
        let Some(Signature { sequence: number, .. }) = own else {
            pair.report.broken = true;
            return;
        };
        self.counters.received += 1;
        pair.report.broken |= !pair.is_in_order(direction, number);
        match end {
            End::Client => {
                pair.report.rounds += 1;
                pair.report.last_round = received.0;
            }
            End::Server => {
                if pair.on_request(number) {
                    let due = flow.spec.due(Direction::Reverse, number).unwrap_or(flow.spec.last);
                    let round = Round { number, intended: Instant(start.saturating_add(due)) };
                    self.push(index, End::Server, round, now);
                }
            }
        }
    }
}
