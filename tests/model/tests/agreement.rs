//! The agreement holds in every state within bounds, and each rule that is left out breaks it.
//!
//! `SCALEBED_TIER=soak` takes the bounds further; it prints how many states there were, and whether those were all.

use std::time::{Duration, Instant};

use scalebed_model::{
    Action, Agreement, Bounds, Faults, LEFT_OUT, MOVED, ONE_CARRIER, ONE_HOLDER, ONE_PIVOT, STALE, Safeguard,
    TAKEN_OVER,
};
use scalebed_topologies::lab::Architecture::{self, ElasticXl, Maestro};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// What must hold in every state.
const ALWAYS: [&str; 5] = [ONE_CARRIER, ONE_HOLDER, LEFT_OUT, ONE_PIVOT, STALE];
/// What is asked of ElasticXL alone.
const ELASTIC_XL: [&str; 2] = [ONE_PIVOT, STALE];

/// What is asked of an architecture's model.
fn asked(architecture: Architecture) -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().filter(move |name| !ELASTIC_XL.contains(name) || architecture == ElasticXl)
}

const fn bounds(admitted: usize, changes: usize, faults: u8, pairs: bool) -> Bounds {
    let of = if pairs { Faults::Pairs } else { Faults::Nodes };
    Bounds { members: 3, author: 1, admitted, changes, faults, of, again: false }
}

/// An exploration of these takes seconds.
const SMALL: [(Architecture, Bounds); 11] = [
    (Maestro, bounds(3, 3, 1, true)),
    (Maestro, bounds(2, 1, 1, true)),
    (Maestro, bounds(2, 2, 0, false)),
    (ElasticXl, bounds(3, 3, 1, true)),
    (ElasticXl, bounds(2, 3, 1, false)),
    (ElasticXl, bounds(3, 2, 2, false)),
    (ElasticXl, bounds(2, 2, 1, true)),
    (ElasticXl, bounds(2, 2, 2, false)),
    (ElasticXl, bounds(2, 2, 2, true)),
    (ElasticXl, bounds(2, 3, 2, false)),
    (ElasticXl, Bounds { again: true, ..bounds(2, 2, 1, true) }),
];

/// Of these minutes.
const LARGE: [(Architecture, Bounds); 6] = [
    (ElasticXl, bounds(2, 3, 2, true)),
    (Maestro, Bounds { of: Faults::Deaths, ..bounds(2, 3, 2, false) }),
    (Maestro, bounds(2, 2, 1, false)),
    (Maestro, bounds(3, 2, 2, false)),
    (Maestro, bounds(2, 2, 1, true)),
    (Maestro, bounds(2, 3, 1, false)),
];

/// Nothing is broken, and what shows that something happens at all was found. False: there was no time for all states.
fn holds(architecture: Architecture, bounds: Bounds, limit: Duration) -> bool {
    let began = Instant::now();
    let model = Agreement { architecture, bounds, without: None };
    let checker = model.checker().threads(2).timeout(limit).spawn_bfs().join();
    let complete = began.elapsed() < limit;
    println!(
        "{architecture:?} {bounds:?}: {} states, {} deep, {:.0} s, {}",
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
        if complete { "all there are" } else { "not all" }
    );
    for name in asked(architecture) {
        if let Some(path) = checker.discovery(name) {
            panic!("{architecture:?} {bounds:?}: {name} is broken by {:?}", path.into_actions());
        }
    }
    let moves = bounds.admitted < bounds.members;
    for (name, may) in [(TAKEN_OVER, bounds.faults > 0), (MOVED, moves)] {
        let seen = !may || checker.discovery(name).is_some();
        assert!(seen || !complete, "{architecture:?} {bounds:?}: {name} never happens");
    }
    complete
}

#[test]
fn it_holds_within_small_bounds() {
    for (architecture, bounds) in SMALL {
        assert!(holds(architecture, bounds, Duration::from_secs(200)), "there was no time for all states");
    }
}

#[test]
fn it_holds_within_large_bounds() {
    if !std::env::var("SCALEBED_TIER").is_ok_and(|tier| tier == "soak") {
        println!("skipped: it_holds_within_large_bounds: takes minutes and 20 GiB; SCALEBED_TIER=soak runs it");
        return;
    }
    for (architecture, bounds) in LARGE {
        holds(architecture, bounds, Duration::from_secs(300));
    }
}

/// Beyond what memory holds: walks from the start to where nothing more can happen, each step by chance.
#[test]
fn it_holds_on_long_walks() {
    let soak = std::env::var("SCALEBED_TIER").is_ok_and(|tier| tier == "soak");
    let limit = Duration::from_secs(if soak { 300 } else { 2 });
    for admitted in [2, 3] {
        let whole = Agreement { architecture: Maestro, bounds: bounds(admitted, 3, 2, true), without: None };
        assert_eq!(walk(&whole, limit), None);
    }
    let without = Agreement { architecture: Maestro, bounds: bounds(2, 3, 2, true), without: Some(Safeguard::Fence) };
    let found = walk(&without, Duration::from_secs(60));
    assert!(found.is_some_and(|(name, _)| name == ONE_CARRIER), "walks find what is there");
}

