//! The state of each flow.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::time::Duration;

use scalebed_frame::Flow;
use scalebed_frame::signature::Direction;
use scalebed_record::traffic::TcpReport;
use scalebed_record::{FlowKind, FlowSpec, Schedule, Shape};
use siphasher::sip::SipHasher24;

use crate::config::Place;
use crate::tcp::{Endpoint, Manner, OUTSTANDING, Reaction, State};

/// A flow as it goes.
#[derive(Debug)]
pub(crate) struct FlowState {
    pub(crate) spec: FlowSpec,
    /// Where its client is.
    pub(crate) client: Place,
    pub(crate) traffic: Traffic,
}

/// What a flow remembers.
#[derive(Debug)]
pub(crate) enum Traffic {
    Udp {
        /// The tuple of the client's last packet as its server saw it.
        seen: Option<Flow>,
    },
    Tcp(Box<Pair>),
}

/// Both ends of a TCP flow.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    /// The client's tuple as the server saw it in the SYN.
    pub(crate) seen: Option<Flow>,
    /// Requests that arrived and wait for the time of their response, oldest first.
    requested: VecDeque<u64>,
    /// Responses below this number have been due.
    answered: u64,
    /// The highest request and response so far, to see that the stream goes on in order.
    last: [Option<u64>; 2],
    pub(crate) report: TcpReport,
}

/// One end of a TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Client,
    Server,
}

impl FlowState {
    pub(crate) fn new(schedule: &Schedule, index: u32, spec: FlowSpec, client: Place) -> Self {
        let traffic = match spec.kind {
            FlowKind::Udp => Traffic::Udp { seen: None },
            FlowKind::Tcp => Traffic::Tcp(Box::new(Pair::new(schedule, index, spec.shape))),
        };
        Self { spec, client, traffic }
    }

    /// The side on which a direction's packets leave.
    pub(crate) const fn sender(&self, direction: Direction) -> Place {
        match direction {
            Direction::Forward => self.client,
            Direction::Reverse => self.client.other(),
        }
    }

    /// The side of an end.
    pub(crate) const fn place(&self, end: End) -> Place {
        match end {
            End::Client => self.client,
            End::Server => self.client.other(),
        }
    }
}

impl Pair {
    fn new(schedule: &Schedule, flow: u32, shape: Shape) -> Self {
        let manner = match shape {
            Shape::Steady | Shape::Idle { .. } => Manner::default(),
            Shape::HalfClosed { .. } => Manner { lingers: true, ..Manner::default() },
            Shape::SlowHandshake { hold } => Manner { hold: Duration::from_nanos(hold), ..Manner::default() },
        };
        let report = TcpReport { flow, ..TcpReport::default() };
        Self {
            client: Endpoint::client(initial_sequence(schedule, flow, Direction::Forward)),
            server: Endpoint::server(initial_sequence(schedule, flow, Direction::Reverse), manner),
            seen: None,
            requested: VecDeque::new(),
            answered: 0,
            last: [None; 2],
            report,
        }
    }

    pub(crate) const fn end(&mut self, end: End) -> &mut Endpoint {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    /// Request `number` arrived. True: the time of its response has passed already.
    pub(crate) fn on_request(&mut self, number: u64) -> bool {
        if number < self.answered {
            return true;
        }
        // More can't be on their way.
        if self.requested.len() < OUTSTANDING {
            self.requested.push_back(number);
        }
        false
    }

    /// The time of response `number` has come. True: its request is there, so it can be sent.
    pub(crate) fn on_response_due(&mut self, number: u64) -> bool {
        self.answered = number + 1;
        // Whoever has the word alone is asked for nothing any more.
        let mut found = self.server.state() == State::CloseWait;
        while let Some(&oldest) = self.requested.front() {
            if oldest > number {
                break;
            }
            found |= oldest == number;
            self.requested.pop_front();
        }
        found
    }

    /// Takes down when an end got how far.
    pub(crate) fn note(&mut self, end: End, reaction: Reaction, at: u64) {
        match end {
            End::Client if reaction.established => self.report.established = at,
            End::Client if self.client.state() == State::FinWait2 && self.report.half_closed == 0 => {
                self.report.half_closed = at;
            }
            End::Server if reaction.acknowledged => self.report.acknowledged = at,
            End::Client | End::Server => {}
        }
        if reaction.reset {
            self.report.reset = at;
        }
        self.report.broken |= reaction.broken;
    }

    /// Round `number` is the next of its direction's stream. False: it should have come before.
    pub(crate) fn is_in_order(&mut self, direction: Direction, number: u64) -> bool {
        let last = &mut self.last[direction as usize];
        let in_order = last.is_none_or(|last| last < number);
        *last = Some(number);
        in_order
    }

    pub(crate) fn report(&self) -> TcpReport {
        TcpReport { retransmitted: self.client.retransmitted() + self.server.retransmitted(), ..self.report }
    }
}

/// The identity of handshake segments: a keyed hash of run, flow and direction.
pub(crate) fn initial_sequence(schedule: &Schedule, flow: u32, direction: Direction) -> u32 {
    let mut hasher = SipHasher24::new_with_key(&schedule.key);
    hasher.write_u64(schedule.run);
    hasher.write_u32(flow);
    hasher.write_u8(direction as u8);
    // The upper half is as good as the lower.
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule { run: 1, key: [7; 16], seed: 1, start: 0, end: 0, flows: vec![] }
    }

    #[test]
    fn responses_follow_their_requests() {
        let mut pair = Pair::new(&schedule(), 0, Shape::Steady);
        assert!(!pair.on_request(0), "its response is not due yet");
        assert!(pair.on_response_due(0));
        assert!(!pair.on_response_due(1), "no request, no response");
        assert!(pair.on_request(1), "its response is overdue");
        // Request 2 was skipped; 3 and 4 are early.
        assert!(!pair.on_request(3) && !pair.on_request(4));
        assert!(!pair.on_response_due(2));
        assert!(pair.on_response_due(3) && pair.on_response_due(4));
        assert!(!pair.on_request(5) && !pair.on_response_due(6), "that of request 5 was never asked for");
    }

    #[test]
    fn requests_that_wait_are_bounded() {
        let mut pair = Pair::new(&schedule(), 0, Shape::Steady);
        (0..1_000).for_each(|number| assert!(!pair.on_request(number)));
        assert_eq!(pair.requested.len(), OUTSTANDING);
    }

    #[test]
    fn a_stream_goes_on_in_order_with_gaps_but_never_back() {
        let mut pair = Pair::new(&schedule(), 0, Shape::Steady);
        let mut takes = |direction, number| pair.is_in_order(direction, number);
        assert!(takes(Direction::Forward, 0) && takes(Direction::Forward, 2) && takes(Direction::Reverse, 1));
        assert!(!takes(Direction::Forward, 2) && !takes(Direction::Reverse, 0));
    }

    #[test]
    fn initial_sequence_numbers_differ_by_flow_direction_run_and_key() {
        let base = initial_sequence(&schedule(), 0, Direction::Forward);
        assert_eq!(base, initial_sequence(&schedule(), 0, Direction::Forward));
        assert_ne!(base, initial_sequence(&schedule(), 1, Direction::Forward));
        assert_ne!(base, initial_sequence(&schedule(), 0, Direction::Reverse));
        assert_ne!(base, initial_sequence(&Schedule { run: 2, ..schedule() }, 0, Direction::Forward));
        assert_ne!(base, initial_sequence(&Schedule { key: [8; 16], ..schedule() }, 0, Direction::Forward));
    }
}
