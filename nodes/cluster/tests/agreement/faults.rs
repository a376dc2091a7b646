//! What becomes of a booted group when something falls, and when it returns.

use scalebed_engine::{Command, NodeEvent};
use scalebed_frame::control::MemberState;
use scalebed_frame::{Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::world::{LATENCY, Machine, UNIT, booted, ms, sgm};

#[test]
fn a_killed_member_is_left_out_within_three_units_and_comes_back_by_join() {
    for (architecture, members, kept) in
        [(Architecture::Maestro, 4, vec![1, 2, 4]), (Architecture::ElasticXl, 3, vec![1, 2])]
    {
        let mut world = booted(architecture, members, &[]);
        world.kill(sgm(3));
        let killed = world.now;
        world.run(ms(2000));
        assert_eq!(world.generations(), 2);
        world.all_active(&kept);
        let activated = world.first_event(killed, |event| matches!(event, NodeEvent::Activated { .. }));
        let took = activated.expect("a generation").since(killed);
        assert!(took.as_millis() <= 3 * u128::from(UNIT) + 5, "detection, decision and barrier took {took:?}");
        world.start(sgm(3));
        world.run(ms(4000));
        assert_eq!(world.generations(), 3);
        world.all_active(&(1..=members).collect::<Vec<_>>());
    }
}

#[test]
fn the_lowest_active_id_takes_over_and_keeps_the_role() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        let mut world = booted(architecture, members, &[]);
        world.kill(sgm(1));
        world.run(ms(2000));
        assert_eq!(world.generations(), 2);
        assert!(world.member(2).is_smo());
        world.start(sgm(1));
        world.run(ms(4000));
        assert_eq!(world.generations(), 3);
        world.all_active(&(1..=members).collect::<Vec<_>>());
        assert!(world.member(2).is_smo() && !world.member(1).is_smo(), "a lower id that returns does not take it back");
    }
}

#[test]
fn a_hang_of_one_unit_is_nothing() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        for victim in [1, 2] {
            let mut world = booted(architecture, members, &[]);
            world.hang(sgm(victim));
            world.run(ms(1000 + UNIT));
            world.unhang(sgm(victim));
            world.run(ms(3000));
            assert_eq!(world.generations(), 1);
            world.all_active(&(1..=members).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_hang_of_five_units_is_left_out_fences_itself_and_rejoins() {
    for (architecture, members) in [(Architecture::Maestro, 4), (Architecture::ElasticXl, 3)] {
        for victim in [1, 2] {
            let mut world = booted(architecture, members, &[]);
            world.hang(sgm(victim));
            world.run(ms(1000 + 5 * UNIT));
            assert_eq!(world.generations(), 2);
            world.unhang(sgm(victim));
            let fenced = world
                .events
                .iter()
                .any(|(_, id, event)| *id == sgm(victim) && matches!(event, NodeEvent::Fenced { .. }));
            assert!(fenced, "it fences itself before it reads its backlog");
            world.run(ms(4000));
            assert_eq!(world.generations(), 3);
            world.all_active(&(1..=members).collect::<Vec<_>>());
            assert_eq!(world.member(victim).incarnation(), Incarnation(257));
        }
    }
}

#[test]
fn the_loss_of_an_orchestrator_makes_no_generation_and_its_return_one() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let owners: Vec<_> =
        world.member(1).matrix().expect("a matrix").buckets.iter().map(|bucket| bucket.owner).collect();
    world.kill(MhoId(2).into());
    world.run(ms(2500));
    assert_eq!(world.generations(), 1);
    world.start(MhoId(2).into());
    world.run(ms(4000));
    assert_eq!(world.generations(), 2);
    let now: Vec<_> = world.member(1).matrix().expect("a matrix").buckets.iter().map(|bucket| bucket.owner).collect();
    assert_eq!(owners, now);
    let Machine::Mho(mho) = &world.nodes[&NodeId::Mho(MhoId(2))].machine else { unreachable!("an orchestrator") };
    assert!(!mho.is_fenced());
}

#[test]
fn the_barrier_goes_on_without_a_dead_orchestrator() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.kill(MhoId(2).into());
    world.kill(sgm(3));
    world.run(ms(2500));
    assert_eq!(world.generations(), 2);
    world.all_active(&[1, 2, 4]);
}

