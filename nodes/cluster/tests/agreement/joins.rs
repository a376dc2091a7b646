//! Boot and scale-out: who comes in, and who does not.

use scalebed_cluster::{Ablations, NodeConfig};
use scalebed_engine::Command;
use scalebed_frame::control::{Admitted, Body, Control, Heartbeat, Matrix, MemberState};
use scalebed_frame::{Bucket, Generation, Incarnation, MemberId};
use scalebed_topologies::lab::Architecture;

use crate::world::{Machine, UNIT, World, booted, config_of, ms, sgm};

/// Of a member that shows this generation, and hears nobody.
fn heartbeat(world: &World, state: MemberState, shown: Generation) -> Heartbeat {
    Heartbeat {
        sent: world.now.0,
        heard: Vec::new(),
        state,
        reason: None,
        config: 7,
        accepted: shown,
        digest: 1,
        activated: shown,
        admitted: Vec::new(),
        smo: false,
        downlinks_down: Vec::new(),
        ports_down: 0,
    }
}

#[test]
fn boot_makes_generation_one_with_everybody() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        let world = booted(architecture, members, &[]);
        assert_eq!(world.generations(), 1);
        world.all_active(&(1..=members).collect::<Vec<_>>());
        assert!(world.member(1).is_smo());
    }
}

#[test]
fn a_member_that_does_not_come_is_waited_for_and_then_left_out() {
    let mut world = World::new(Architecture::Maestro, 4, &[3], Ablations::default());
    let expecting = NodeConfig { starters: world.members.clone(), ..config_of(&world, 1) };
    world.replace(1, expecting);
    world.run(ms(2500));
    assert_eq!(world.generations(), 0, "at most 30 units are waited");
    world.run(ms(4000));
    assert_eq!(world.generations(), 1);
    world.all_active(&[1, 2, 4]);
}

#[test]
fn scale_out_moves_a_quarter_and_the_next_change_forgets_the_previous_owners() {
    let mut world = booted(Architecture::Maestro, 4, &[4]);
    world.all_active(&[1, 2, 3]);
    world.start(sgm(4));
    world.run(ms(3000));
    world.all_active(&[1, 2, 3, 4]);
    assert_eq!(world.generations(), 2);
    let moved = |world: &World| {
        world.member(1).matrix().expect("a matrix").buckets.iter().filter(|bucket| bucket.previous.is_some()).count()
    };
    assert_eq!(moved(&world), 128);
    assert_eq!(world.member(4).waiting_for(Bucket(0)), None);
    world.kill(sgm(3));
    world.run(ms(5000));
    assert_eq!(moved(&world), 0);
}

#[test]
fn a_joiner_with_another_configuration_stays_ready() {
    let mut world = booted(Architecture::ElasticXl, 3, &[3]);
    // Its digest differs from the others'.
    let mut other = NodeConfig { config_digest: 8, ..config_of(&world, 3) };
    other.starters = world.starters.clone();
    world.replace(3, other);
    world.run(ms(4000));
    assert_eq!(world.generations(), 1);
    assert_eq!(world.member(3).state(), MemberState::Ready);
    assert!(world.member(3).reason().is_some_and(|reason| reason.contains("differs")));
}

#[test]
fn a_boot_goes_above_every_generation_that_was_heard() {
    // Heard by the one that boots, or by another.
    for who in [1, 2] {
        let mut world = booted(Architecture::ElasticXl, 3, &[]);
        let held = world.member(3).accepted();
        for number in 1..=3 {
            world.kill(sgm(number));
            world.start(sgm(number));
        }
        let beat = Control {
            from: sgm(3),
            incarnation: Incarnation(256),
            to: None,
            body: Body::Heartbeat(Heartbeat {
                activated: held,
                smo: true,
                ..heartbeat(&world, MemberState::Active, Generation { counter: 600, ..held })
            }),
        };
        let now = world.now;
        world.hand(sgm(who), 0, &beat, now);
        world.run(ms(4000));
        world.all_active(&[1, 2, 3]);
        assert_eq!(world.generations(), 601);
    }
}

