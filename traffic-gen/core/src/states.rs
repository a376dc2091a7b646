//! TCP flows that are in a state of their own when the first event comes: idle, half closed, in their handshake.

use std::ops::Range;

use scalebed_record::Shape;
use scalebed_record::traffic::HANDSHAKE_LEAD;

const MS: u64 = 1_000_000;
/// An idle flow falls silent so long before the event...
const QUIET: u64 = 1_500 * MS;
/// ... and goes on so long after it: what converges by its bar, 4.5 units of 100 ms, has done so by then.
const RESUMES: u64 = 600 * MS;
/// Young flows begin within this before the event: a round is done, the sync delay of 3 s is not over.
const YOUNG: Range<u64> = 1_700 * MS..2_700 * MS;
/// A slow server's answer to a SYN, shorter than the client's patience with it (200 ms).
const HOLD: u64 = 180 * MS;
/// SYNs that are not answered yet are so old at the event.
const SYN_AGE: Range<u64> = 30 * MS..150 * MS;

/// What a flow shall be when the event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Idle { young: bool },
    HalfClosed { young: bool },
    Handshaking,
}

impl State {
    /// In this order they are dealt, round and round.
    const ALL: [Self; 5] = [
        Self::Idle { young: false },
        Self::HalfClosed { young: false },
        Self::Handshaking,
        Self::Idle { young: true },
        Self::HalfClosed { young: true },
    ];

    /// The state of number `n` of all flows of which `percent` have one.
    pub(crate) fn of(n: u32, percent: u32) -> Option<Self> {
        let taken = |upto: u32| u64::from(upto) * u64::from(percent.min(100)) / 100;
        let before = taken(n);
        (taken(n + 1) > before).then(|| Self::ALL[usize::try_from(before % 5).unwrap_or(0)])
    }

    /// First due time and shape of a flow with this state at `event`. `usual` is when it would begin without, `interval`
    /// its rounds', `below` draws a number below another. Times in ns after the schedule's start. `None`: the run is too
    /// short around its event.
    pub(crate) fn plan(
        self,
        event: u64,
        length: u64,
        usual: u64,
        interval: u64,
        mut below: impl FnMut(u64) -> u64,
    ) -> Option<(u64, Shape)> {
        let mut before = |range: &Range<u64>| event.checked_sub(range.start + below(range.end - range.start));
        let (from, to) = (event.checked_sub(QUIET)?, event + RESUMES);
        let has_time = usual + interval < from && usual + YOUNG.end < event && to + interval < length;
        let begin = |young: bool, before: &mut dyn FnMut(&Range<u64>) -> Option<u64>| {
            if young { before(&YOUNG) } else { Some(usual) }
        };
        let planned = match self {
            Self::Idle { young } => (begin(young, &mut before)?, Shape::Idle { from, to }),
            Self::HalfClosed { young } => {
                let first = begin(young, &mut before)?;
                (first, Shape::HalfClosed { at: first + interval / 2 })
            }
            Self::Handshaking => {
                let first = before(&SYN_AGE)? + HOLD + HANDSHAKE_LEAD;
                (first, Shape::SlowHandshake { hold: HOLD })
            }
        };
        has_time.then_some(planned)
    }
}

#[cfg(test)]
mod tests {
    use scalebed_frame::signature::{Class, Direction};
    use scalebed_frame::{Flow, Protocol};
    use scalebed_record::{FlowKind, FlowSpec};

    use super::*;

    const EVENT: u64 = 6_500 * MS;
    const LENGTH: u64 = 15_000 * MS;
    const INTERVAL: u64 = 500 * MS;

    fn flow(state: State, draw: u64) -> FlowSpec {
        let (first, shape) = state.plan(EVENT, LENGTH, 300 * MS, INTERVAL, |below| draw % below).unwrap();
        let address = std::net::IpAddr::from([198, 18, 0, 1]);
        let forward = Flow { protocol: Protocol::TCP, src: address, dst: address, src_port: 1, dst_port: 2 };
        let (class, kind) = (Class::Population, FlowKind::Tcp);
        FlowSpec { class, kind, forward, first, last: LENGTH, rate: 2, shape }
    }

    fn due(flow: &FlowSpec, direction: Direction) -> Vec<u64> {
        (0..).map_while(|k| flow.due(direction, k)).collect()
    }

    #[test]
    fn half_of_a_hundred_flows_have_states_ten_each() {
        let dealt: Vec<State> = (0..100).filter_map(|n| State::of(n, 50)).collect();
        assert_eq!(dealt.len(), 50);
        for state in State::ALL {
            assert_eq!(dealt.iter().filter(|&&one| one == state).count(), 10, "{state:?}");
        }
        assert!((0..100).all(|n| State::of(n, 0).is_none()));
    }

    #[test]
    fn an_idle_flow_is_silent_for_a_second_before_the_event_and_until_after_it() {
        for draw in [0, 1, 700 * MS, 999 * MS] {
            for young in [false, true] {
                let flow = flow(State::Idle { young }, draw);
                for direction in [Direction::Forward, Direction::Reverse] {
                    let due = due(&flow, direction);
                    assert_eq!(due.len() as u64, flow.count(direction));
                    assert!(due.iter().any(|&at| at < EVENT - 1_000 * MS), "a round is done");
                    assert!(!due.iter().any(|&at| (EVENT - 1_000 * MS..EVENT + RESUMES).contains(&at)));
                    assert!(due.iter().filter(|&&at| at >= EVENT + RESUMES).count() >= 6);
                    assert!(due.is_sorted());
                }
                let age = EVENT - (flow.first - HANDSHAKE_LEAD);
                assert_eq!(young, age < 2_800 * MS);
            }
        }
    }

    #[test]
    fn a_half_closed_flow_hears_its_server_alone_at_the_event() {
        for young in [false, true] {
            let flow = flow(State::HalfClosed { young }, 999 * MS);
            assert_eq!(flow.count(Direction::Forward), 1);
            assert!(flow.end(Direction::Forward) < EVENT - 500 * MS);
            assert!(due(&flow, Direction::Reverse).iter().filter(|&&at| at > EVENT).count() > 6);
            assert!(flow.end(Direction::Reverse) >= LENGTH);
        }
    }

    #[test]
    fn a_handshake_is_under_way_at_the_event() {
        for draw in [0, 60 * MS, 119 * MS] {
            let flow = flow(State::Handshaking, draw);
            let syn = flow.first - HANDSHAKE_LEAD - HOLD;
            assert!(syn <= EVENT - 30 * MS && syn + HOLD >= EVENT + 30 * MS);
        }
    }

    #[test]
    fn a_run_that_is_too_short_has_none() {
        let plan = |event, length| {
            State::ALL.map(|state| state.plan(event, length, 300 * MS, INTERVAL, |below| below - 1).is_some())
        };
        assert_eq!(plan(1_000 * MS, LENGTH), [false; 5]);
        assert_eq!(plan(EVENT, EVENT + 1_000 * MS), [false; 5]);
        assert_eq!(plan(EVENT, LENGTH), [true; 5]);
    }
}
