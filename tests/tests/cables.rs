//! Impaired cables in namespaces: what comes out, and when, is what the rules say, frame by frame, as in virtual time.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use scalebed_cable::{Direction, Fate, Line, Reorder, Rules, Settings};
use scalebed_harness::driver::{self, bent};
use scalebed_harness::files;
use scalebed_harness::world::World as _;
use scalebed_harness::world::netns::{Netns, Places};
use scalebed_harness::world::sim::Sim;
use scalebed_port::{FrameBatch, PacketPort, Port as _, clock};
use scalebed_record::{Fact, Outcome};
use scalebed_tests::{needs_root, programs};
use scalebed_topologies::fault::{Fault, Kind};
use scalebed_topologies::scenario::{Action, CableFault};
use scalebed_topologies::{Lab, Scenario};

const CABLE: &str = "mho1--sgm-1-01";
const SEED: u64 = 7;
const LENGTH: usize = 200;
/// Between batches of 16: 32,000 frames a second.
const PACE: Duration = Duration::from_micros(500);
const BATCH: u32 = 16;
/// A frame that does not come within this does not come.
const LONGEST: Duration = Duration::from_millis(200);

/// A lab without a node process: both ends of one cable are ours.
struct Bench {
    world: Netns,
    cable: usize,
    ends: [PacketPort; 2],
    sent: u32,
}

/// A frame that came out: its number, ns from when it was sent to when the kernel got it, and whether it is as it was.
type Came = (u32, u64, bool);

impl Bench {
    fn new(folder: &Path) -> Self {
        let loaded = files::scenario("maestro/steady").expect("a shipped scenario");
        let cable = loaded.lab.cables.iter().position(|cable| cable.name == CABLE).expect("a downlink");
        let programs = programs();
        let places = Places { bent: BTreeSet::from([cable]), seed: SEED, ..Places::of(folder, &programs) };
        let world = Netns::build(&loaded.lab, &places, None).expect("a lab");
        let ends = [loaded.lab.cables[cable].a, loaded.lab.cables[cable].b].map(|end| {
            let node = &loaded.lab.nodes[usize::from(end.node)];
            let ns = world.namespace(&node.name).expect("a namespace");
            let port = &node.ports[usize::from(end.port)].name;
            world.sandbox().set_up(ns, port, true).expect("up");
            world.sandbox().run_in(ns, || PacketPort::open(port)).expect("inside").expect("a port")
        });
        Self { world, cable, ends, sent: 0 }
    }

    fn set(&mut self, settings: Settings) {
        self.world.set_cable(self.cable, settings).expect("settings");
    }

    /// Sends so many numbered frames from end a (or b), and gives what came out at the other.
    fn send(&mut self, from: usize, count: u32) -> Vec<Came> {
        let [a, b] = &mut self.ends;
        let (near, far) = if from == 0 { (a, b) } else { (b, a) };
        let (mut out, mut into, mut came) = (FrameBatch::new(), FrameBatch::new(), Vec::new());
        let mut receive = |far: &mut PacketPort| {
            far.recv(&mut into).expect("received");
            let is_ours = |bytes: &[u8]| bytes.len() == LENGTH && bytes.get(14..18) == Some(b"ours");
            for slot in into.frames().filter(|slot| is_ours(slot.bytes())) {
                let number = |range: std::ops::Range<usize>| {
                    slot.bytes()[range].iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte))
                };
                let number_of_it = u32::try_from(number(18..22)).expect("four bytes");
                let whole = slot.bytes()[30..].iter().all(|byte| *byte == 0x5a);
                came.push((number_of_it, slot.received.0.saturating_sub(number(22..30)), whole));
            }
        };
        let mut next = clock::monotonic();
        let end = self.sent + count;
        while self.sent < end {
            let now = clock::monotonic();
            if now >= next {
                for number in self.sent..end.min(self.sent + BATCH) {
                    assert!(out.push(&frame(number, clock::monotonic().0)), "fewer than a batch");
                }
                self.sent = end.min(self.sent + BATCH);
                near.send(&mut out).expect("sent");
                next = now + PACE;
            }
            receive(far);
        }
        let deadline = clock::monotonic() + LONGEST;
        while clock::monotonic() < deadline {
            receive(far);
        }
        assert_eq!((near.unsent(), far.dropped().expect("counted")), (0, 0), "the tester keeps up");
        came
    }
}