/// What is broken on some walk, and its steps.
fn walk(model: &Agreement, limit: Duration) -> Option<(&'static str, Vec<Action>)> {
    let properties: Vec<_> = model.properties().into_iter().filter(|one| ALWAYS.contains(&one.name)).collect();
    let (began, mut seed, mut walks, mut steps) = (Instant::now(), 1u64, 0, 0);
    while began.elapsed() < limit {
        let (mut state, mut path) = (model.init_states().remove(0), Vec::new());
        // Nobody decides a duel of two authors here: it would go on for ever.
        while path.len() < 400 {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let next = std::iter::from_fn(|| {
                // Knuth's MMIX.
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = usize::try_from(seed >> 33).ok()?.checked_rem(actions.len())?;
                Some(actions.swap_remove(place))
            });
            let next = next.map(|action| (action, model.next_state(&state, action)));
            let Some((action, Some(next))) = next.into_iter().find(|(_, next)| next.is_some()) else { break };
            state = next;
            path.push(action);
            if let Some(broken) = properties.iter().find(|one| !(one.condition)(model, &state)) {
                return Some((broken.name, path));
            }
        }
        (walks, steps) = (walks + 1, steps + path.len());
    }
    println!("{model:?}: {walks} walks, {steps} steps");
    None
}

/// What is broken, and the steps that lead there.
fn broken(architecture: Architecture, bounds: Bounds, without: Safeguard) -> Vec<(&'static str, String)> {
    let model = Agreement { architecture, bounds, without: Some(without) };
    let limit = Duration::from_secs(200);
    let checker = model.checker().threads(2).timeout(limit).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let found =
        asked(architecture).filter_map(|name| Some((name, format!("{:?}", checker.discovery(name)?.into_actions()))));
    let found: Vec<_> = found.collect();
    println!("{architecture:?} without {without:?}, {bounds:?}: {states} states: {found:?}");
    found
}

/// Each in the bounds in which it breaks soonest.
#[test]
fn each_rule_is_needed() {
    let (one, two) = (bounds(2, 2, 1, false), bounds(3, 2, 2, false));
    for (architecture, rule, bounds, breaks) in [
        (Maestro, Safeguard::Fence, one, ONE_CARRIER),
        (Maestro, Safeguard::Barrier, one, ONE_CARRIER),
        (Maestro, Safeguard::Read, one, ONE_CARRIER),
        (Maestro, Safeguard::Lease, two, ONE_CARRIER),
        (Maestro, Safeguard::Incarnation, one, LEFT_OUT),
        (Maestro, Safeguard::PreviousOwner, one, ONE_CARRIER),
        (ElasticXl, Safeguard::Fence, one, STALE),
        (ElasticXl, Safeguard::Barrier, one, ONE_CARRIER),
        (ElasticXl, Safeguard::Lease, one, ONE_CARRIER),
        (ElasticXl, Safeguard::Incarnation, self::bounds(2, 3, 2, false), LEFT_OUT),
        (ElasticXl, Safeguard::PreviousOwner, one, ONE_HOLDER),
    ] {
        let found = broken(architecture, bounds, rule);
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&breaks), "{architecture:?} without {rule:?}: {found:?}");
    }
}

/// A pivot that is not the lowest dies when one other has accepted its last matrix; the lowest takes over.
const TAKE_OVER: Bounds =
    Bounds { members: 4, author: 2, admitted: 4, changes: 3, faults: 2, of: Faults::Deaths, again: true };

const fn going_on(admitted: usize, changes: usize, faults: u8, of: Faults) -> Bounds {
    Bounds { of, again: true, ..bounds(admitted, changes, faults, false) }
}

/// Nodes that die or stand still leave nobody in a state from which nothing leads on.
#[test]
fn it_always_goes_on() {
    for (architecture, bounds) in [
        (ElasticXl, TAKE_OVER),
        (ElasticXl, going_on(2, 3, 2, Faults::Stops)),
        (Maestro, going_on(2, 2, 1, Faults::Stops)),
        (Maestro, going_on(3, 2, 1, Faults::Stops)),
        (Maestro, going_on(3, 2, 2, Faults::Deaths)),
        (Maestro, going_on(2, 2, 2, Faults::Deaths)),
    ] {
        let progress = Agreement { architecture, bounds, without: None }.progress();
        println!("{architecture:?} {bounds:?}: {} states, stuck: {:?}", progress.states, progress.stuck);
        assert!(progress.stuck.is_none() && progress.states > 100, "{architecture:?} {bounds:?}: {progress:?}");
    }
}

/// In ElasticXL a successor holds whatever is active: the barrier waited for it. What its predecessor began it does not:
/// without a read others refuse it for ever.
#[test]
fn without_a_read_a_successor_is_refused_for_ever() {
    let model = Agreement { architecture: ElasticXl, bounds: TAKE_OVER, without: Some(Safeguard::Read) };
    let progress = model.progress();
    println!("ElasticXl without Read, {TAKE_OVER:?}: {progress:?}");
    assert!(progress.stuck.is_some());
}
