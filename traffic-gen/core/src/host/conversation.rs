//! One end of a TCP connection: RFC 9293 without options, congestion control and delayed acknowledgements; go-back-N by a
//! timer of 200 ms that doubles. What it says is a function of time and of what it heard, so that nothing is stored.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::{Instant, Output, PortIndex};
use scalebed_frame::build::{self, Envelope, TcpFields};
use scalebed_frame::view::{ACK, FIN, RST, SYN, Tcp};
use scalebed_frame::{Flow, Mac};

/// Payload of a full segment, bytes: what an MTU of 1500 holds of either family.
const SEGMENT: u64 = 1_440;
/// Bytes on their way at most.
const WINDOW: u64 = 60_000;
/// First timeout; doubles up to 16 times as long.
const RTO: Duration = Duration::from_millis(200);
/// Bytes of a line of [`Says::Lines`].
pub const LINE: u64 = 64;

/// The byte of the content at an offset: a period (251) that divides no segment's size, so that a piece out of place
/// shows.
#[must_use]
pub fn content(offset: u64) -> u8 {
    u8::try_from(offset % 251).unwrap_or(0)
}

/// What an end says. All of it is [`content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing; it closes when the other end has.
    Nothing,
    /// So many bytes, as fast as they go, or by and by; then it closes.
    Content {
        /// How many.
        bytes: u64,
        /// How fast.
        pace: Option<Pace>,
    },
    /// What it hears; it closes when the other end has.
    Echo,
    /// A line of [`LINE`] bytes at each of these instants; it closes when it heard as much.
    Lines(Vec<Instant>),
}

/// How fast an end says what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes at once.
    pub bytes: u64,
    /// How often.
    pub every: Duration,
}

/// What an end heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes in order.
    pub bytes: u64,
    /// Each was the one that belongs there.
    pub intact: bool,
    /// The stream came to its end.
    pub complete: bool,
    /// The peer, or somebody in its name, reset the connection.
    pub reset: bool,
    /// When it began.
    pub began: Instant,
    /// When something new came last.
    pub last: Instant,
    /// The longest time between two things that came, its beginning among them.
    pub gap: Duration,
}

/// Where a conversation happens.
pub(super) struct Here<'a> {
    pub(super) mac: Mac,
    pub(super) gateway: Mac,
    pub(super) flow: Flow,
    pub(super) now: Instant,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

/// One end.
#[derive(Debug)]
pub(super) struct Conversation {
    says: Says,
    isn: u32,
    /// Sent and acknowledged, then sent at all: positions of this end's stream, its SYN at 0.
    sent: (u64, u64),
    /// Next position of the peer's stream; 0: its SYN has not come.
    expected: u64,
    peer_isn: u32,
    rto: Duration,
    resend: Option<Instant>,
    fetched: Fetched,
}

impl Conversation {
    /// One of which nothing was said yet.
    pub(super) fn new(address: IpAddr, says: Says, now: Instant) -> Self {
        let fetched = Fetched {
            bytes: 0,
            intact: true,
            complete: false,
            reset: false,
            began: now,
            last: now,
            gap: Duration::ZERO,
        };
        Self {
            says,
            // Of no use to an attacker here: any number will do.
            isn: number(address).wrapping_mul(2_654_435_761),
            sent: (0, 0),
            expected: 0,
            peer_isn: 0,
            rto: RTO,
            resend: None,
            fetched,
        }
    }

    pub(super) const fn fetched(&self) -> Fetched {
        self.fetched
    }

    /// Bytes that it has to say by now.
    fn written(&self, now: Instant) -> u64 {
        match &self.says {
            Says::Nothing => 0,
            Says::Content { bytes, pace: None } => *bytes,
            Says::Content { bytes, pace: Some(pace) } => (self.ticks(*pace, now) * pace.bytes).min(*bytes),
            // What came altered is not said again: it would come back right.
            Says::Echo => self.fetched.bytes * u64::from(self.fetched.intact),
            Says::Lines(at) => at.iter().filter(|at| **at <= now).count() as u64 * LINE,
        }
    }