fn frame(number: u32, now: u64) -> [u8; LENGTH] {
    let mut frame = [0x5a; LENGTH];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x88b6_u16.to_be_bytes());
    frame[14..18].copy_from_slice(b"ours");
    frame[18..22].copy_from_slice(&number.to_be_bytes());
    frame[22..30].copy_from_slice(&now.to_be_bytes());
    frame
}

fn median(came: &[Came]) -> f64 {
    let mut delays: Vec<u64> = came.iter().map(|(_, delay, _)| *delay).collect();
    delays.sort_unstable();
    delays[delays.len() / 2] as f64 / 1e6
}

/// What the line says of frames `from..to` of end a, and how many of them go through altered.
fn told(rules: &Rules, line: &mut Line, from: u32, to: u32) -> (Vec<u32>, usize) {
    let (mut out, mut altered) = (Vec::new(), 0);
    for number in from..to {
        if let Fate::Passes { twice, corrupt, .. } = line.offer(rules, 0, LENGTH) {
            (0..=u8::from(twice)).for_each(|_| out.push(number));
            altered += usize::from(corrupt.is_some()) * (1 + usize::from(twice));
        }
    }
    (out, altered)
}

#[test]
fn netns_a_cable_loses_doubles_and_alters_the_very_frames_that_its_line_says() {
    const COUNT: u32 = 20_000;
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut bench = Bench::new(place.path());
    let mut line = Line::new(SEED, bench.cable as u64, Direction::ToB);
    let rules = Rules { loss: 10_000, duplicate: 20_000, ..Rules::default() };
    bench.set(Settings { to_b: rules, ..Settings::default() });
    let came: Vec<u32> = bench.send(0, COUNT).into_iter().map(|(number, ..)| number).collect();
    let (expected, _) = told(&rules, &mut line, 0, COUNT);
    assert_eq!(came, expected, "the same frames as in virtual time, in order");
    // 99 % of a binomial of 20,000 at 1 %: 200 +- 36.
    let lost = COUNT as usize - came.iter().collect::<BTreeSet<_>>().len();
    println!("1 % of {COUNT}: {lost} lost; {} came twice", came.len() + lost - COUNT as usize);
    assert!((164..=236).contains(&lost), "{lost}");
    // Corruption: a frame whose head was hit is not counted as ours, so what is left tells.
    let rules = Rules { corrupt: 100_000, ..Rules::default() };
    bench.set(Settings { to_b: rules, ..Settings::default() });
    let came = bench.send(0, COUNT);
    let (expected, altered) = told(&rules, &mut line, COUNT, 2 * COUNT);
    let not_ours = expected.len() - came.len();
    let seen = came.iter().filter(|(_, _, whole)| !whole).count();
    println!("{altered} altered: {seen} seen by their bodies, {not_ours} no longer known as ours");
    assert!(seen + not_ours <= altered && seen * 10 >= altered * 8, "{seen} and {not_ours} of {altered}");
    // Cut short: a frame that is not all there is not counted as ours, and what is left is as it was.
    let rules = Rules { truncate: 100_000, ..Rules::default() };
    bench.set(Settings { to_b: rules, ..Settings::default() });
    let came: Vec<u32> = bench.send(0, COUNT).into_iter().map(|(number, ..)| number).collect();
    let fates = (2 * COUNT..3 * COUNT).map(|number| (number, line.offer(&rules, 0, LENGTH)));
    let (cut, whole): (Vec<_>, Vec<_>) =
        fates.partition(|(_, fate)| matches!(fate, Fate::Passes { truncate: Some(_), .. }));
    assert!(came.iter().eq(whole.iter().map(|(number, _)| number)), "all others, in order");
    // Healed: everything, once, in order, as it was; and the other way was never touched.
    bench.set(Settings::default());
    for from in [0, 1] {
        let first = bench.sent;
        let came = bench.send(from, 2_000);
        assert!(came.iter().map(|(number, ..)| *number).eq(first..first + 2_000));
        assert!(came.iter().all(|(.., whole)| *whole));
    }
    // By the taps, which saw each of them: so many as the line says, and not one otherwise.
    let evidence = bench.world.finish().expect("evidence");
    let said = |fact: &Fact| if let Fact::Decided(said) = fact { Some(said.clone()) } else { None };
    let ways: Vec<_> = evidence.history.entries.iter().filter_map(|entry| said(&entry.fact)).collect();
    let to_b = ways.iter().find(|said| said.to_b).expect("to b");
    println!("{} of {} altered, {} cut short, by the taps", to_b.altered, to_b.put_in, to_b.truncated);
    assert_eq!((to_b.put_in, to_b.lost as usize), (u64::from(3 * COUNT + 2_000), lost));
    assert_eq!((to_b.altered as usize, to_b.truncated as usize), (altered, cut.len()));
    assert!(ways.iter().all(|said| said.deviates == 0 && said.hidden == 0), "{ways:?}");
}

