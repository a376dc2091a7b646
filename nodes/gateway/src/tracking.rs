//! What a middlebox makes of a connection's packets (RFC 9293 seen from the middle).
//!
//! ```text
//! SynSent --SYN-ACK back--> SynReceived --ACK forth--> Established --FIN--> HalfClosed --FIN of the other--> Closed
//! any --RST--> Closed        Closed --SYN forth--> a new connection        OneWay --answer--> Established (not TCP)
//! ```
//! Sequence numbers are not checked (LIMITATIONS.md): flags and directions are.

use std::time::Duration;

use scalebed_frame::Protocol;
use scalebed_frame::sync::ConnectionState;
use scalebed_frame::view::{ACK, FIN, RST, SYN, Tcp, Transport};

/// Which way a packet of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// As its first packet.
    Forward,
    /// Back.
    Reverse,
}

/// What a packet says to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
    /// A packet of another protocol than TCP.
    Packet,
}

impl Event {
    pub(crate) fn of(transport: &Transport) -> Self {
        match transport {
            Transport::Tcp(tcp) => Self::of_tcp(tcp),
            Transport::Udp { .. } | Transport::Echo { .. } | Transport::Icmp { .. } | Transport::None => Self::Packet,
        }
    }

    fn of_tcp(tcp: &Tcp) -> Self {
        match (tcp.has(RST), tcp.has(SYN), tcp.has(ACK), tcp.has(FIN)) {
            (true, ..) => Self::Rst,
            (false, true, false, _) => Self::Syn,
            (false, true, true, _) => Self::SynAck,
            (false, false, _, true) => Self::Fin,
            (false, false, _, false) => Self::Ack,
        }
    }
}

/// Where a connection stands. `closing` is the end whose FIN was seen; a copy that was taken over may not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) state: ConnectionState,
    pub(crate) closing: Option<Way>,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pass it; this is the state from now on.
    Pass(Track),
    /// It starts a new connection of the same tuple: forget the old one.
    Anew,
    /// It does not fit.
    Refuse,
}

impl Track {
    /// The state after the first packet.
    pub(crate) const fn first(protocol: Protocol) -> Self {
        let state = match protocol {
            Protocol::TCP => ConnectionState::SynSent,
            _ => ConnectionState::OneWay,
        };
        Self { state, closing: None }
    }

    /// One packet further.
    pub(crate) fn after(self, event: Event, way: Way) -> Verdict {
        use ConnectionState as S;
        use Event as E;
        use Way::{Forward, Reverse};
        let to = |state| Verdict::Pass(Self { state, ..self });
        let half = Verdict::Pass(Self { state: S::HalfClosed, closing: Some(way) });
        match (self.state, event, way) {
            (S::Closed, E::Syn, Forward) => Verdict::Anew,
            (_, E::Rst, _) => to(S::Closed),
            (S::SynSent, E::Syn, Forward) | (S::SynReceived, E::Syn, Forward) => to(self.state),
            (S::SynSent, E::SynAck, Reverse) => to(S::SynReceived),
            // A half-open peer answers a SYN with a bare ACK (RFC 9293 section 3.10.7.4): the client resets it.
            (S::SynSent, E::Ack, Reverse) => to(S::SynSent),
            (S::SynSent, E::Ack | E::Fin | E::SynAck, Forward) | (S::SynSent, E::Syn | E::Fin, Reverse) => {
                Verdict::Refuse
            }
            (S::SynReceived, E::Ack, Forward) => to(S::Established),
            (S::SynReceived, E::SynAck | E::Ack, Reverse) => to(S::SynReceived),
            (S::SynReceived, E::Fin, _) => half,
            (S::SynReceived, E::SynAck, Forward) | (S::SynReceived, E::Syn, Reverse) => Verdict::Refuse,
            (S::Established, E::Fin, _) => half,
            // A SYN inside a connection gets its challenge ACK from the other end (RFC 5961 section 4).
            (S::Established, E::Syn | E::SynAck | E::Ack, _) => to(S::Established),
            (S::HalfClosed, E::Fin, _) if self.closing == Some(way) => to(S::HalfClosed),
            (S::HalfClosed, E::Fin, _) => to(S::Closed),
            (S::HalfClosed, E::Syn | E::SynAck | E::Ack, _) => to(S::HalfClosed),
            (S::Closed, E::Syn, Reverse) | (S::Closed, E::SynAck | E::Ack | E::Fin, _) => to(S::Closed),
            (S::OneWay, E::Packet, Forward) => to(S::OneWay),
            (S::OneWay, E::Packet, Reverse) => to(S::Established),
            (S::Established, E::Packet, _) => to(S::Established),
            // The tuple names the protocol, so an entry of one never meets packets of the other, unless it was forged.
            (S::OneWay, E::Syn | E::SynAck | E::Ack | E::Fin, _)
            | (S::SynSent | S::SynReceived | S::HalfClosed | S::Closed, E::Packet, _) => Verdict::Refuse,
        }
    }

    /// How long a silent connection is kept. The vendor's published defaults: TCP start 25 s, TCP session 3600 s, TCP end
    /// 5 s, UDP 40 s, ICMP 30 s; half closed as long as Linux waits for the other FIN, 120 s.
    pub(crate) const fn timeout(self, protocol: Protocol) -> Duration {
        let seconds = match (protocol, self.state) {
            (_, ConnectionState::Closed) => 5,
            (_, ConnectionState::SynSent | ConnectionState::SynReceived) => 25,
            (_, ConnectionState::HalfClosed) => 120,
            (Protocol::TCP, ConnectionState::Established | ConnectionState::OneWay) => 3600,
            (Protocol::UDP, ConnectionState::Established | ConnectionState::OneWay) => 40,
            (_, ConnectionState::Established | ConnectionState::OneWay) => 30,
        };
        Duration::from_secs(seconds)
    }
}
