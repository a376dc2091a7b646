//! The engine: what is due goes out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use scalebed_engine::{Command, Engine, Input, Instant, NodeEvent, Output, Status};
use scalebed_frame::Flow;
use scalebed_frame::signature::Direction;
use scalebed_record::traffic::{GeneratorReport, HANDSHAKE_LEAD};
use scalebed_record::{FlowKind, Shape};

use crate::config::{Config, Place};
use crate::flows::{End, FlowState, Traffic, initial_sequence};
use crate::lateness::Lateness;
use crate::resolve::Resolver;
use crate::tcp::Round;

/// A packet that is later than this is skipped and counted: after a stall the backlog is never sent in a burst.
pub const STALL: Duration = Duration::from_millis(2);
/// After the schedule's end so much time is left to what is on its way; then the generator falls silent.
pub const DRAIN: Duration = Duration::from_secs(2);
/// Packets that one wake-up sends; so many retransmissions at most go with them.
const BATCH: u32 = 32;

/// What a flow does at a due time. At the same instant in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// TCP: the client's SYN.
    Open,
    /// Packet or request `k`.
    Forward(u64),
    /// Packet or response `k`.
    Reverse(u64),
    /// TCP: the client's FIN.
    Close,
    /// TCP: the server's FIN, where it goes on alone.
    Finish,
}

/// Counters, beside those of the report.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) not_opened: u64,
    pub(crate) unsendable: u64,
    pub(crate) received: u64,
    pub(crate) foreign: u64,
    pub(crate) corrupt: u64,
    /// Frames to other stations: a switch floods what it does not know.
    pub(crate) flooded: u64,
    /// TCP segments of a tuple that no connection has; answered with RST.
    pub(crate) refused: u64,
}

/// The generator. Port 0 is on the inside, port 1 on the outside.
#[derive(Debug)]
pub struct Generator {
    pub(crate) config: Config,
    pub(crate) resolvers: [Resolver; 2],
    pub(crate) flows: Vec<FlowState>,
    due: BinaryHeap<Reverse<(Instant, Due, u32)>>,
    /// Retransmission timers.
    pub(crate) timers: BTreeSet<(Instant, u32, End)>,
    /// TCP flows by the tuple of what their client receives.
    pub(crate) clients: BTreeMap<Flow, u32>,
    /// TCP flows by the tuple that their server saw.
    pub(crate) servers: BTreeMap<Flow, u32>,
    /// TCP flows by the SYN's sequence number and destination port.
    pub(crate) handshakes: BTreeMap<(u32, u16), u32>,
    pub(crate) counters: Counters,
    lateness: Lateness,
    pub(crate) identification: u16,
    ready: bool,
    now: Instant,
    pub(crate) outputs: VecDeque<Output>,
}

