//! The state that a TCP connection was in at an instant, from what its ends report and what taps saw.

use scalebed_record::FlowKind;

use crate::evidence::{Evidence, MS};

/// A connection without a packet for so long is idle.
const QUIET: u64 = 1_000 * MS;
/// A SYN that is this old has reached whoever owns its connection.
const UNDER_WAY: u64 = 5 * MS;

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Established, rounds going on.
    Active,
    /// Established, no packet for a second.
    Idle,
    /// The client's SYN is on its way, and the client is not established.
    Handshaking,
    /// The client's FIN is acknowledged, the server goes on (RFC 9293, 3.6).
    HalfClosed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Idle, Self::Handshaking, Self::HalfClosed];

    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Handshaking => "handshaking",
            Self::HalfClosed => "half-closed",
        }
    }
}

/// The state of a flow's connection at an instant, ns; `None`: it had none.
pub fn at(evidence: &Evidence<'_>, flow: usize, at: u64) -> Option<State> {
    if evidence.schedule.flows[flow].kind != FlowKind::Tcp {
        return None;
    }
    let tcp = evidence.tcp(flow)?;
    let reached = |instant: u64| instant != 0 && instant < at;
    if reached(tcp.half_closed) {
        Some(State::HalfClosed)
    } else if reached(tcp.established) {
        Some(if quiet(evidence, flow, at) { State::Idle } else { State::Active })
    } else {
        reached(tcp.opened + UNDER_WAY).then_some(State::Handshaking).filter(|_| tcp.opened != 0)
    }
}

/// Did no packet of the flow, nor its handshake, pass in the last second?
fn quiet(evidence: &Evidence<'_>, flow: usize, at: u64) -> bool {
    let since = at.saturating_sub(QUIET);
    let recent = |instant: u64| (since..at).contains(&instant);
    let seen = (0..2).any(|side| {
        let journeys = evidence.journeys(flow, side).iter();
        journeys.flat_map(|one| [one.offered, one.delivered, one.missed[0], one.missed[1]]).any(recent)
    });
    !seen && !evidence.tcp(flow).is_some_and(|tcp| recent(tcp.established))
}
