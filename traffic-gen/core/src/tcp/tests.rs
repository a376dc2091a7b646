//! Two ends over a line that loses what the test says.

use super::*;

const START: Instant = Instant(1_000_000_000);

struct Line {
    client: Endpoint,
    server: Endpoint,
    now: Instant,
    log: String,
    /// Rounds that arrived at (server, client).
    delivered: [Vec<u64>; 2],
    reaction: Reaction,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Client,
    Server,
}

impl Line {
    fn new() -> Self {
        // The client's numbers wrap in the middle of the first round.
        let (client, server) = (Endpoint::client(0xffff_ffe0), Endpoint::server(1_000, Manner::default()));
        let reaction = Reaction::default();
        Self { client, server, now: START, log: String::new(), delivered: [vec![], vec![]], reaction }
    }

    fn end(&mut self, who: Who) -> &mut Endpoint {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    /// Carries segments to and fro until nobody says anything; `lose` decides on each.
    fn carry(&mut self, who: Who, segments: Vec<Segment>, lose: &mut dyn FnMut(Who, &Segment) -> bool) {
        let mut queue: VecDeque<(Who, Segment)> = segments.into_iter().map(|segment| (who, segment)).collect();
        while let Some((from, segment)) = queue.pop_front() {
            let lost = lose(from, &segment);
            self.log += &line(from, &segment, lost);
            if lost {
                continue;
            }
            let tcp = tcp(&segment);
            let length = if segment.data.is_some() { signature::LEN } else { 0 };
            let (to, now, mut out) = (from.other(), self.now, vec![]);
            let reaction = self.end(to).on_segment(&tcp, length, now, &mut out);
            if reaction.delivered {
                self.delivered[usize::from(to == Who::Client)].push(segment.data.unwrap().number);
            }
            self.reaction.established |= reaction.established && to == Who::Client;
            self.reaction.reset |= reaction.reset;
            self.reaction.broken |= reaction.broken;
            queue.extend(out.into_iter().map(|segment| (to, segment)));
        }
    }

    fn act(&mut self, who: Who, act: impl FnOnce(&mut Endpoint, Instant, &mut Vec<Segment>)) {
        self.act_lossy(who, act, &mut |_, _| false);
    }

    fn act_lossy(
        &mut self,
        who: Who,
        act: impl FnOnce(&mut Endpoint, Instant, &mut Vec<Segment>),
        lose: &mut dyn FnMut(Who, &Segment) -> bool,
    ) {
        let (now, mut out) = (self.now, vec![]);
        act(self.end(who), now, &mut out);
        self.carry(who, out, lose);
    }

    fn push(&mut self, who: Who, number: u64) {
        self.act(who, |end, now, out| assert!(end.push(Round { number, intended: now }, now, out)));
    }

    fn opened() -> Self {
        let mut line = Self::new();
        line.act(Who::Client, Endpoint::open);
        line.log.clear();
        line
    }

    /// Lets the earliest timer run out; false if there is none.
    fn fire(&mut self) -> bool {
        let next = [Who::Client, Who::Server].into_iter().filter_map(|who| Some((self.end(who).deadline()?, who)));
        let Some((at, who)) = next.collect::<Vec<_>>().into_iter().min_by_key(|(at, _)| *at) else { return false };
        self.now = at;
        self.act(who, Endpoint::on_timeout);
        true
    }
}

impl Who {
    fn other(self) -> Self {
        if self == Self::Client { Self::Server } else { Self::Client }
    }
}

fn tcp(segment: &Segment) -> Tcp {
    Tcp {
        src_port: 0,
        dst_port: 0,
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        flags: segment.flags,
        window: segment.window,
        payload: 0,
    }
}

fn line(from: Who, segment: &Segment, lost: bool) -> String {
    let names = [(SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, ".")];
    let flags: String = names.iter().filter(|(bit, _)| segment.flags & bit != 0).map(|(_, name)| *name).collect();
    // Relative to the initial numbers.
    let (own, peer) = if from == Who::Client { (0xffff_ffe0, 1_000) } else { (1_000, 0xffff_ffe0u32) };
    let sequence = segment.sequence.wrapping_sub(own);
    let ack = if segment.flags & ACK != 0 { segment.acknowledgement.wrapping_sub(peer) } else { 0 };
    let data = segment.data.map(|round| format!(" round {}", round.number)).unwrap_or_default();
    let (again, lost) = (if segment.attempt > 0 { " again" } else { "" }, if lost { " LOST" } else { "" });
    let arrow = if from == Who::Client { "client>" } else { "server>" };
    format!("{arrow} [{flags}] seq {sequence} ack {ack}{data}{again}{lost}\n")
}

#[test]
fn a_whole_connection() {
    let mut line = Line::new();
    line.act(Who::Client, Endpoint::open);
    line.push(Who::Client, 0);
    line.push(Who::Server, 0);
    line.act(Who::Client, Endpoint::close);
    insta::assert_snapshot!(line.log, @r"
    client> [S] seq 0 ack 0
    server> [S.] seq 0 ack 1
    client> [.] seq 1 ack 1
    client> [P.] seq 1 ack 1 round 0
    server> [.] seq 1 ack 49
    server> [P.] seq 1 ack 49 round 0
    client> [.] seq 49 ack 49
    client> [F.] seq 49 ack 49
    server> [F.] seq 49 ack 50
    client> [.] seq 50 ack 50
    ");
    assert_eq!((line.client.state(), line.server.state()), (State::Done, State::Done));
    assert_eq!(line.delivered, [[0], [0]]);
    assert_eq!((line.client.deadline(), line.server.deadline()), (None, None));
}

#[test]
fn a_server_that_lingers_goes_on_alone_after_the_client_has_closed() {
    let mut line = Line::opened();
    line.server.manner = Manner { lingers: true, ..Manner::default() };
    line.act(Who::Client, Endpoint::close);
    assert_eq!((line.client.state(), line.server.state()), (State::FinWait2, State::CloseWait));
    line.push(Who::Server, 0);
    line.push(Who::Server, 1);
    assert!(!line.client.push(Round { number: 9, intended: START }, START, &mut vec![]), "the client has closed");
    line.act(Who::Server, Endpoint::close);
    insta::assert_snapshot!(line.log, @r"
    client> [F.] seq 1 ack 1
    server> [.] seq 1 ack 2
    server> [P.] seq 1 ack 2 round 0
    client> [.] seq 2 ack 49
    server> [P.] seq 49 ack 2 round 1
    client> [.] seq 2 ack 97
    server> [F.] seq 97 ack 2
    client> [.] seq 2 ack 98
    ");
    assert_eq!((line.client.state(), line.server.state()), (State::Done, State::Done));
    assert_eq!(line.delivered, [vec![], vec![0, 1]]);
}

#[test]
fn a_slow_server_answers_when_it_is_time_and_is_not_hurried() {
    let mut line = Line::new();
    line.server.manner = Manner { hold: Duration::from_millis(500), ..Manner::default() };
    line.act(Who::Client, Endpoint::open);
    assert_eq!(line.server.deadline(), Some(START + Duration::from_millis(500)));
    // The client loses patience after 200 ms, and would again after 400.
    assert!(line.fire());
    assert_eq!(line.server.state(), State::SynReceived);
    assert!(line.fire());
    assert_eq!((line.client.state(), line.server.state()), (State::Established, State::Established));
    insta::assert_snapshot!(line.log, @r"
    client> [S] seq 0 ack 0
    client> [S] seq 0 ack 0 again
    server> [S.] seq 0 ack 1
    client> [.] seq 1 ack 1
    ");
}

#[test]
fn a_lost_request_is_sent_again_with_its_place_in_the_stream_after_200_ms_then_400() {
    let mut line = Line::opened();
    let round = Round { number: 7, intended: START };
    let mut losses = 1;
    line.act_lossy(Who::Client, |end, now, out| assert!(end.push(round, now, out)), &mut |_, _| true);
    assert_eq!(line.client.deadline(), Some(START + RTO));
    let at = line.client.deadline().unwrap();
    line.now = at;
    let mut lose = |_: Who, _: &Segment| std::mem::replace(&mut losses, 0) == 1;
    line.act_lossy(Who::Client, Endpoint::on_timeout, &mut lose);
    assert_eq!(line.client.deadline(), Some(at + 2 * RTO));
    assert!(line.fire());
    insta::assert_snapshot!(line.log, @r"
    client> [P.] seq 1 ack 1 round 7 LOST
    client> [P.] seq 1 ack 1 round 7 again LOST
    client> [P.] seq 1 ack 1 round 7 again
    server> [.] seq 1 ack 49
    ");
    assert_eq!(line.delivered[0], [7]);
    assert_eq!((line.client.retransmitted(), line.client.deadline()), (2, None));
}

#[test]
fn a_lost_acknowledgement_makes_a_duplicate_that_is_delivered_once() {
    let mut line = Line::opened();
    let round = Round { number: 0, intended: START };
    line.act_lossy(Who::Client, |end, now, out| assert!(end.push(round, now, out)), &mut |from, _| from == Who::Server);
    line.fire();
    assert_eq!(line.delivered[0], [0]);
    assert_eq!(line.client.retransmitted(), 1);
    assert!(!line.reaction.broken);
}

#[test]
fn what_comes_behind_a_hole_is_not_acknowledged_until_the_hole_is_filled() {
    let mut line = Line::opened();
    let push = |number| {
        move |end: &mut Endpoint, now: Instant, out: &mut Vec<Segment>| {
            assert!(end.push(Round { number, intended: now }, now, out));
        }
    };
    line.act_lossy(Who::Client, push(0), &mut |_, _| true);
    line.act(Who::Client, push(1));
    assert!(line.delivered[0].is_empty());
    line.fire();
    assert_eq!(line.delivered[0], [0, 1]);
}

#[test]
fn the_handshake_survives_the_loss_of_each_of_its_segments_and_keeps_early_rounds() {
    for lost in 0..3 {
        let mut line = Line::new();
        let mut count = 0;
        let mut lose = |_: Who, _: &Segment| {
            count += 1;
            count == lost + 1
        };
        line.act_lossy(Who::Client, Endpoint::open, &mut lose);
        line.push(Who::Client, 0);
        line.push(Who::Client, 1);
        for _ in 0..3 {
            line.fire();
        }
        assert!(line.reaction.established, "lost {lost}");
        assert_eq!(line.delivered[0], [0, 1], "lost {lost}");
        assert_eq!(line.server.state(), State::Established, "lost {lost}");
    }
}

#[test]
fn the_close_survives_the_loss_of_each_of_its_segments() {
    for lost in 0..3 {
        let mut line = Line::opened();
        line.push(Who::Client, 0);
        let mut count = 0;
        let mut lose = |_: Who, _: &Segment| {
            count += 1;
            count == lost + 1
        };
        line.act_lossy(Who::Client, Endpoint::close, &mut lose);
        for _ in 0..4 {
            line.fire();
        }
        assert_eq!((line.client.state(), line.server.state()), (State::Done, State::Done), "lost {lost}");
        assert!(!line.fire(), "lost {lost}: no timer is left");
    }
}

#[test]
fn a_reset_counts_only_with_the_byte_that_is_expected() {
    let mut line = Line::opened();
    let forged = |sequence| Tcp { sequence, ..tcp(&Segment::refusal(&tcp_of(0), 0)) };
    let mut out = vec![];
    assert!(!line.client.on_segment(&forged(1_005), 0, START, &mut out).reset);
    assert_eq!(line.client.state(), State::Established);
    assert!(line.client.on_segment(&forged(1_001), 0, START, &mut out).reset);
    assert_eq!((line.client.state(), line.client.deadline()), (State::Reset, None));
    assert!(!line.client.push(Round { number: 1, intended: START }, START, &mut out));
    assert!(out.is_empty());
    // What the server still sends is refused, which resets it too.
    line.push(Who::Server, 0);
    assert_eq!(line.server.state(), State::Reset);
}

fn tcp_of(sequence: u32) -> Tcp {
    Tcp { src_port: 0, dst_port: 0, sequence, acknowledgement: 1, flags: ACK, window: 0, payload: 0 }
}

#[test]
fn a_syn_to_nobody_is_refused_and_the_client_takes_it() {
    let mut client = Endpoint::client(5);
    let mut out = vec![];
    client.open(START, &mut out);
    let refusal = Segment::refusal(&tcp(&out[0]), 0);
    assert_eq!((refusal.acknowledgement, refusal.flags), (6, RST | ACK));
    assert!(client.on_segment(&tcp(&refusal), 0, START, &mut out).reset);
    assert_eq!(client.state(), State::Reset);
}

#[test]
fn a_client_that_never_got_an_answer_gives_up_at_its_close() {
    let mut line = Line::new();
    line.act_lossy(Who::Client, Endpoint::open, &mut |_, _| true);
    line.push(Who::Client, 0);
    line.act(Who::Client, Endpoint::close);
    assert_eq!((line.client.state(), line.client.deadline()), (State::Done, None));
}

#[test]
fn payload_that_cannot_be_of_this_stream_breaks_it() {
    for (sequence, length) in [(1_001, 20), (1_001 + 70_000, signature::LEN)] {
        let mut line = Line::opened();
        let arrived = Tcp { acknowledgement: 0xffff_ffe1, ..tcp_of(sequence) };
        assert!(line.client.on_segment(&arrived, length, START, &mut vec![]).broken);
    }
}

#[test]
fn what_acknowledges_bytes_that_were_never_sent_is_answered_and_not_taken() {
    let mut line = Line::opened();
    let mut out = vec![];
    let arrived = Tcp { acknowledgement: 0xffff_ffe2, ..tcp_of(1_001) };
    assert_eq!(line.client.on_segment(&arrived, signature::LEN, START, &mut out), Reaction::default());
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].flags, out[0].acknowledgement), (ACK, 1_001));
}

#[test]
fn rounds_on_their_way_are_bounded() {
    let mut line = Line::opened();
    let mut out = vec![];
    let taken = (0..100).filter(|&number| line.client.push(Round { number, intended: START }, START, &mut out)).count();
    assert_eq!(taken, OUTSTANDING);
    out.clear();
    line.client.on_timeout(START + RTO, &mut out);
    assert_eq!(out.len(), BURST);
}

proptest::proptest! {
    #[test]
    fn whatever_is_lost_the_stream_arrives_whole_and_in_order(losses: u128, rounds in 1u64..12) {
        let mut line = Line::new();
        let mut bits = losses;
        // At most 128 segments can be lost; then everything passes.
        let mut lose = |_: Who, _: &Segment| {
            let lost = bits & 1 == 1;
            bits >>= 1;
            lost
        };
        line.act_lossy(Who::Client, Endpoint::open, &mut lose);
        for number in 0..rounds {
            let round = Round { number, intended: START };
            line.act_lossy(Who::Client, |end, now, out| { end.push(round, now, out); }, &mut lose);
        }
        for _ in 0..200 {
            if line.client.state() == State::Established && line.client.deadline().is_none() {
                break;
            }
            let (now, who) = match (line.client.deadline(), line.server.deadline()) {
                (Some(client), Some(server)) if server < client => (server, Who::Server),
                (Some(client), _) => (client, Who::Client),
                (None, Some(server)) => (server, Who::Server),
                (None, None) => break,
            };
            line.now = now;
            line.act_lossy(who, Endpoint::on_timeout, &mut lose);
        }
        proptest::prop_assert_eq!(&line.delivered[0], &(0..rounds).collect::<Vec<_>>());
        line.act_lossy(Who::Client, Endpoint::close, &mut |_, _| false);
        proptest::prop_assert_eq!(line.client.state(), State::Done);
    }
}
