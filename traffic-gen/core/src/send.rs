//! What goes out: packets, segments, questions.

use scalebed_engine::{Frame, Instant, Output};
use scalebed_frame::Flow;
use scalebed_frame::build::{self, Envelope, TcpFields};
use scalebed_frame::signature::{self, Direction, Signature};

use crate::config::Place;
use crate::flows::{End, Pair, Traffic};
use crate::generator::Generator;
use crate::tcp::{Round, Segment};

/// Of every packet.
const TTL: u8 = 64;

impl Generator {
    pub(crate) fn send_udp(&mut self, index: u32, direction: Direction, tuple: Flow, round: Round, now: Instant) {
        let Some(place) = self.flows.get(index as usize).map(|flow| flow.sender(direction)) else { return };
        let Some(payload) = self.payload(index, direction, round, 0, now) else { return };
        let Some(envelope) = self.envelope(place, tuple) else { return };
        self.counters.sent += 1;
        self.transmit(place, build::udp(envelope, tuple, &payload));
    }

    /// Gives a round to an end of a TCP flow.
    pub(crate) fn push(&mut self, index: u32, end: End, round: Round, now: Instant) {
        let mut taken = true;
        self.with_pair(index, end, now, |pair, out| taken = pair.end(end).push(round, now, out));
        self.counters.unsendable += u64::from(!taken);
    }

    /// Does something to an end of a TCP flow, sends what it wants sent, and keeps its timer in order.
    pub(crate) fn with_pair(
        &mut self,
        index: u32,
        end: End,
        now: Instant,
        act: impl FnOnce(&mut Pair, &mut Vec<Segment>),
    ) {
        let Some(Traffic::Tcp(pair)) = self.flows.get_mut(index as usize).map(|flow| &mut flow.traffic) else { return };
        let mut segments = Vec::new();
        let before = pair.end(end).deadline();
        act(pair, &mut segments);
        let after = pair.end(end).deadline();
        if let Some(before) = before.filter(|_| before != after) {
            self.timers.remove(&(before, index, end));
        }
        if let Some(after) = after {
            self.timers.insert((after, index, end));
        }
        for segment in segments {
            self.send_segment(index, end, segment, now);
        }
    }

    fn send_segment(&mut self, index: u32, end: End, segment: Segment, now: Instant) {
        let Some(flow) = self.flows.get(index as usize) else { return };
        let Traffic::Tcp(pair) = &flow.traffic else { return };
        let (direction, tuple) = match end {
            End::Client => (Direction::Forward, Some(flow.spec.forward)),
            End::Server => (Direction::Reverse, pair.seen.map(Flow::reversed)),
        };
        let place = flow.place(end);
        let Some(tuple) = tuple else { return };
        let payload = match segment.data {
            Some(round) => self.payload(index, direction, round, segment.attempt, now),
            None => None,
        };
        if segment.data.is_some() && segment.attempt == 0 {
            self.counters.sent += 1;
        }
        self.send_tcp(place, tuple, &segment, payload.as_ref().map_or(&[], |payload| payload.as_slice()));
    }

    /// Sends a segment; without the cluster's MAC it is lost, and its timer will send it again.
    pub(crate) fn send_tcp(&mut self, place: Place, tuple: Flow, segment: &Segment, payload: &[u8]) {
        let Some(envelope) = self.envelope(place, tuple) else { return };
        let Segment { sequence, acknowledgement, flags, window, .. } = *segment;
        let fields = TcpFields { sequence, acknowledgement, flags, window };
        self.transmit(place, build::tcp(envelope, tuple, fields, payload));
    }

    fn payload(
        &self,
        flow: u32,
        direction: Direction,
        round: Round,
        attempt: u8,
        now: Instant,
    ) -> Option<[u8; signature::LEN]> {
        let schedule = &self.config.schedule;
        let signature = Signature {
            direction,
            class: self.flows.get(flow as usize)?.spec.class,
            phase: 0,
            run: schedule.run,
            flow,
            sequence: round.number,
            intended: round.intended.0,
            late: u32::try_from(now.0.saturating_sub(round.intended.0)).unwrap_or(u32::MAX),
            attempt,
        };
        let mut payload = [0; signature::LEN];
        signature.write(&schedule.key, &mut payload).then_some(payload)
    }

    /// `None`: the cluster's MAC is not known there, for packets of this family.
    fn envelope(&mut self, place: Place, tuple: Flow) -> Option<Envelope> {
        let dst = self.resolvers[place as usize].gateway(tuple.dst)?;
        let src = self.config.side(place).mac(tuple.src);
        self.identification = self.identification.wrapping_add(1);
        Some(Envelope { src, dst, ttl: TTL, identification: self.identification })
    }

    pub(crate) fn transmit(&mut self, place: Place, frame: Frame) {
        self.outputs.push_back(Output::Transmit { port: place.port(), frame });
    }

    /// Asks for the cluster's MAC on a side: in the families whose time has come, or in all.
    pub(crate) fn ask(&mut self, place: Place, all: bool, now: Instant) {
        for question in self.resolvers[place as usize].ask(self.config.side(place), all, now) {
            self.transmit(place, question);
        }
    }
}