    fn ticks(&self, pace: Pace, now: Instant) -> u64 {
        let passed = now.since(self.fetched.began).as_nanos() / pace.every.as_nanos().max(1);
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Has it nothing more to say?
    fn closes(&self, now: Instant) -> bool {
        match &self.says {
            Says::Nothing | Says::Echo => self.fetched.complete,
            Says::Content { bytes, .. } => self.written(now) == *bytes,
            Says::Lines(at) => self.fetched.bytes == at.len() as u64 * LINE,
        }
    }

    /// When it has more to say.
    fn writes(&self, now: Instant) -> Option<Instant> {
        match &self.says {
            Says::Content { pace: Some(pace), .. } if !self.closes(now) => {
                let ticks = u32::try_from(self.ticks(*pace, now)).unwrap_or(u32::MAX);
                Some(self.fetched.began + pace.every * ticks)
            }
            Says::Lines(at) => at.iter().copied().find(|at| *at > now),
            Says::Nothing | Says::Content { .. } | Says::Echo => None,
        }
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.fetched.reset {
            return None;
        }
        [self.resend, self.writes(now)].into_iter().flatten().min()
    }

    pub(super) fn on_time(&mut self, here: &mut Here<'_>) {
        let late = self.resend.is_some_and(|at| at <= here.now);
        if late {
            self.rto = (self.rto * 2).min(RTO * 16);
            self.resend = None;
        }
        self.push(here, late);
    }

    pub(super) fn on_tcp(&mut self, here: &mut Here<'_>, tcp: &Tcp, payload: &[u8]) {
        if tcp.has(RST) {
            self.fetched.reset |= !self.fetched.complete;
            return;
        }
        if tcp.has(SYN) && self.expected == 0 {
            (self.peer_isn, self.expected) = (tcp.sequence, 1);
        }
        if tcp.has(ACK) {
            self.on_ack(tcp.acknowledgement);
        }
        let takes = !payload.is_empty() || tcp.has(FIN) || tcp.has(SYN);
        self.hear(here.now, tcp, payload);
        let before = here.outputs.len();
        self.push(here, false);
        // What was said just now acknowledges too.
        if takes && here.outputs.len() == before {
            self.transmit(here, self.sent.1, 0, &[]);
        }
    }

    fn on_ack(&mut self, acknowledgement: u32) {
        let ahead = acknowledgement.wrapping_sub(position(self.isn, self.sent.0));
        let acked = self.sent.0 + u64::from(ahead);
        if ahead > 0 && acked <= self.sent.1 {
            self.sent.0 = acked;
            (self.rto, self.resend) = (RTO, None);
        }
    }

    fn hear(&mut self, now: Instant, tcp: &Tcp, payload: &[u8]) {
        let next = position(self.peer_isn, self.expected);
        if self.expected == 0 || tcp.sequence != next || tcp.has(SYN) {
            return;
        }
        let fetched = &mut self.fetched;
        let offset = self.expected - 1;
        fetched.intact &= (offset..).zip(payload).all(|(at, byte)| content(at) == *byte);
        fetched.bytes += payload.len() as u64;
        self.expected += payload.len() as u64 + u64::from(tcp.has(FIN));
        if !payload.is_empty() || tcp.has(FIN) {
            fetched.gap = fetched.gap.max(now.since(fetched.last));
            fetched.last = now;
        }
        fetched.complete |= tcp.has(FIN);
    }

    /// Sends what the window allows; from the oldest that is not acknowledged if `again`.
    fn push(&mut self, here: &mut Here<'_>, again: bool) {
        if self.fetched.reset {
            return;
        }
        if again {
            self.sent.1 = self.sent.0;
        }
        let said = 1 + self.written(here.now);
        let all = said + u64::from(self.closes(here.now));
        let end = if self.sent.0 > 0 { all.min(self.sent.0 + WINDOW) } else { 1 };
        while self.sent.1 < end {
            let at = self.sent.1;
            if at == 0 {
                self.sent.1 = 1;
                self.transmit(here, at, SYN, &[]);
            } else if at == said {
                self.sent.1 = said + 1;
                self.transmit(here, at, FIN, &[]);
            } else {
                self.sent.1 = (at + SEGMENT).min(end).min(said);
                let payload: Vec<u8> = (at - 1..self.sent.1 - 1).map(content).collect();
                self.transmit(here, at, 0, &payload);
            }
        }
        let open = self.sent.0 < self.sent.1;
        self.resend = if open { self.resend.or(Some(here.now + self.rto)) } else { None };
    }

    fn transmit(&self, here: &mut Here<'_>, at: u64, flags: u8, payload: &[u8]) {
        let acknowledgement = if self.expected == 0 { 0 } else { position(self.peer_isn, self.expected) };
        let flags = flags | if self.expected == 0 { 0 } else { ACK };
        let fields = TcpFields { sequence: position(self.isn, at), acknowledgement, flags, window: u16::MAX };
        let envelope = Envelope { src: here.mac, dst: here.gateway, ttl: 64, identification: 0 };
        let frame = build::tcp(envelope, here.flow, fields, payload);
        here.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
    }
}

/// Of an address, the last four bytes.
const fn number(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => (address.to_bits() & 0xffff_ffff) as u32,
    }
}

/// The sequence number of a position of a stream.
fn position(isn: u32, at: u64) -> u32 {
    isn.wrapping_add(u32::try_from(at & 0xffff_ffff).unwrap_or(0))
}
