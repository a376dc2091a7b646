//! One end of a TCP connection (RFC 9293), as far as the generator's pair needs it: handshake, segments of one
//! signature each, cumulative acknowledgement, retransmission by timer, close from the client's side first, reset.
//!
//! Nothing is acknowledged that did not arrive, and what is retransmitted keeps its place in the stream. A segment that
//! comes out of order is not kept: its sender has a timer.

mod state;

use std::collections::VecDeque;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::signature;
use scalebed_frame::view::{ACK, FIN, PSH, RST, SYN, Tcp};

use state::Event;
pub(crate) use state::State;

/// First retransmission timeout; Linux's lower bound. It doubles with each attempt.
pub(crate) const RTO: Duration = Duration::from_millis(200);
/// It doubles up to here: an end that was cut off for long is back soon after the cut heals.
pub(crate) const RTO_MAX: Duration = Duration::from_millis(3_200);
/// Rounds that may be on their way or wait for the handshake.
pub(crate) const OUTSTANDING: usize = 64;
/// Segments that one timeout sends again.
const BURST: usize = 8;
/// The window that is advertised, and the range around the expected byte in which a segment is taken seriously.
const WINDOW: u16 = u16::MAX;

/// A request or response: its number in the flow's schedule, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: u64,
    pub(crate) intended: Instant,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// What its payload is, if it has one.
    pub(crate) data: Option<Round>,
    /// Which attempt, from 0; saturates.
    pub(crate) attempt: u8,
}

impl Segment {
    /// The answer to a segment for which there is no connection (RFC 9293, 3.10.7.1).
    pub(crate) fn refusal(tcp: &Tcp, length: usize) -> Self {
        let length = u32::try_from(length).unwrap_or(0) + u32::from(tcp.has(SYN)) + u32::from(tcp.has(FIN));
        let (sequence, acknowledgement, flags) = if tcp.has(ACK) {
            (tcp.acknowledgement, 0, RST)
        } else {
            (0, tcp.sequence.wrapping_add(length), RST | ACK)
        };
        Self { sequence, acknowledgement, flags, window: 0, data: None, attempt: 0 }
    }
}

/// What a segment that came in meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// The handshake is done.
    pub(crate) established: bool,
    /// Something that this end had sent is acknowledged.
    pub(crate) acknowledged: bool,
    /// Its payload is the next of the stream.
    pub(crate) delivered: bool,
    /// The peer, or somebody in its name, reset the connection.
    pub(crate) reset: bool,
    /// Its payload can't belong to this stream.
    pub(crate) broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Syn,
    Data(Round),
    Fin,
}

impl Piece {
    const fn length(self) -> u32 {
        match self {
            Self::Syn | Self::Fin => 1,
            Self::Data(_) => signature::LEN as u32,
        }
    }
}

/// Something that was sent and is not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Its place in the stream.
    sequence: u32,
    piece: Piece,
    attempt: u8,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Endpoint {
    state: State,
    /// Next byte to be sent.
    next: u32,
    /// Next byte expected.
    expected: u32,
    /// Sent and not acknowledged, oldest first, each with its place in the stream.
    unacked: VecDeque<Sent>,
    /// Rounds that were due before the handshake was done.
    waiting: VecDeque<Round>,
    rto: Duration,
    deadline: Option<Instant>,
    retransmitted: u32,
    manner: Manner,
    /// A slow server has not answered yet; its timer will.
    holds: bool,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// So long it takes to answer a SYN.
    pub(crate) hold: Duration,
    /// The client's FIN does not end what it has to say.
    pub(crate) lingers: bool,
}

impl Endpoint {
    /// A client that has not been opened yet. `isn` is its initial sequence number.
    pub(crate) fn client(isn: u32) -> Self {
        Self::new(State::Closed, isn)
    }

    /// A server that listens.
    pub(crate) fn server(isn: u32, manner: Manner) -> Self {
        Self { manner, ..Self::new(State::Listen, isn) }
    }

