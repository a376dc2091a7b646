use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use scalebed_cable::{Rate, Reorder, Rules};
use scalebed_fabric::{Fabric, NodeIndex};

use super::*;

const MS: u64 = 1_000_000;
const P: [PortIndex; 2] = [PortIndex(0), PortIndex(1)];

/// Sends a numbered frame of 100 bytes each millisecond, and keeps what it sees of its carrier.
struct Ticker {
    next: Option<Instant>,
    number: u32,
    outputs: VecDeque<Output>,
    carrier: Rc<RefCell<Vec<bool>>>,
}

impl Engine for Ticker {
    fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Link { up, .. } => self.carrier.borrow_mut().push(up),
            Input::Timeout if self.next.is_some() => {
                let mut frame = vec![2; 100];
                frame[96..].copy_from_slice(&self.number.to_be_bytes());
                self.number += 1;
                self.outputs.push_back(Output::Transmit { port: P[0], frame: Frame(frame) });
                self.next = Some(now + Duration::from_millis(1));
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Idle(self.next))
    }
}

type Seen = Rc<RefCell<Vec<(u64, u32, usize)>>>;

struct Bench {
    fabric: Fabric,
    ends: [NodeIndex; 2],
    wire: NodeIndex,
    /// What end b got: when, which, how many bits of it were ones.
    seen: Seen,
    carriers: [Rc<RefCell<Vec<bool>>>; 2],
}

/// Ticker a, the wire with these settings, a listener b.
fn bench(settings: Settings) -> Bench {
    let mut fabric = Fabric::new(1);
    let carriers = [Rc::default(), Rc::default()];
    let ends = [(Some(Instant(0)), "a"), (None, "b")].map(|(next, name)| {
        let carrier = Rc::clone(&carriers[usize::from(name == "b")]);
        fabric.add(name, Box::new(Ticker { next, number: 0, outputs: VecDeque::new(), carrier }), 1)
    });
    let through = Through { cable: 3, a: "a".to_owned(), b: "b".to_owned(), settings };
    let config = Config { name: "wires".to_owned(), seed: 7, cables: vec![through] };
    assert_eq!(config.interfaces(), ["a", "b"]);
    let wire = fabric.add("wire", Box::new(Wire::new(config)), 2);
    fabric.connect((ends[0], P[0]), (wire, P[0]));
    let far = fabric.connect((wire, P[1]), (ends[1], P[0]));
    let seen: Seen = Rc::default();
    let tap = Rc::clone(&seen);
    fabric.on_deliver(Box::new(move |at, cable, at_b, frame| {
        if cable == far && at_b {
            let number = u32::from_be_bytes(frame.bytes()[96..100].try_into().expect("four bytes"));
            let ones = frame.bytes().iter().map(|byte| byte.count_ones() as usize).sum();
            tap.borrow_mut().push((at.0, number, ones));
        }
    }));
    [wire, ends[1], ends[0]].into_iter().for_each(|node| fabric.start(node));
    Bench { fabric, ends, wire, seen, carriers }
}

impl Bench {
    fn run_to_ms(&mut self, ms: u64) {
        self.fabric.run_until(Instant(ms * MS + MS / 2));
    }

    fn status(&mut self) -> Status {
        self.fabric.take_events();
        self.fabric.command(self.wire, Command::Status { id: 1 });
        let told = self.fabric.take_events().into_iter().find_map(|(_, _, event)| match event {
            NodeEvent::Status(status) => Some(*status),
            _ => None,
        });
        told.expect("an answer")
    }
}

/// When and which by the line alone: frames are put in at each ms and are here 10 us later.
fn expected(rules: &Rules, ms: u64) -> (Vec<(u64, u32)>, u64) {
    let mut line = Line::new(7, 3, Direction::ToB);
    let (mut out, mut lost) = (Vec::new(), 0);
    for number in 0..=u32::try_from(ms).expect("few") {
        let here = u64::from(number) * MS + 10_000;
        match line.offer(rules, here, 100) {
            Fate::Lost(_) => lost += 1,
            Fate::Passes { after, twice, .. } => {
                let at = here + u64::try_from(after.as_nanos()).expect("short") + 10_000;
                (0..=u8::from(twice)).for_each(|_| out.push((at, number)));
            }
        }
    }
    out.sort_unstable();
    (out, lost)
}

#[test]
fn a_plain_wire_passes_everything_in_order() {
    let mut bench = bench(Settings::default());
    bench.run_to_ms(20);
    let seen: Vec<u32> = bench.seen.take().into_iter().map(|(_, number, _)| number).collect();
    assert_eq!(seen, (0..=20).collect::<Vec<u32>>());
    let status = bench.status();
    assert_eq!((status.counters["3.to-b.offered"], status.counters["3.to-b.sent"]), (21, 21));
    assert_eq!(status.drops.values().sum::<u64>(), 0);
}