#[test]
fn a_pulled_downlink_makes_no_generation() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.pull(3, 2);
    world.run(ms(3000));
    assert_eq!(world.generations(), 1);
    world.all_active(&[1, 2, 3, 4]);
}

#[test]
fn carrier_lost_on_both_downlinks_is_death_at_once() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let at = world.now;
    world.kill(sgm(3));
    for mho in [MhoId(1), MhoId(2)] {
        world.down.insert((MemberId::new(1, 3), mho));
        world.link(mho.into(), 2, false);
    }
    world.run(ms(1050));
    let activated = world.first_event(at, |event| matches!(event, NodeEvent::Activated { .. }));
    assert!(activated.is_some_and(|then| then.since(at).as_millis() < 2), "{activated:?}");
}

#[test]
fn the_authors_own_pulled_downlink_takes_no_orchestrator_out_of_the_barrier() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.pull(1, 2);
    world.run(ms(2000));
    assert_eq!(world.generations(), 1);
    world.kill(sgm(3));
    world.run(ms(3000));
    world.all_active(&[1, 2, 4]);
    let matrix = world.member(1).matrix().expect("a matrix");
    assert_eq!(matrix.generation.counter, 2);
    assert_eq!(matrix.orchestrators.len(), 2);
    let Machine::Mho(mho) = &world.nodes[&NodeId::Mho(MhoId(2))].machine else { unreachable!("an orchestrator") };
    assert_eq!(mho.accepted(), matrix.generation, "it got the matrix over the pair cable");
}

#[test]
fn messages_leave_by_a_path_that_brings_something() {
    // The first orchestrator's process is gone, its ports keep carrier: only silence tells.
    let mut world = booted(Architecture::Maestro, 4, &[]);
    world.kill(MhoId(1).into());
    world.run(ms(1500));
    world.kill(sgm(3));
    let killed = world.now;
    world.run(ms(2500));
    world.all_active(&[1, 2, 4]);
    let last = world.events.iter().rfind(|(_, _, event)| matches!(event, NodeEvent::Activated { .. })).expect("one");
    assert!(last.0.since(killed).as_millis() <= 3 * u128::from(UNIT) + 5, "{last:?}");
}

#[test]
fn no_data_path_no_service_however_well_the_sync_network_hears() {
    let mut world = booted(Architecture::ElasticXl, 3, &[]);
    world.link(sgm(3), 1, false);
    world.link(sgm(3), 2, false);
    world.run(ms(3000));
    assert!(world.member(3).is_fenced());
    assert_eq!(world.member(3).state(), MemberState::Down);
    world.all_active(&[1, 2]);
    world.link(sgm(3), 1, true);
    world.link(sgm(3), 2, true);
    world.run(ms(5000));
    world.all_active(&[1, 2, 3]);
}