#[test]
fn netns_a_cable_delays_holds_back_and_cuts_and_is_healed() {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut bench = Bench::new(place.path());
    let plain = median(&bench.send(0, 4_000));
    let delay = Rules { delay: Duration::from_millis(20), ..Rules::default() };
    bench.set(Settings { to_b: delay, ..Settings::default() });
    let came = bench.send(0, 4_000);
    let delayed = median(&came);
    println!("plain {plain:.3} ms, delayed by 20 ms: {delayed:.3} ms, at p50");
    assert!((19.0..=21.0).contains(&delayed), "{delayed}");
    assert_eq!(came.len(), 4_000);
    assert!(came.is_sorted_by_key(|(number, ..)| *number));
    // Held back: overtaken, none lost, and as many as the line says.
    let reorder = Rules { reorder: Reorder { per_million: 10_000, by: Duration::from_millis(5) }, ..Rules::default() };
    bench.set(Settings { to_b: reorder, ..Settings::default() });
    let first = bench.sent;
    let came = bench.send(0, 4_000);
    let overtaken = came
        .iter()
        .enumerate()
        .filter(|(place, (number, ..))| came[place + 1..].iter().any(|(later, ..)| later < number))
        .count();
    let late = (0..came.len()).filter(|&at| came[..at].iter().any(|(before, ..)| *before > came[at].0)).count();
    let mut line = Line::new(SEED, bench.cable as u64, Direction::ToB);
    let before = (0..first).filter(|_| matches!(line.offer(&Rules::default(), 0, LENGTH), Fate::Passes { .. })).count();
    assert_eq!(before, first as usize);
    let fates = (0..4_000).map(|_| line.offer(&reorder, 0, LENGTH));
    let held = fates.filter(|fate| matches!(fate, Fate::Passes { held_back: true, .. })).count();
    println!("{held} held back, {late} came behind later ones, {overtaken} before earlier ones");
    assert_eq!((came.len(), late), (4_000, held));
    // One way cut, the other passes.
    bench.set(Settings { to_b: Rules::cut(), ..Settings::default() });
    assert_eq!((bench.send(0, 500).len(), bench.send(1, 500).len()), (0, 500));
    bench.set(Settings::default());
    let healed = median(&bench.send(0, 4_000));
    println!("healed: {healed:.3} ms");
    assert!(healed < plain + 1.0, "{healed} after {plain}");
    let name = bench.world.set_cable(bench.cable + 1, Settings::default()).expect_err("a plain cable");
    assert!(name.text.contains("cannot be impaired"), "{}", name.text);
}

