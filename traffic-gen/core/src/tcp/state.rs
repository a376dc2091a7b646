//! The states of an end of a connection (RFC 9293, 3.3.2), as far as the pair goes through them.

/// State of an end.
///
/// ```text
/// client: Closed -Open> SynSent -Handshake> Established -Close> FinWait1 -FinAcked> FinWait2 -PeerFin> Done
///                                                               FinWait1 -PeerFin> Closing -FinAcked> Done
/// server: Listen -PeerSyn> SynReceived -Handshake> Established -PeerFin> CloseWait -Close> LastAck -FinAcked> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    Closing,
    CloseWait,
    LastAck,
    Done,
    Reset,
}

/// What moves an end from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Open,
    Close,
    PeerSyn,
    Handshake,
    FinAcked,
    PeerFin,
    PeerRst,
}

impl State {
    /// The state after an event; an event that means nothing to a state leaves it.
    pub(crate) const fn after(self, event: Event) -> Self {
        use State::*;
        match (self, event) {
            (Closed, Event::Open) => SynSent,
            (Listen, Event::PeerSyn) => SynReceived,
            (SynSent | SynReceived, Event::Handshake) => Established,
            // It never came to be: nothing more is tried.
            (Closed | Listen | SynSent, Event::Close) => Done,
            (SynReceived | Established, Event::Close) => FinWait1,
            (FinWait1, Event::FinAcked) => FinWait2,
            (Closing | LastAck, Event::FinAcked) => Done,
            (SynReceived | Established, Event::PeerFin) => CloseWait,
            (CloseWait, Event::Close) => LastAck,
            (FinWait1, Event::PeerFin) => Closing,
            (FinWait2, Event::PeerFin) => Done,
            (
                SynSent | SynReceived | Established | FinWait1 | FinWait2 | Closing | CloseWait | LastAck,
                Event::PeerRst,
            ) => Reset,
            (
                SynSent | SynReceived | Established | FinWait1 | FinWait2 | Closing | CloseWait | LastAck | Done
                | Reset,
                Event::Open,
            )
            | (Closed | SynSent | SynReceived | Established, Event::PeerSyn)
            | (FinWait1 | FinWait2 | Closing | CloseWait | LastAck | Done | Reset, Event::PeerSyn | Event::Handshake)
            | (Closed | Listen | Established, Event::Handshake)
            | (FinWait1 | FinWait2 | Closing | LastAck | Done | Reset, Event::Close)
            | (Listen, Event::Open)
            | (
                Closed | Listen | SynSent | SynReceived | Established | FinWait2 | CloseWait | Done | Reset,
                Event::FinAcked,
            )
            | (Closed | Listen | SynSent | Closing | CloseWait | LastAck | Done | Reset, Event::PeerFin)
            | (Closed | Listen | Done | Reset, Event::PeerRst) => self,
        }
    }
}