#[test]
fn settings_change_on_the_way_and_nonsense_is_counted() {
    let mut bench = bench(Settings::default());
    bench.run_to_ms(4);
    let change: Vec<Change> = vec![(3, Settings::both_ways(Rules::cut())), (9, Settings::default())];
    let json = serde_json::to_string(&change).expect("JSON");
    bench.fabric.command(bench.wire, Command::Configure(json));
    bench.run_to_ms(9);
    bench.fabric.command(bench.wire, Command::Configure("nonsense".to_owned()));
    let status = bench.status();
    assert_eq!((status.drops["3.to-b.cut"], status.counters["3.to-b.sent"], status.counters["refused"]), (5, 5, 2));
    assert_eq!(status.counters["configured"], 9_500_000, "when it was told something last");
}

#[test]
fn a_flipped_bit_is_counted() {
    let rules = Rules { corrupt: 200_000, ..Rules::default() };
    let mut bench = bench(Settings { to_b: rules, ..Settings::default() });
    bench.run_to_ms(500);
    // Nothing is lost or overtaken: the place tells the number, even of a frame whose number was hit.
    let altered = (0u32..)
        .zip(bench.seen.take())
        .filter(|(place, (_, number, ones))| (number, *ones) != (place, 96 + place.count_ones() as usize));
    let altered = altered.count() as u64;
    assert_eq!(bench.status().counters["3.to-b.corrupt"], altered);
    assert!((60..140).contains(&altered), "{altered}");
}

#[test]
fn a_carrier_that_goes_at_one_end_goes_at_the_other_and_comes_back() {
    let mut bench = bench(Settings::both_ways(Rules { delay: Duration::from_millis(3), ..Rules::default() }));
    bench.run_to_ms(10);
    let last = |bench: &Bench, end: usize| *bench.carriers[end].borrow().last().expect("told");
    assert!(last(&bench, 0) && last(&bench, 1));
    bench.fabric.power_off(bench.ends[1]);
    bench.run_to_ms(20);
    assert!(!last(&bench, 0), "a sees that b is off");
    // The three that were on their way, and nothing was put in since.
    let status = bench.status();
    assert_eq!(status.drops["3.to-b.carrier"], 3);
    assert_eq!(status.counters["3.to-b.offered"], 11);
    // Now a goes too; b alone comes back: no carrier anywhere, and no deadlock.
    bench.fabric.power_off(bench.ends[0]);
    bench.run_to_ms(30);
    let listener = |carrier: &Rc<RefCell<Vec<bool>>>| {
        Box::new(Ticker { next: None, number: 0, outputs: VecDeque::new(), carrier: Rc::clone(carrier) })
    };
    let back = listener(&bench.carriers[1]);
    bench.fabric.restart(bench.ends[1], back);
    bench.run_to_ms(40);
    assert!(!last(&bench, 1), "a is off");
    let back = listener(&bench.carriers[0]);
    bench.fabric.restart(bench.ends[0], back);
    bench.run_to_ms(60);
    assert!(last(&bench, 0) && last(&bench, 1), "both are on: {:?}", bench.carriers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the rules: what comes out, and when, is what the line decides, as if the cable did it itself.
    #[test]
    fn the_wire_does_what_the_line_decides(
        loss in 0u32..300_000, duplicate in 0u32..300_000, delay in 0u64..20, jitter in 0u64..10,
        held in 0u32..300_000, by in 1u64..10, rate in proptest::option::of(200_000u64..2_000_000),
    ) {
        let rules = Rules {
            loss,
            duplicate,
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            reorder: Reorder { per_million: held, by: Duration::from_millis(by) },
            rate: rate.map(|bits_per_second| Rate { bits_per_second, queue_bytes: 1_000 }),
            ..Rules::default()
        };
        let mut bench = bench(Settings { to_b: rules, ..Settings::default() });
        bench.run_to_ms(200);
        let (mut expected, lost) = expected(&rules, 200);
        let doubled = expected.windows(2).filter(|pair| pair[0].1 == pair[1].1).count() as u64;
        let all = expected.len() as u64;
        expected.retain(|(at, _)| *at <= 200 * MS + MS / 2);
        let mut seen: Vec<(u64, u32)> = bench.seen.take().into_iter().map(|(at, number, _)| (at, number)).collect();
        prop_assert!(seen.is_sorted_by_key(|(at, _)| *at));
        seen.sort_unstable();
        prop_assert_eq!(seen, expected);
        let status = bench.status();
        prop_assert_eq!(status.drops.values().sum::<u64>(), lost);
        prop_assert_eq!(status.counters["3.to-b.doubled"], doubled);
        prop_assert_eq!(status.counters["waiting"] + status.counters["3.to-b.sent"], all);
    }
}