/// Nodes do not know: a run goes on, and the ledger closes to the last frame though cables lost, doubled and delayed some.
#[test]
fn netns_a_run_over_impaired_cables_has_a_ledger_that_closes() {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let loaded = files::scenario("maestro/steady").expect("a shipped scenario");
    let fault = |kind, target: &str| Fault { at_ms: 1_000, for_ms: 2_000, kind, target: target.to_owned() };
    let faults = [
        fault(Kind::Loss(1), CABLE),
        fault(Kind::Delay(5), "mho2--sgm-1-02"),
        fault(Kind::BlackHole, "mho1--sgm-1-04"),
    ];
    let programs = programs();
    let places = Places { bent: bent(&loaded.lab, &faults), seed: 1, ..Places::of(place.path(), &programs) };
    assert_eq!(places.bent.len(), 3);
    let mut world = Netns::build(&loaded.lab, &places, None).expect("a lab");
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let ran = driver::drive_with(&mut world, &loaded.lab, &loaded.scenario, &faults, settings, &mut |_| {});
    let ran = ran.expect("a run");
    world.teardown().expect("down");
    let judgement = scalebed_checkers::judge(&ran.input(&loaded.lab, &loaded.scenario, "netns", 1));
    let ledger = judgement.verdicts.iter().find(|verdict| verdict.check == "ledger").expect("a ledger");
    assert_eq!(ledger.outcome, Outcome::Pass, "{ledger:#?}");
    let decisions = judgement.verdicts.iter().find(|verdict| verdict.check == "cable-decisions").expect("decisions");
    assert_eq!(decisions.outcome, Outcome::Pass, "{decisions:#?}");
    println!("{}; {}", decisions.value, decisions.accuracy);
    let taken: u64 = ran
        .evidence
        .history
        .entries
        .iter()
        .map(|entry| match entry.fact {
            Fact::Taken { a_to_b, b_to_a, .. } => a_to_b + b_to_a,
            _ => 0,
        })
        .sum();
    println!("{}; {taken} taken", ledger.value);
    assert!(taken > 100, "{taken}");
}

