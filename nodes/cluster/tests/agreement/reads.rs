//! What an author asks before it changes anything, and what the answers promise.

use scalebed_cluster::Ablations;
use scalebed_engine::NodeEvent;
use scalebed_frame::control::{Body, Control, Matrix, MemberState};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::world::{Machine, UNIT, World, booted, ms, sgm};

fn said(from: NodeId, to: NodeId, body: Body) -> Control {
    Control { from, incarnation: Incarnation(256), to: Some(to), body }
}

fn generation(counter: u32, author: u8) -> Generation {
    Generation { counter, author: MemberId::new(1, author), incarnation: Incarnation(256) }
}

fn without(matrix: &Matrix, number: u8, generation: Generation) -> Matrix {
    let mut matrix = matrix.clone();
    matrix.generation = generation;
    matrix.admitted.retain(|one| one.member.number != number);
    matrix
}

fn accepted(world: &World, mho: u8) -> Generation {
    match &world.nodes[&NodeId::Mho(MhoId(mho))].machine {
        Machine::Mho(mho) => mho.accepted(),
        Machine::Member(_) => unreachable!("an orchestrator"),
    }
}

#[test]
fn who_answered_refuses_what_is_below_the_announced_generation() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let (mho, now) = (NodeId::from(MhoId(1)), world.now);
    let read = said(sgm(2), mho, Body::Read { announced: generation(9, 2) });
    world.hand(mho, 1, &read, now);
    let matrix = world.member(2).matrix().expect("a matrix").clone();
    for (counter, author, takes) in [(8, 3, false), (9, 1, false), (9, 2, true)] {
        let next = without(&matrix, 4, generation(counter, author));
        let now = world.now;
        world.hand(mho, 1, &said(sgm(2), mho, Body::Prepare(next.clone())), now);
        assert_eq!(accepted(&world, 1) == next.generation, takes, "{}", next.generation);
    }
}

#[test]
fn an_author_that_was_refused_reads_again_and_goes_above() {
    for architecture in [Architecture::Maestro, Architecture::ElasticXl] {
        let mut world = booted(architecture, 4, &[]);
        // Somebody announced a higher generation to one acceptor and was heard of no more.
        let acceptor = if architecture == Architecture::Maestro { MhoId(1).into() } else { sgm(2) };
        let now = world.now;
        world.hand(acceptor, 1, &said(sgm(4), acceptor, Body::Read { announced: generation(9, 4) }), now);
        world.kill(sgm(3));
        world.run(ms(2500));
        assert_eq!(world.generations(), 10, "{architecture:?}");
        world.all_active(&[1, 2, 4]);
        world.start(sgm(3));
        world.run(ms(5000));
        world.all_active(&[1, 2, 3, 4]);
        assert!(world.member(1).is_smo());
    }
}

#[test]
fn an_author_that_is_not_admitted_in_the_highest_matrix_found_fences_itself() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.kill(sgm(1));
    let begun = |world: &World| world.events.iter().any(|(_, id, event)| dead(*id, event));
    let mut at = world.now.0;
    while !begun(&world) {
        at += 10_000;
        world.run(scalebed_engine::Instant(at));
    }
    let highest = without(world.member(2).matrix().expect("a matrix"), 2, generation(7, 3));
    let answer = Body::ReadAnswer {
        accepted: highest.generation,
        activated: Generation::NONE,
        promised: generation(8, 3),
        matrix: Some(highest),
    };
    let now = world.now;
    world.hand(sgm(2), 0, &said(MhoId(1).into(), sgm(2), answer), now);
    assert!(world.member(2).is_fenced());
    assert_eq!(world.member(2).state(), MemberState::Pending);
    let why = world.events.iter().rev().find_map(|(_, id, event)| match event {
        NodeEvent::Fenced { reason } if *id == sgm(2) => Some(reason.clone()),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("highest generation found")));
}

fn dead(id: NodeId, event: &NodeEvent) -> bool {
    id == sgm(2) && matches!(event, NodeEvent::Dead { .. })
}