#[test]
fn a_boot_after_all_state_was_lost_is_above_what_was_before() {
    let mut world = booted(Architecture::ElasticXl, 3, &[]);
    world.kill(sgm(3));
    world.run(ms(2000));
    assert_eq!(world.generations(), 2);
    for number in 1..=3 {
        world.start(sgm(number));
    }
    world.run(ms(4000));
    world.all_active(&[1, 2, 3]);
    assert_eq!(world.generations(), 257);
}

#[test]
fn a_request_to_join_that_came_while_it_was_admitted_does_not_let_an_ended_life_in() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let (id, life) = (sgm(4), world.member(4).incarnation());
    let said = |body| Control { from: id, incarnation: life, to: None, body };
    let late = said(Body::Join { config: 7 });
    let now = world.now;
    world.hand(sgm(1), 0, &late, now);
    world.kill(id);
    world.run(ms(2000));
    assert_eq!(world.generations(), 2);
    // Its last heartbeat took the long way.
    let beat = said(Body::Heartbeat(Heartbeat {
        sent: now.0,
        ..heartbeat(&world, MemberState::Ready, world.member(1).accepted())
    }));
    let now = world.now;
    world.hand(sgm(1), 0, &beat, now);
    world.run(ms(4000));
    assert_eq!(world.generations(), 2, "the life that was left out stays out");
}

/// Admitted by a generation whose Activate it waits for, and left out again while it was cut off.
fn waiting(world: &mut World) -> Generation {
    world.start(sgm(3));
    let matrix = world.member(1).matrix().expect("a matrix").clone();
    let mut next = Matrix { generation: Generation { counter: 7, ..matrix.generation }, ..matrix };
    next.admitted.push(Admitted { member: MemberId::new(1, 3), incarnation: Incarnation(256) });
    let said = |body| Control { from: sgm(1), incarnation: Incarnation(256), to: None, body };
    let now = world.now;
    world.hand(sgm(3), 0, &said(Body::Prepare(next.clone())), now);
    assert_eq!((world.member(3).state(), world.member(3).accepted()), (MemberState::Pending, next.generation));
    next.generation
}

#[test]
fn a_pending_member_that_was_admitted_and_left_out_again_comes_in_with_its_next_life() {
    let mut world = booted(Architecture::ElasticXl, 3, &[3]);
    let held = waiting(&mut world);
    let beat = |counter| Control {
        from: sgm(1),
        incarnation: Incarnation(256),
        to: None,
        body: Body::Heartbeat(Heartbeat {
            admitted: world.member(1).admitted().to_vec(),
            smo: true,
            ..heartbeat(&world, MemberState::Active, Generation { counter, ..held })
        }),
    };
    let (older, newer, now) = (beat(6), beat(8), world.now);
    world.hand(sgm(3), 0, &older, now);
    assert_eq!(world.member(3).incarnation(), Incarnation(256), "what is older says nothing");
    world.hand(sgm(3), 0, &newer, now);
    assert_eq!(world.member(3).incarnation(), Incarnation(257));
}

#[test]
fn a_pending_member_whose_matrix_is_altered_starts_over_in_its_next_life() {
    let mut world = booted(Architecture::ElasticXl, 3, &[3]);
    waiting(&mut world);
    let now = world.now;
    let Machine::Member(member) = &mut world.node(sgm(3)).machine else { unreachable!("a member") };
    member.on_command(&Command::Alter, now);
    world.run(ms(now.0 / 1_000_000 + UNIT + 1));
    assert_eq!(world.member(3).incarnation(), Incarnation(257), "the author would wait for it for ever");
    assert!(world.member(3).matrix().is_none_or(|matrix| matrix.generation.counter != 7));
}