/// The verdict on a fault of cables is of what taps saw: a run that was told something else than the file says fails.
#[test]
fn a_fault_that_was_not_what_the_file_says_is_noticed() {
    let mut loaded = files::scenario("maestro/downlink-lossy").expect("a shipped scenario");
    loaded.scenario.traffic.population = 240;
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let mut world = Sim::new(&loaded.lab, 1);
    let ran = driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {}).expect("a run");
    let said = |edit: &dyn Fn(&mut CableFault)| {
        let mut scenario = loaded.scenario.clone();
        for event in &mut scenario.events {
            if let Action::Fault(fault) = &mut event.action {
                edit(fault);
            }
        }
        let judgement = scalebed_checkers::judge(&ran.input(&loaded.lab, &scenario, "sim", 1));
        let verdict = judgement.verdicts.into_iter().find(|verdict| verdict.check == "cable-1");
        match verdict.expect("a verdict").outcome {
            Outcome::Fail(evidence) => evidence.join("; "),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(said(&|_| {}), "Pass");
    let other = |kinds: &[Kind]| said(&|fault| fault.kinds = kinds.to_vec());
    for (kinds, words) in [
        (&[Kind::Loss(5), Kind::Delay(20)][..], "were lost, 5.00 % were asked for"),
        (&[Kind::Loss(1), Kind::Delay(22)], "longer at p50, 22.0 were asked for"),
        (&[Kind::Loss(1)], "longer at p50, 0.0 were asked for"),
        (&[Kind::Loss(1), Kind::Delay(20), Kind::Duplicate(1)], "were doubled, 1.00 % were asked for"),
        (&[Kind::BlackHole], "frames passed while it stood"),
        (&[Kind::Unplug], "frames passed while it stood"),
        (&[Kind::Flap(300)], "frames a second passed while it flapped"),
        (&[Kind::Loss(1), Kind::Delay(20), Kind::Rate(1)], "Mbit/s passed"),
    ] {
        let said = other(kinds);
        assert!(said.contains(words), "{kinds:?}: {said}");
    }
    let early = said(&|fault| fault.for_ms = 1_000);
    assert!(early.contains("after it was mended"), "{early}");
    let elsewhere = said(&|fault| fault.cables = vec![fault.cables[0] + 1]);
    assert!(elsewhere.contains("were lost"), "{elsewhere}");
}

/// A node that is cut off: each way of each of its cables by itself.
#[test]
fn a_node_that_was_cut_off_otherwise_than_the_file_says_is_noticed() {
    let mut loaded = files::scenario("maestro/member-mute").expect("a shipped scenario");
    loaded.scenario.traffic.population = 240;
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let mut world = Sim::new(&loaded.lab, 1);
    let ran = driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {}).expect("a run");
    for (kind, wrong) in [
        (Kind::Mute, &[][..]),
        (Kind::Isolate, &["mho1>sgm-1-02", "mho2>sgm-1-02"]),
        (Kind::Deafen, &["mho1>sgm-1-02", "mho2>sgm-1-02"]),
    ] {
        let mut scenario = loaded.scenario.clone();
        let Action::Fault(fault) = &mut scenario.events[0].action else { panic!("no fault") };
        fault.kinds = vec![kind];
        let judgement = scalebed_checkers::judge(&ran.input(&loaded.lab, &scenario, "sim", 1));
        let verdict = judgement.verdicts.iter().find(|verdict| verdict.check == "cable-1").expect("a verdict");
        let told = match &verdict.outcome {
            Outcome::Fail(evidence) => evidence.clone(),
            Outcome::Pass => Vec::new(),
            other @ Outcome::Invalid(_) => panic!("{other:?}"),
        };
        println!("{kind:?}: {told:?}");
        assert_eq!(told.is_empty(), wrong.is_empty(), "{kind:?}: {told:?}");
        for way in wrong {
            let said = |words: &String| words.starts_with(way) && words.contains("frames passed while it stood");
            assert!(told.iter().any(said), "{kind:?}: {way} of {told:?}");
        }
    }
}

/// A member dies while a cable of another one is bad: both are judged, each by what it did.
#[test]
fn a_member_may_die_while_a_cable_is_lossy() {
    let mut loaded = files::scenario("maestro/member-kill").expect("a shipped scenario");
    let lossy = files::scenario("maestro/downlink-lossy").expect("a shipped scenario").scenario;
    (loaded.scenario.expect.convergence_units, loaded.scenario.expect.convergence_ms) = (None, None);
    let mut fault = lossy.events[0].clone();
    fault.at_ms -= 1_500;
    loaded.scenario.baseline_ms = fault.at_ms;
    loaded.scenario.events.insert(0, fault);
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let mut world = Sim::new(&loaded.lab, 1);
    let ran = driver::drive(&mut world, &loaded.lab, &loaded.scenario, settings, &mut |_| {}).expect("a run");
    let judgement = scalebed_checkers::judge(&ran.input(&loaded.lab, &loaded.scenario, "sim", 1));
    let said = |check: &str| judgement.verdicts.iter().find(|verdict| verdict.check == check).expect("a verdict");
    for check in ["cable-1", "loss", "convergence-1", "convergence-2", "survival-2", "generations"] {
        assert_eq!(said(check).outcome, Outcome::Pass, "{:#?}", said(check));
    }
    println!("{}", said("cable-1").value);
}

/// A lab whose cables are a bad network from the start: members on two floors, and a leg that goes over a town.
fn impaired() -> (Lab, Scenario) {
    let text = "impairments:\n  - {cables: [mho1--sgm-1-02, mho2--sgm-1-02], kinds: [delay=3, loss=1]}\n  \
                - {cables: [mho1--mho2], kinds: [lan]}\n  - {cables: [mho1--sw-outside], kinds: [metro, duplicate=1]}\n";
    let lab = scalebed_topologies::catalogue::lab_text("maestro-single-site").expect("a shipped lab");
    let lab = scalebed_topologies::load_lab("impaired", &format!("{lab}\n{text}")).expect("a lab");
    let mut scenario = files::scenario("maestro/member-kill").expect("a shipped scenario").scenario;
    // What such a cable loses soon after the kill looks like the kill's.
    (scenario.expect.convergence_units, scenario.expect.convergence_ms) = (None, None);
    (lab, scenario)
}