#[test]
fn a_successor_that_missed_two_generations_goes_above_them_only_if_it_reads() {
    for no_read in [false, true] {
        let mut world = World::new(Architecture::Maestro, 4, &[], Ablations { no_read, ..Ablations::default() });
        world.run(ms(1000));
        world.deaf.insert(sgm(2));
        for number in [4, 3, 1] {
            world.power_off(number);
            world.run(ms(1000 + u64::from(5 - number) * 10));
        }
        assert_eq!((world.member(2).accepted().counter, accepted(&world, 1).counter), (1, 3));
        world.deaf.remove(&sgm(2));
        let mut announced = Vec::new();
        while world.now < ms(1000 + 20 * UNIT) {
            let next = world.now.0 + 20_000;
            world.run(scalebed_engine::Instant(next));
            announced.extend(world.content.values().filter_map(|(_, message)| match message {
                Some((_, Control { body: Body::Read { announced }, .. })) => Some(announced.counter),
                _ => None,
            }));
        }
        announced.dedup();
        // It finds more than it announced, and asks again: what was promised before holds off too little.
        assert_eq!(announced, if no_read { vec![] } else { vec![2, 4] });
        assert_eq!(accepted(&world, 1) == world.member(2).activated(), !no_read);
        assert_eq!(world.member(2).activated().counter, if no_read { 1 } else { 4 });
    }
}

#[test]
fn a_successor_outbids_what_was_promised_to_one_that_never_came() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    // Both orchestrators promised an author that is killed, and the old one is killed while it is refused.
    for mho in [MhoId(1), MhoId(2)] {
        let now = world.now;
        world.hand(mho.into(), 1, &said(sgm(4), mho.into(), Body::Read { announced: generation(30, 4) }), now);
    }
    world.kill(sgm(4));
    world.run(ms(1000 + 2 * UNIT + 50));
    world.kill(sgm(1));
    world.run(ms(3000));
    world.all_active(&[2, 3]);
    assert!(world.member(2).is_smo());
    assert_eq!(accepted(&world, 1), world.member(2).activated());
}

#[test]
fn an_author_that_promised_another_asks_before_its_next_change() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    // Somebody takes over beside it, and is heard of no more.
    let now = world.now;
    world.hand(sgm(1), 0, &said(sgm(4), sgm(1), Body::Read { announced: generation(5, 4) }), now);
    world.kill(sgm(3));
    let mut asked = false;
    while world.now < ms(2000) {
        let next = world.now.0 + 20_000;
        world.run(scalebed_engine::Instant(next));
        asked |= world.content.values().any(|(_, message)| {
            matches!(message, Some((_, Control { from, body: Body::Read { .. }, .. })) if *from == sgm(1))
        });
    }
    assert!(asked);
    assert_eq!(world.generations(), 6);
    world.all_active(&[1, 2, 4]);
}

#[test]
fn an_author_whose_life_was_left_out_is_refused() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let mho = NodeId::from(MhoId(1));
    let matrix = world.member(2).matrix().expect("a matrix").clone();
    for (author, counter, left_out, takes) in [(2, 2, 1, true), (1, 3, 4, false), (2, 3, 4, true)] {
        let next = without(&matrix, left_out, generation(counter, author));
        let now = world.now;
        world.hand(mho, 1, &said(sgm(author), mho, Body::Prepare(next.clone())), now);
        assert_eq!(accepted(&world, 1) == next.generation, takes, "{}", next.generation);
    }
}

#[test]
fn an_activate_of_less_than_a_joiner_heard_of_does_not_let_it_in() {
    let mut world = booted(Architecture::Maestro, 4, &[4]);
    world.start(sgm(4));
    while world.member(4).accepted() == Generation::NONE {
        let next = world.now.0 + 10_000;
        world.run(scalebed_engine::Instant(next));
    }
    // It is counted in this generation, whose Activate comes late; meanwhile it hears of the next one.
    let held = world.member(4).accepted();
    if world.member(4).is_fenced() {
        let read = Body::Read { announced: Generation { counter: held.counter + 1, ..held } };
        let now = world.now;
        world.hand(sgm(4), 0, &said(sgm(2), sgm(4), read), now);
        world.hand(sgm(4), 0, &said(sgm(1), sgm(4), Body::Activate { generation: held }), now);
        assert!(world.member(4).is_fenced(), "another generation is under way");
    } else {
        panic!("the Activate came with the Prepare: the test sees nothing");
    }
}