/// What a failover takes, by its parts, in virtual time: what the agreement itself adds to the dead timer.
#[test]
fn the_parts_of_a_failover() {
    let mut lines = String::new();
    for (name, architecture, members, victim) in [
        ("maestro member", Architecture::Maestro, 4, 3),
        ("maestro SMO", Architecture::Maestro, 4, 1),
        ("elasticxl member", Architecture::ElasticXl, 3, 3),
        ("elasticxl pivot", Architecture::ElasticXl, 3, 1),
    ] {
        let mut world = booted(architecture, members, &[]);
        world.kill(sgm(victim));
        let killed = world.now;
        world.run(ms(2000));
        let at = |wanted: &dyn Fn(&NodeEvent) -> bool| world.first_event(killed, wanted).expect("an event");
        let dead = at(&|event| matches!(event, NodeEvent::Dead { .. }));
        let prepared = at(&|event| matches!(event, NodeEvent::Prepared { .. }));
        let author = at(&|event| matches!(event, NodeEvent::Activated { .. }));
        let activated = world.events.iter().rfind(|(_, id, event)| {
            id.member().is_some() && matches!(event, NodeEvent::Activated { generation } if generation.counter == 2)
        });
        let all = activated.expect("all activate").0;
        let parts = [dead.since(killed), prepared.since(dead), author.since(prepared), all.since(author)];
        let us = parts.map(|part| part.as_micros());
        lines += &format!("{name}: detect {} decide {} barrier {} activate {} us\n", us[0], us[1], us[2], us[3]);
        assert!(all.since(killed).as_millis() * 2 <= u128::from(UNIT) * 9, "over 4.5 units: {lines}");
    }
    insta::assert_snapshot!(lines, @r"
    maestro member: detect 200240 decide 0 barrier 80 activate 40 us
    maestro SMO: detect 200200 decide 80 barrier 80 activate 40 us
    elasticxl member: detect 300240 decide 0 barrier 80 activate 40 us
    elasticxl pivot: detect 300200 decide 80 barrier 80 activate 40 us
    ");
}

#[test]
fn an_orchestrator_that_stood_still_for_less_than_the_fence_keeps_its_uplinks() {
    let mut world = booted(Architecture::Maestro, 4, &[]);
    let mho = NodeId::from(MhoId(2));
    world.uplinks.clear();
    // A pulled downlink makes it say so at once, between the members' heartbeats: theirs are older than its own when it
    // wakes, over the dead timer.
    world.run(ms(1060));
    world.pull(3, 2);
    world.run(ms(1095));
    world.hang(mho);
    world.run(ms(1305));
    world.unhang(mho);
    world.run(ms(2000));
    assert_eq!((world.generations(), &world.uplinks[..]), (1, &[][..]));
    // Longer than the fence: down, and up again by a generation that names the new life.
    world.hang(mho);
    world.run(ms(2000 + 5 * UNIT));
    world.unhang(mho);
    assert_eq!(world.uplinks, [(mho, false)]);
    world.run(ms(4000));
    assert_eq!((world.generations(), &world.uplinks[..]), (2, &[(mho, false), (mho, true)][..]));
}

#[test]
fn a_matrix_altered_in_memory_fences_its_holder_which_is_given_it_again() {
    let mho = NodeId::Mho(MhoId(1));
    let labs: [(Architecture, u8, &[NodeId]); 2] =
        [(Architecture::Maestro, 4, &[sgm(1), sgm(3), mho]), (Architecture::ElasticXl, 3, &[sgm(1), sgm(3)])];
    // Not 1_02: the altered bucket would be its own, and until its next heartbeat two would own it.
    for (architecture, members, victims) in labs {
        for &victim in victims {
            let mut world = booted(architecture, members, &[]);
            let at = world.now;
            match &mut world.node(victim).machine {
                Machine::Member(member) => member.on_command(&Command::Alter, at),
                Machine::Mho(mho) => mho.alter(),
            }
            world.run(ms(2200));
            let fenced = |event: &NodeEvent| matches!(event, NodeEvent::Fenced { reason } if reason == "its matrix was altered in memory");
            let took = world.first_event(at, fenced).unwrap_or_else(|| panic!("{victim} goes on")).since(at);
            assert!(took.as_millis() <= u128::from(UNIT) + 1, "{victim}: {took:?}");
            world.run(ms(5000));
            world.all_active(&(1..=members).collect::<Vec<_>>());
            let digests: std::collections::BTreeSet<u64> = world.live_members().map(|member| member.digest()).collect();
            assert_eq!(digests.len(), 1);
        }
    }
}

/// The author's own matrix, while one acceptor has not answered yet: it must not repeat it.
#[test]
fn an_altered_matrix_is_not_proposed() {
    let mut world = booted(Architecture::ElasticXl, 3, &[]);
    world.kill(sgm(3));
    world.run(ms(1000 + 5 * UNIT / 2));
    // The first Prepare is lost.
    world.deaf.insert(sgm(2));
    while world.member(1).accepted().counter < 2 {
        assert!(world.now < ms(3000), "1_03 is not left out");
        let next = world.now.0 + LATENCY / 4;
        world.run(scalebed_engine::Instant(next));
    }
    let now = world.now;
    let Machine::Member(member) = &mut world.node(sgm(1)).machine else { unreachable!("a member") };
    member.on_command(&Command::Alter, now);
    world.run(scalebed_engine::Instant(now.0 + 2 * LATENCY));
    world.deaf.clear();
    assert_eq!(world.member(2).accepted().counter, 1);
    // S7 is asked after every step.
    world.run(ms(8000));
    world.all_active(&[1, 2]);
}