fn is_as_written(ran: &driver::Ran, lab: &Lab, scenario: &Scenario, world: &str) {
    let judgement = scalebed_checkers::judge(&ran.input(lab, scenario, world, 1));
    assert_eq!(judgement.record.outcome(), "pass", "{}", scalebed_tests::complaints(&judgement.record));
    for check in ["lab-cable-1", "lab-cable-3", "loss", "cable-decisions"] {
        let verdict = judgement.verdicts.iter().find(|verdict| verdict.check == check).expect("a verdict");
        println!("{check}: {}", verdict.value);
    }
}

#[test]
fn a_lab_may_have_impaired_cables_in_the_simulated_world() {
    let (lab, scenario) = impaired();
    let mut world = Sim::new(&lab, 1);
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let ran = driver::drive(&mut world, &lab, &scenario, settings, &mut |_| {}).expect("a run");
    is_as_written(&ran, &lab, &scenario, "sim");
}

/// What one cable doubles comes twice to the next one, a moment apart: that is not the next one's doing, though the first
/// copy is seen further on before the second one comes out.
#[test]
fn what_one_cable_doubles_is_not_held_against_the_next() {
    let lab = scalebed_topologies::catalogue::lab_text("maestro-single-site").expect("a shipped lab");
    let text = "impairments:\n  - {cables: [mho1--sw-inside], kinds: [duplicate=5]}\n  \
                - {cables: [mho1--sgm-1-02], kinds: [delay=3]}\n";
    let lab = scalebed_topologies::load_lab("impaired", &format!("{lab}\n{text}")).expect("a lab");
    let mut scenario = files::scenario("maestro/steady").expect("a shipped scenario").scenario;
    scenario.kernel_transfers = false;
    scenario.traffic.population = 240;
    let mut world = Sim::new(&lab, 1);
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let mut ran = driver::drive(&mut world, &lab, &scenario, settings, &mut |_| {}).expect("a run");
    // In virtual time both copies come at once; in processes each waits for its turn.
    let mut seen = BTreeSet::new();
    for one in &mut ran.evidence.observations {
        let Some(probe) = one.probe else { continue };
        let way = one.shim.map(|shim| (shim.kind as u8, shim.hop));
        let side = probe.direction == scalebed_frame::signature::Direction::Forward;
        if !seen.insert((one.tap, side, probe.flow, probe.sequence, probe.attempt, way)) {
            one.at += 500_000;
        }
    }
    ran.evidence.observations.sort_by_key(|one| one.at);
    let judgement = scalebed_checkers::judge(&ran.input(&lab, &scenario, "sim", 1));
    for check in ["lab-cable-1", "lab-cable-2"] {
        let verdict = judgement.verdicts.iter().find(|verdict| verdict.check == check).expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::Pass, "{verdict:#?}");
    }
}

#[test]
fn netns_a_lab_may_have_impaired_cables() {
    if needs_root() {
        return;
    }
    let (lab, scenario) = impaired();
    let place = tempfile::tempdir().expect("a temporary directory");
    let programs = programs();
    let places = Places { bent: driver::bent_by(&lab, &scenario.events), ..Places::of(place.path(), &programs) };
    assert_eq!(places.bent.len(), 4);
    let mut world = Netns::build(&lab, &places, None).expect("a lab");
    let settings = driver::Settings { seed: 1, ..driver::Settings::default() };
    let ran = driver::drive(&mut world, &lab, &scenario, settings, &mut |_| {}).expect("a run");
    world.teardown().expect("down");
    is_as_written(&ran, &lab, &scenario, "netns");
}