impl Generator {
    /// A generator that has sent nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut new = Self {
            resolvers: [Resolver::new(&config.inside), Resolver::new(&config.outside)],
            flows: Vec::with_capacity(config.schedule.flows.len()),
            due: BinaryHeap::new(),
            timers: BTreeSet::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            counters: Counters::default(),
            lateness: Lateness::default(),
            identification: 0,
            ready: false,
            now: Instant(0),
            outputs: VecDeque::new(),
            config,
        };
        for (index, spec) in (0u32..).zip(new.config.schedule.flows.clone()) {
            let client = new.config.client(spec.forward.src);
            new.flows.push(FlowState::new(&new.config.schedule, index, spec, client));
            if spec.kind == FlowKind::Tcp {
                let isn = initial_sequence(&new.config.schedule, index, Direction::Forward);
                new.handshakes.insert((isn, spec.forward.dst_port), index);
                new.clients.insert(spec.forward.reversed(), index);
                let hold = if let Shape::SlowHandshake { hold } = spec.shape { hold } else { 0 };
                new.plan(index, spec.first.saturating_sub(HANDSHAKE_LEAD + hold), Due::Open);
                // Where its next request would have been: flows that end together don't close all at once.
                new.plan(index, spec.end(Direction::Forward), Due::Close);
                if matches!(spec.shape, Shape::HalfClosed { .. }) {
                    new.plan(index, spec.end(Direction::Reverse), Due::Finish);
                }
            }
            new.plan_packet(index, Direction::Forward, 0);
            new.plan_packet(index, Direction::Reverse, 0);
        }
        new
    }

    /// Its account so far. `receive_drops`, `frames` and `cpu_ns` are the shell's to fill in.
    #[must_use]
    pub fn report(&self) -> GeneratorReport {
        let counters = &self.counters;
        let tcp = self.flows.iter().filter_map(|flow| match &flow.traffic {
            Traffic::Tcp(pair) => Some(pair.report()),
            Traffic::Udp { .. } => None,
        });
        GeneratorReport {
            sent: counters.sent,
            skipped: counters.skipped,
            not_opened: counters.not_opened,
            unsendable: counters.unsendable,
            received: counters.received,
            worst_late: self.lateness.worst(),
            p99_late: self.lateness.p99(),
            foreign: counters.foreign,
            corrupt: counters.corrupt,
            receive_drops: 0,
            unsent: std::collections::BTreeMap::new(),
            cut: 0,
            frames: 0,
            cpu_ns: 0,
            tcp: tcp.collect(),
        }
    }

    /// The end of the drain: from then on it is silent, and its report is final.
    #[must_use]
    pub fn end(&self) -> Instant {
        Instant(self.config.schedule.start.saturating_add(self.config.schedule.end)) + DRAIN
    }

    fn plan(&mut self, flow: u32, after_start: u64, due: Due) {
        let at = Instant(self.config.schedule.start.saturating_add(after_start));
        self.due.push(Reverse((at, due, flow)));
    }

    fn plan_packet(&mut self, flow: u32, direction: Direction, number: u64) {
        let Some(state) = self.flows.get(flow as usize) else { return };
        if let Some(after_start) = state.spec.due(direction, number) {
            let due = match direction {
                Direction::Forward => Due::Forward(number),
                Direction::Reverse => Due::Reverse(number),
            };
            self.plan(flow, after_start, due);
        }
    }

    fn on_time(&mut self, now: Instant) {
        if now >= self.end() {
            return;
        }
        for place in Place::BOTH {
            if self.resolvers[place as usize].deadline() <= now {
                self.ask(place, false, now);
            }
        }
        let mut budget = BATCH;
        while let Some(&Reverse((at, due, flow))) = self.due.peek()
            && at <= now
            && budget > 0
        {
            self.due.pop();
            budget -= u32::from(self.on_due(flow, due, at, now));
        }
        let mut budget = BATCH;
        while let Some(&(at, flow, end)) = self.timers.first()
            && at <= now
            && budget > 0
        {
            budget -= 1;
            self.timers.pop_first();
            self.with_pair(flow, end, now, |pair, out| pair.end(end).on_timeout(now, out));
        }
    }

    /// True: something was sent.
    fn on_due(&mut self, flow: u32, due: Due, at: Instant, now: Instant) -> bool {
        match due {
            Due::Open => self.with_pair(flow, End::Client, now, |pair, out| {
                pair.report.opened = now.0;
                pair.client.open(now, out);
            }),
            Due::Close => self.with_pair(flow, End::Client, now, |pair, out| pair.client.close(now, out)),
            Due::Finish => self.with_pair(flow, End::Server, now, |pair, out| pair.server.close(now, out)),
            Due::Forward(number) => {
                self.plan_packet(flow, Direction::Forward, number + 1);
                return self.on_packet_due(flow, Direction::Forward, Round { number, intended: at }, now);
            }
            Due::Reverse(number) => {
                self.plan_packet(flow, Direction::Reverse, number + 1);
                return self.on_packet_due(flow, Direction::Reverse, Round { number, intended: at }, now);
            }
        }
        true
    }

    fn on_packet_due(&mut self, index: u32, direction: Direction, round: Round, now: Instant) -> bool {
        let Some(flow) = self.flows.get_mut(index as usize) else { return false };
        let place = flow.sender(direction);
        // A response that waits for its request is not the schedule's fault: it is known before lateness is.
        let is_wanted = match (&mut flow.traffic, direction) {
            (Traffic::Tcp(pair), Direction::Reverse) => pair.on_response_due(round.number),
            (Traffic::Tcp(_) | Traffic::Udp { .. }, _) => true,
        };
        let tuple = match (&flow.traffic, direction) {
            (Traffic::Udp { seen }, Direction::Reverse) => seen.map(Flow::reversed),
            (Traffic::Udp { .. } | Traffic::Tcp(_), _) => Some(flow.spec.forward),
        };
        if !is_wanted {
            return false;
        }
        if now.since(round.intended) > STALL {
            self.counters.skipped += 1;
            return false;
        }
        let Some(tuple) = tuple else {
            self.counters.not_opened += 1;
            return false;
        };
        if self.resolvers[place as usize].gateway(tuple.dst).is_none() {
            self.counters.unsendable += 1;
            return false;
        }
        self.lateness.take(now.0.saturating_sub(round.intended.0));
        match flow.spec.kind {
            FlowKind::Udp => self.send_udp(index, direction, tuple, round, now),
            FlowKind::Tcp => {
                let end = if direction == Direction::Forward { End::Client } else { End::Server };
                self.push(index, end, round, now);
            }
        }
        true
    }

    /// Says once that both sides know the cluster's MAC, in every family that they have.
    pub(crate) fn settle_ready(&mut self) {
        if !self.ready && self.resolvers.iter().all(Resolver::is_settled) {
            self.ready = true;
            self.outputs.push_back(Output::Event(NodeEvent::Ready));
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let asks = self.resolvers.iter().map(Resolver::deadline);
        let timer = self.timers.first().map(|&(at, ..)| at);
        let due = self.due.peek().map(|&Reverse((at, ..))| at);
        asks.chain(timer).chain(due).min().filter(|_| now < self.end()).map(|at| at.min(self.end()))
    }

    fn status(&self, id: u64) -> Status {
        let counters = &self.counters;
        let moves: u64 = self.resolvers.iter().map(|resolver| resolver.moves).sum();
        let named = [("sent", counters.sent), ("received", counters.received), ("gateway-moves", moves)];
        let drops = [
            ("skipped", counters.skipped),
            ("not-opened", counters.not_opened),
            ("unsendable", counters.unsendable),
            ("foreign", counters.foreign),
            ("corrupt", counters.corrupt),
            ("flooded", counters.flooded),
            ("refused", counters.refused),
        ];
        let state = if self.ready { "active" } else { "resolving" };
        Status {
            id,
            node: self.config.name.clone(),
            state: state.to_owned(),
            counters: named.map(|(name, count)| (name.to_owned(), count)).into(),
            drops: drops.into_iter().filter(|&(_, count)| count > 0).map(|(name, n)| (name.to_owned(), n)).collect(),
            ..Status::default()
        }
    }
}

impl Engine for Generator {
    fn handle(&mut self, input: Input, now: Instant) {
        self.now = now;
        match input {
            Input::Frame { port, frame, received } => self.on_frame(port, &frame, received, now),
            Input::Link { port, up, .. } => {
                // A cable that is plugged again may lead to another MAC.
                if let (true, Some(place)) = (up, Place::of(port)) {
                    self.ask(place, true, now);
                }
            }
            Input::Command(Command::Status { id } | Command::Audit { id }) => {
                let status = NodeEvent::Status(Box::new(self.status(id)));
                self.outputs.push_back(Output::Event(status));
            }
            // It has nothing to give away.
            Input::Command(Command::Drain | Command::Alter | Command::Configure(_)) => {}
            Input::Timeout => self.on_time(now),
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Idle(self.deadline(self.now)))
    }
}