    fn new(state: State, isn: u32) -> Self {
        Self {
            state,
            next: isn,
            expected: 0,
            unacked: VecDeque::new(),
            waiting: VecDeque::new(),
            rto: RTO,
            deadline: None,
            retransmitted: 0,
            manner: Manner::default(),
            holds: false,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn retransmitted(&self) -> u32 {
        self.retransmitted
    }

    /// When [`Self::on_timeout`] is due.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The client begins.
    pub(crate) fn open(&mut self, now: Instant, out: &mut Vec<Segment>) {
        if self.state == State::Closed {
            self.state = self.state.after(Event::Open);
            self.send(Piece::Syn, now, out);
        }
    }

    /// Sends a round, or keeps it until the handshake is done. False: it can't be taken.
    pub(crate) fn push(&mut self, round: Round, now: Instant, out: &mut Vec<Segment>) -> bool {
        let room = self.unacked.len() + self.waiting.len() < OUTSTANDING;
        match self.state {
            State::Established | State::CloseWait if room => self.send(Piece::Data(round), now, out),
            State::SynSent | State::SynReceived if room => self.waiting.push_back(round),
            _ => return false,
        }
        true
    }

    /// No more rounds: FIN behind what is on its way.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Vec<Segment>) {
        let was = self.state;
        self.state = was.after(Event::Close);
        match self.state {
            State::FinWait1 | State::LastAck if was != self.state => self.send(Piece::Fin, now, out),
            State::Done | State::Reset => self.forget(),
            _ => {}
        }
    }

    /// The retransmission timer has run out: what is not acknowledged goes out again.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Vec<Segment>) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if std::mem::take(&mut self.holds) {
            self.deadline = Some(now + self.rto);
            if let Some(&sent) = self.unacked.front() {
                out.push(self.segment(sent));
            }
            return;
        }
        self.rto = (self.rto * 2).min(RTO_MAX);
        self.deadline = (!self.unacked.is_empty()).then(|| now + self.rto);
        for place in 0..self.unacked.len().min(BURST) {
            self.send_again(place, out);
        }
    }

    /// A segment came in, with so many bytes of payload.
    pub(crate) fn on_segment(&mut self, tcp: &Tcp, length: usize, now: Instant, out: &mut Vec<Segment>) -> Reaction {
        match self.state {
            State::Listen | State::SynSent => self.on_handshake(tcp, length, now, out),
            State::Closed | State::Reset => {
                if !tcp.has(RST) {
                    out.push(Segment::refusal(tcp, length));
                }
                Reaction::default()
            }
            State::Done => {
                // Our last ACK was lost.
                if tcp.has(FIN) {
                    self.acknowledge(out);
                }
                Reaction::default()
            }
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::CloseWait
            | State::LastAck => self.on_stream(tcp, length, now, out),
        }
    }

    fn on_handshake(&mut self, tcp: &Tcp, length: usize, now: Instant, out: &mut Vec<Segment>) -> Reaction {
        let mut reaction = Reaction::default();
        let acks_ours = tcp.has(ACK) && tcp.acknowledgement == self.next;
        match (self.state, tcp.flags & (SYN | ACK | RST)) {
            (State::SynSent, flags) if flags & RST != 0 => {
                if acks_ours {
                    self.reset();
                    reaction.reset = true;
                }
            }
            (State::SynSent, flags) if flags == SYN | ACK && acks_ours => {
                self.expected = tcp.sequence.wrapping_add(1);
                self.take_ack(tcp.acknowledgement, now);
                self.state = self.state.after(Event::Handshake);
                reaction.established = true;
                self.acknowledge(out);
                self.flush(now, out);
            }
            (State::Listen, SYN) => {
                self.expected = tcp.sequence.wrapping_add(1);
                self.state = self.state.after(Event::PeerSyn);
                self.holds = !self.manner.hold.is_zero();
                let answers = out.len();
                self.send(Piece::Syn, now, out);
                if self.holds {
                    out.truncate(answers);
                    self.deadline = Some(now + self.manner.hold);
                }
            }
            (_, flags) if flags & RST != 0 => {}
            _ => out.push(Segment::refusal(tcp, length)),
        }
        reaction
    }

    fn on_stream(&mut self, tcp: &Tcp, length: usize, now: Instant, out: &mut Vec<Segment>) -> Reaction {
        let mut reaction = Reaction::default();
        let ahead = tcp.sequence.wrapping_sub(self.expected).cast_signed();
        let in_window = ahead.unsigned_abs() <= u32::from(WINDOW);
        if tcp.has(RST) {
            // RFC 5961: only the very byte that is expected resets; other resets are ignored.
            if ahead == 0 {
                self.reset();
                reaction.reset = true;
            }
            return reaction;
        }
        if tcp.has(SYN) {
            // The peer's SYN again: it did not get our answer to it.
            if self.state == State::SynReceived {
                // A slow server is not hurried.
                if !self.holds {
                    self.on_lost_answer(now, out);
                }
            } else {
                self.acknowledge(out);
            }
            return reaction;
        }
        if !tcp.has(ACK) || !self.is_sent(tcp.acknowledgement) || !in_window {
            reaction.broken = length > 0 && !in_window;
            self.acknowledge(out);
            return reaction;
        }
        let was = self.state;
        reaction.acknowledged = self.take_ack(tcp.acknowledgement, now);
        reaction.established = was == State::SynReceived && self.state == State::Established;
        self.flush(now, out);
        if length > 0 {
            if length != signature::LEN {
                reaction.broken = true;
            } else if ahead == 0 {
                self.expected = self.expected.wrapping_add(signature::LEN as u32);
                reaction.delivered = true;
            }
            self.acknowledge(out);
        }
        let end = tcp.sequence.wrapping_add(u32::try_from(length).unwrap_or(0));
        if tcp.has(FIN) {
            self.on_fin(end, now, out);
        }
        reaction
    }

    fn on_fin(&mut self, end: u32, now: Instant, out: &mut Vec<Segment>) {
        if end == self.expected {
            self.expected = self.expected.wrapping_add(1);
            self.state = self.state.after(Event::PeerFin);
            if self.state == State::CloseWait && !self.manner.lingers {
                // Its FIN carries the acknowledgement.
                self.close(now, out);
                return;
            }
        }
        self.acknowledge(out);
    }

    fn on_lost_answer(&mut self, now: Instant, out: &mut Vec<Segment>) {
        self.deadline = Some(now + self.rto);
        self.send_again(0, out);
    }

    /// The next attempt of what stands at a place of the queue.
    fn send_again(&mut self, place: usize, out: &mut Vec<Segment>) {
        let Some(sent) = self.unacked.get_mut(place) else { return };
        sent.attempt = sent.attempt.saturating_add(1);
        let sent = *sent;
        self.retransmitted += 1;
        out.push(self.segment(sent));
    }

    /// Drops what `acknowledgement` covers, and follows what its SYN or FIN being covered means. True: there was some.
    fn take_ack(&mut self, acknowledgement: u32, now: Instant) -> bool {
        let mut progress = false;
        while let Some(&Sent { sequence, piece, .. }) = self.unacked.front() {
            let end = sequence.wrapping_add(piece.length());
            if end.wrapping_sub(acknowledgement).cast_signed() > 0 {
                break;
            }
            self.unacked.pop_front();
            progress = true;
            match piece {
                // The client's own handshake ends with the peer's SYN, not with this.
                Piece::Syn if self.state == State::SynReceived => self.state = self.state.after(Event::Handshake),
                Piece::Fin => self.state = self.state.after(Event::FinAcked),
                Piece::Syn | Piece::Data(_) => {}
            }
        }
        if progress {
            self.rto = RTO;
            self.deadline = (!self.unacked.is_empty()).then(|| now + self.rto);
        }
        progress
    }

    /// Was every byte before `acknowledgement` sent, and none of it long ago?
    fn is_sent(&self, acknowledgement: u32) -> bool {
        self.next.wrapping_sub(acknowledgement) <= u32::from(WINDOW)
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Segment>) {
        if self.state == State::Established {
            while let Some(round) = self.waiting.pop_front() {
                self.send(Piece::Data(round), now, out);
            }
        }
    }

    fn send(&mut self, piece: Piece, now: Instant, out: &mut Vec<Segment>) {
        let sequence = self.next;
        self.next = sequence.wrapping_add(piece.length());
        let sent = Sent { sequence, piece, attempt: 0 };
        self.unacked.push_back(sent);
        if self.deadline.is_none() {
            self.deadline = Some(now + self.rto);
        }
        out.push(self.segment(sent));
    }

    fn segment(&self, sent: Sent) -> Segment {
        let Sent { sequence, piece, attempt } = sent;
        // Only the very first SYN has nothing to acknowledge.
        let ack = if self.state == State::SynSent { 0 } else { ACK };
        let (flags, data) = match piece {
            Piece::Syn => (SYN | ack, None),
            Piece::Data(round) => (PSH | ack, Some(round)),
            Piece::Fin => (FIN | ack, None),
        };
        let acknowledgement = if ack == 0 { 0 } else { self.expected };
        Segment { sequence, acknowledgement, flags, window: WINDOW, data, attempt }
    }

    fn acknowledge(&self, out: &mut Vec<Segment>) {
        let (sequence, acknowledgement) = (self.next, self.expected);
        out.push(Segment { sequence, acknowledgement, flags: ACK, window: WINDOW, data: None, attempt: 0 });
    }

    fn reset(&mut self) {
        self.state = self.state.after(Event::PeerRst);
        self.forget();
    }

    fn forget(&mut self) {
        self.unacked.clear();
        self.waiting.clear();
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests;
