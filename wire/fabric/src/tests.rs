use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use scalebed_cable::{Burst, Direction, Fate, Line, Rate, Reorder};
use scalebed_engine::{Command, Engine, Frame, Input, Instant, NodeEvent, Output, PortIndex, replay};

use crate::{Fabric, Keep, Ledger, NodeIndex, Process, Rules, Settings};

const P0: PortIndex = PortIndex(0);

type Log = Rc<RefCell<Vec<String>>>;

/// Sends a numbered frame on port 0 each interval, and writes down all that happens to it.
struct Ticker {
    log: Log,
    interval: Option<Duration>,
    next: Instant,
    sent: u16,
    outputs: VecDeque<Output>,
}

impl Ticker {
    fn new(interval: Option<Duration>) -> (Box<Self>, Log) {
        let log = Log::default();
        let next = Instant(0);
        (Box::new(Self { log: log.clone(), interval, next, sent: 0, outputs: VecDeque::new() }), log)
    }

    fn numbered(number: u16) -> Frame {
        let mut bytes = vec![0; 60];
        bytes[12..14].copy_from_slice(&[0x88, 0xb6]);
        bytes[14..16].copy_from_slice(&number.to_be_bytes());
        Frame(bytes)
    }
}

impl Engine for Ticker {
    fn handle(&mut self, input: Input, now: Instant) {
        let line = match &input {
            Input::Frame { port, frame, received } => {
                format!("{now} frame {} on {} of {received}", frame.bytes()[15], port.0)
            }
            Input::Link { port, up, changes } => format!("{now} link {} {up} {changes}", port.0),
            Input::Command(command) => format!("{now} {command:?}"),
            Input::Timeout => format!("{now} timeout"),
        };
        self.log.borrow_mut().push(line);
        if let Some(interval) = self.interval
            && matches!(input, Input::Timeout)
        {
            self.outputs.push_back(Output::Transmit { port: P0, frame: Self::numbered(self.sent) });
            self.sent += 1;
            self.next = now + interval;
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Idle(self.interval.map(|_| self.next)))
    }
}

struct Bench {
    fabric: Fabric,
    sender: NodeIndex,
    receiver: NodeIndex,
    log: Log,
}

/// The ledger of a cable that only end a put something into.
fn to_b(put_in_a: u64, got_out_b: u64) -> Ledger {
    Ledger { put_in_a, got_out_b, ..Ledger::default() }
}

/// A sender that ticks each millisecond, cabled to a receiver.
fn bench(settings: Settings) -> Bench {
    let mut fabric = Fabric::new(7);
    let sender = fabric.add("tick", Ticker::new(Some(Duration::from_millis(1))).0, 1);
    let (engine, log) = Ticker::new(None);
    let receiver = fabric.add("listen", engine, 1);
    fabric.connect_with((sender, P0), (receiver, P0), settings);
    Bench { fabric, sender, receiver, log }
}

impl Bench {
    fn started(settings: Settings) -> Self {
        let mut bench = bench(settings);
        bench.fabric.start(bench.receiver);
        bench.fabric.start(bench.sender);
        bench
    }

    fn run_to_us(&mut self, us: u64) {
        self.fabric.run_until(Instant(us * 1_000));
    }

    fn take_log(&self) -> String {
        self.log.take().join("\n")
    }
}

#[test]
fn a_node_is_told_its_links_then_a_timeout_then_frames_after_the_delay() {
    let mut bench = Bench::started(Settings::default());
    bench.run_to_us(2_500);
    insta::assert_snapshot!(bench.take_log(), @r"
    0.000000 link 0 true 1
    0.000000 timeout
    0.000010 frame 0 on 0 of 0.000010
    0.001010 frame 1 on 0 of 0.001010
    0.002010 frame 2 on 0 of 0.002010
    ");
    assert_eq!(bench.fabric.now(), Instant(2_500_000));
}

#[test]
fn nothing_moves_before_its_start() {
    let mut bench = bench(Settings::default());
    bench.run_to_us(5_000);
    assert_eq!(bench.take_log(), "");
    bench.fabric.start(bench.sender);
    bench.run_to_us(6_500);
    assert_eq!(bench.fabric.losses(bench.receiver).vanished, 2);
}

#[test]
fn a_cut_cable_takes_the_carrier_of_both_ends_and_what_is_sent_is_not_put_in() {
    let mut bench = Bench::started(Settings::default());
    let cable = crate::CableIndex(0);
    bench.run_to_us(500);
    bench.fabric.cut(cable);
    bench.fabric.cut(cable);
    bench.run_to_us(2_500);
    bench.fabric.mend(cable);
    bench.run_to_us(3_500);
    insta::assert_snapshot!(bench.take_log(), @r"
    0.000000 link 0 true 1
    0.000000 timeout
    0.000010 frame 0 on 0 of 0.000010
    0.000500 link 0 false 2
    0.002500 link 0 true 3
    0.003010 frame 3 on 0 of 0.003010
    ");
    assert_eq!(bench.fabric.ledger(cable), to_b(2, 2));
    assert_eq!(bench.fabric.losses(bench.sender).unsent, 2);
}

#[test]
fn killed_keeps_its_carrier_powered_off_does_not_and_a_restart_brings_it_back() {
    let mut bench = Bench::started(Settings::default());
    let cable = crate::CableIndex(0);
    bench.fabric.kill(bench.receiver);
    bench.run_to_us(1_500);
    assert!(bench.fabric.carrier(cable));
    assert_eq!(bench.fabric.ledger(cable), to_b(2, 2));
    assert_eq!(bench.fabric.losses(bench.receiver).vanished, 2);

    bench.fabric.power_off(bench.receiver);
    bench.run_to_us(2_500);
    assert!(!bench.fabric.carrier(cable));
    assert_eq!(bench.fabric.losses(bench.sender).unsent, 1);

    let (engine, log) = Ticker::new(None);
    bench.fabric.restart(bench.receiver, engine);
    bench.run_to_us(3_500);
    bench.log = log;
    // Told once of the carrier, though it came up at the very instant of the start.
    insta::assert_snapshot!(bench.take_log(), @r"
    0.002500 link 0 true 3
    0.002500 timeout
    0.003010 frame 3 on 0 of 0.003010
    ");
}

#[test]
fn a_woken_node_sees_its_gap_first_then_carrier_then_its_backlog_with_old_stamps() {
    let mut bench = Bench::started(Settings::default());
    // Here the receiver ticks too, so that a deadline passes while it hangs.
    let (engine, log) = Ticker::new(Some(Duration::from_micros(700)));
    bench.fabric.restart(bench.receiver, engine);
    bench.run_to_us(100);
    bench.log = log;
    bench.take_log();
    bench.fabric.hang(bench.receiver);
    assert_eq!(bench.fabric.process(bench.receiver), Process::Hung);
    bench.run_to_us(1_500);
    bench.fabric.set_port(bench.sender, P0, false);
    bench.run_to_us(1_600);
    bench.fabric.set_port(bench.sender, P0, true);
    bench.run_to_us(1_700);
    bench.fabric.command(bench.receiver, Command::Drain);
    bench.run_to_us(2_600);
    assert_eq!(bench.take_log(), "");
    bench.fabric.wake(bench.receiver);
    bench.run_to_us(3_500);
    insta::assert_snapshot!(bench.take_log(), @r"
    0.002600 timeout
    0.002600 link 0 true 3
    0.002600 frame 1 on 0 of 0.001010
    0.002600 Drain
    0.002600 frame 2 on 0 of 0.002010
    0.003010 frame 3 on 0 of 0.003010
    0.003300 timeout
    ");
}

#[test]
fn a_hung_nodes_backlog_is_bounded() {
    let mut bench = Bench::started(Settings::default());
    bench.fabric.hang(bench.receiver);
    for _ in 0..5_000 {
        let frame = Input::Frame { port: P0, frame: Frame::default(), received: Instant(0) };
        bench.fabric.inject(bench.receiver, frame);
    }
    assert_eq!(bench.fabric.losses(bench.receiver).overflowed, 5_000 - 4_096);
    bench.fabric.kill(bench.receiver);
    assert_eq!(bench.fabric.losses(bench.receiver).vanished, 4_096);
}

/// Wants to be woken 5 ms after the last input, or 1 ms after a command.
struct Quiet(Instant, Log);

impl Engine for Quiet {
    fn handle(&mut self, input: Input, now: Instant) {
        if matches!(input, Input::Timeout) {
            self.1.borrow_mut().push(now.to_string());
        }
        let quiet = if matches!(input, Input::Command(_)) { 1 } else { 5 };
        self.0 = now + Duration::from_millis(quiet);
    }

    fn poll(&mut self) -> Output {
        Output::Idle(Some(self.0))
    }
}

#[test]
fn a_deadline_that_moves_with_every_input_fires_once_and_on_time() {
    let mut bench = bench(Settings::default());
    let log = Log::default();
    bench.fabric.restart(bench.receiver, Box::new(Quiet(Instant(0), log.clone())));
    bench.fabric.start(bench.sender);
    bench.run_to_us(20_500);
    bench.fabric.kill(bench.sender);
    bench.run_to_us(26_000);
    assert_eq!(log.take(), ["0.000000", "0.025010"]);
    // An earlier one takes the place of a later one.
    bench.fabric.command(bench.receiver, Command::Drain);
    bench.run_to_us(31_000);
    assert_eq!(log.take(), ["0.027000"]);
}

#[test]
fn a_deadline_that_lies_ahead_when_a_node_wakes_still_fires() {
    let mut bench = bench(Settings::default());
    let log = Log::default();
    bench.fabric.restart(bench.receiver, Box::new(Quiet(Instant(0), log.clone())));
    bench.run_to_us(4_000);
    // From 5 ms to 9 ms: the wake-up that is planned for 5 ms comes while it hangs.
    bench.fabric.inject(bench.receiver, Input::Frame { port: P0, frame: Frame::default(), received: Instant(0) });
    bench.fabric.hang(bench.receiver);
    bench.run_to_us(6_000);
    bench.fabric.wake(bench.receiver);
    bench.run_to_us(13_000);
    assert_eq!(log.take(), ["0.000000", "0.009000"]);
}

#[test]
fn a_frame_on_its_way_comes_out_and_vanishes_if_its_port_went_down() {
    let mut bench = Bench::started(Settings::default());
    bench.run_to_us(1_005);
    bench.fabric.set_port(bench.receiver, P0, false);
    bench.run_to_us(1_500);
    assert_eq!(bench.fabric.ledger(crate::CableIndex(0)), to_b(2, 2));
    assert_eq!(bench.fabric.losses(bench.receiver).vanished, 1);
    assert!(!bench.take_log().contains("frame 1"));
}

#[test]
fn frames_of_one_instant_keep_their_order() {
    /// Sends a hundred numbered frames at its start.
    struct Volley(u16);
    impl Engine for Volley {
        fn handle(&mut self, input: Input, _: Instant) {
            self.0 = if matches!(input, Input::Timeout) { 0 } else { 100 };
        }
        fn poll(&mut self) -> Output {
            if self.0 == 100 {
                return Output::Idle(None);
            }
            self.0 += 1;
            Output::Transmit { port: P0, frame: Ticker::numbered(self.0 - 1) }
        }
    }
    let mut bench = bench(Settings::default());
    let numbers = Rc::new(RefCell::new(Vec::new()));
    let tap = numbers.clone();
    bench.fabric.on_deliver(Box::new(move |_, _, _, frame| tap.borrow_mut().push(frame.bytes()[15])));
    bench.fabric.restart(bench.sender, Box::new(Volley(100)));
    bench.run_to_us(10);
    assert_eq!(numbers.take(), (0..100).collect::<Vec<u8>>());
}

#[test]
fn the_transcript_shows_what_came_out_and_what_was_lost() {
    let mut bench = Bench::started(Settings { to_b: Rules::cut(), ..Settings::default() });
    bench.fabric.keep(Keep { transcript: true, ..Keep::default() });
    bench.run_to_us(1_500);
    bench.fabric.set_cable(crate::CableIndex(0), Settings::default());
    bench.run_to_us(2_500);
    let heads: Vec<String> = (bench.fabric.take_transcript().lines())
        .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .map(|head| if head.ends_with("lost:") { head } else { head.rsplit_once(' ').unwrap().0.to_owned() })
        .collect();
    assert_eq!(heads, ["0.001000 tick:0>listen:0 lost:", "0.002010 tick:0>listen:0"]);
    assert_eq!(bench.fabric.transcript(), "");
}

#[test]
fn losses_on_a_cable_are_those_that_its_rule_decides() {
    let settings = Settings::both_ways(Rules::loss(300_000));
    let mut bench = Bench::started(settings);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let tap = seen.clone();
    bench.fabric.on_deliver(Box::new(move |at, cable, at_b, frame| {
        assert!(at_b && cable.0 == 0);
        tap.borrow_mut().push((at, u64::from(frame.bytes()[15])));
    }));
    bench.run_to_us(200_500);
    let mut line = Line::new(7, 0, Direction::ToB);
    let expected: Vec<_> = (0..=200)
        .filter(|_| matches!(line.offer(&settings.to_b, 0, 60), Fate::Passes { .. }))
        .map(|index| (Instant(index * 1_000_000 + 10_000), index))
        .collect();
    assert_eq!(seen.take(), expected);
    let came = expected.len() as u64;
    assert_eq!(bench.fabric.ledger(crate::CableIndex(0)), Ledger { lost_to_b: 201 - came, ..to_b(201, came) });
}

/// Everything that a cable can do at once: what comes out, and when, is what its line decides, and the ledger closes.
#[test]
fn a_cable_that_does_everything_does_what_its_line_decides() {
    let rules = Rules {
        loss: 50_000,
        burst: Some(Burst { enter: 50_000, leave: 300_000 }),
        rate: Some(Rate { bits_per_second: 2_000_000, queue_bytes: 300 }),
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        reorder: Reorder { per_million: 100_000, by: Duration::from_millis(3) },
        duplicate: 100_000,
        ..Rules::default()
    };
    let mut bench = Bench::started(Settings { to_b: rules, ..Settings::default() });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let tap = seen.clone();
    bench.fabric.on_deliver(Box::new(move |at, _, _, frame| {
        tap.borrow_mut().push((at, u64::from(frame.bytes()[15]), frame.bytes().len()));
    }));
    bench.run_to_us(250_500);
    let length = seen.borrow()[0].2;
    let mut line = Line::new(7, 0, Direction::ToB);
    let (mut lost, mut expected) = (0, Vec::new());
    for index in 0..=250 {
        let now = index * 1_000_000;
        match line.offer(&rules, now, length) {
            Fate::Lost(_) => lost += 1,
            Fate::Passes { after, twice, .. } => {
                (0..=u8::from(twice)).for_each(|_| expected.push((Instant(now) + after, index, length)));
            }
        }
    }
    let ledger = bench.fabric.ledger(crate::CableIndex(0));
    let all = ledger.put_in_a + ledger.doubled_to_b - ledger.lost_to_b;
    assert_eq!((ledger.put_in_a, ledger.lost_to_b), (251, lost));
    assert_eq!(all, expected.len() as u64);
    // The last few are on their way.
    expected.sort();
    expected.retain(|(at, ..)| at.0 <= 250_500_000);
    let mut seen = seen.take();
    seen.sort();
    assert_eq!(seen, expected);
    assert_eq!(ledger.got_out_b, expected.len() as u64);
}

#[test]
fn same_seed_same_outputs_and_a_journal_gives_them_again() {
    let run = |loss| {
        let mut bench = bench(Settings::both_ways(Rules::loss(loss)));
        bench.fabric.keep(Keep { outputs: true, journals: true, ..Keep::default() });
        bench.fabric.start(bench.receiver);
        bench.fabric.start(bench.sender);
        bench.run_to_us(50_500);
        bench
    };
    let (once, again, other) = (run(500_000), run(500_000), run(0));
    assert_eq!(once.fabric.outputs_digest(), again.fabric.outputs_digest());
    assert_eq!(once.fabric.journal(once.receiver), again.fabric.journal(again.receiver));
    assert_ne!(once.fabric.outputs_digest(), other.fabric.outputs_digest());
    let (mut fresh, _) = Ticker::new(Some(Duration::from_millis(1)));
    assert_eq!(replay(&mut *fresh, once.fabric.journal(once.sender)), once.fabric.outputs(once.sender));
    // A new life has a journal of its own.
    let mut bench = once;
    bench.fabric.restart(bench.sender, fresh);
    assert_eq!(bench.fabric.journal(bench.sender).len(), 2);
}

#[test]
fn ports_and_events_of_engines() {
    /// Says that it is ready and takes its own port down.
    struct Leaver(VecDeque<Output>);
    impl Engine for Leaver {
        fn handle(&mut self, input: Input, _: Instant) {
            if matches!(input, Input::Timeout) {
                self.0.extend([Output::Event(NodeEvent::Ready), Output::SetPort { port: P0, up: false }]);
            }
        }
        fn poll(&mut self) -> Output {
            self.0.pop_front().unwrap_or(Output::Idle(None))
        }
    }
    let mut bench = bench(Settings::default());
    bench.fabric.start(bench.receiver);
    bench.take_log();
    bench.fabric.restart(bench.sender, Box::new(Leaver(VecDeque::new())));
    while bench.fabric.step() {}
    assert_eq!(bench.take_log(), "0.000000 link 0 false 2");
    assert_eq!(bench.fabric.take_events(), [(Instant(0), bench.sender, NodeEvent::Ready)]);
    assert_eq!(bench.fabric.events(), []);
}

#[test]
#[should_panic(expected = "endless made 1000000 outputs without an Idle")]
fn an_engine_that_never_idles_is_named() {
    struct Endless;
    impl Engine for Endless {
        fn handle(&mut self, _: Input, _: Instant) {}
        fn poll(&mut self) -> Output {
            Output::SetPort { port: P0, up: true }
        }
    }
    let mut fabric = Fabric::new(0);
    let node = fabric.add("endless", Box::new(Endless), 1);
    fabric.start(node);
}

#[test]
#[should_panic(expected = "spinner asked for 100000 timeouts at 0.000000")]
fn an_engine_that_spins_is_named() {
    struct Spinner;
    impl Engine for Spinner {
        fn handle(&mut self, _: Input, _: Instant) {}
        fn poll(&mut self) -> Output {
            Output::Idle(Some(Instant(0)))
        }
    }
    let mut fabric = Fabric::new(0);
    let node = fabric.add("spinner", Box::new(Spinner), 0);
    fabric.start(node);
    fabric.run_until(Instant(1));
}

#[test]
fn the_digest_of_outputs_covers_every_byte_and_field() {
    let digest = |output: &Output| {
        let mut record = crate::record::OutputRecord::default();
        record.take_in(output, false);
        record.digest()
    };
    let transmit = |port, bytes: &[u8]| Output::Transmit { port: PortIndex(port), frame: Frame(bytes.to_vec()) };
    let all = [
        transmit(0, &[1, 2]),
        transmit(0, &[1, 3]),
        transmit(1, &[1, 2]),
        transmit(0, &[]),
        Output::Idle(None),
        Output::Idle(Some(Instant(5))),
        Output::Event(NodeEvent::Ready),
        Output::SetPort { port: P0, up: true },
    ];
    let digests: std::collections::BTreeSet<u64> = all.iter().map(digest).collect();
    assert_eq!(digests.len(), all.len());
}
