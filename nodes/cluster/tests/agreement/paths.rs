//! A member's own cables: Sync that brings nothing, carrier that was lost unseen.

use scalebed_engine::NodeEvent;
use scalebed_frame::control::MemberState;
use scalebed_topologies::lab::Architecture;

use crate::world::{Machine, UNIT, World, booted, ms, sgm};

const SYNC: u16 = 0;

fn states(world: &World, numbers: &[u8]) -> Vec<MemberState> {
    numbers.iter().map(|&number| world.member(number).state()).collect()
}

#[test]
fn who_hears_nobody_on_sync_goes_down_until_it_does() {
    for cut in [1, 3] {
        let mut world = booted(Architecture::ElasticXl, 3, &[]);
        world.cut.insert((sgm(cut), SYNC));
        world.run(ms(1000 + 12 * UNIT));
        assert_eq!(world.member(cut).state(), MemberState::Down, "{:?}", world.member(cut).reason());
        let others: Vec<u8> = (1..=3).filter(|number| *number != cut).collect();
        world.all_active(&others);
        assert_eq!(world.generations(), 2);
        world.run(ms(5000));
        assert_eq!((world.generations(), world.member(cut).state()), (2, MemberState::Down), "it does not come and go");
        world.cut.clear();
        world.run(ms(7000));
        world.all_active(&[1, 2, 3]);
        assert_eq!(world.generations(), 3);
    }
}

#[test]
fn without_any_sync_the_lowest_goes_on_alone() {
    for members in [2, 3] {
        let mut world = booted(Architecture::ElasticXl, members, &[]);
        for number in 1..=members {
            world.cut.insert((sgm(number), SYNC));
        }
        while world.now < ms(4000) {
            let next = world.now.0 + 1_000_000;
            world.run(scalebed_engine::Instant(next));
            assert_eq!(world.member(1).state(), MemberState::Active, "at {}", world.now);
        }
        let numbers: Vec<u8> = (2..=members).collect();
        assert!(states(&world, &numbers).iter().all(|state| *state == MemberState::Down), "{members} members");
        // Nobody serves any more: somebody must, without Sync.
        world.kill(sgm(1));
        world.run(ms(9000));
        assert_eq!(world.member(2).state(), MemberState::Active);
        world.cut.clear();
        world.start(sgm(1));
        world.run(ms(14_000));
        world.all_active(&(1..=members).collect::<Vec<_>>());
    }
}

#[test]
fn a_silent_group_is_not_a_silent_sync() {
    let mut world = booted(Architecture::ElasticXl, 3, &[]);
    world.kill(sgm(1));
    world.kill(sgm(2));
    world.run(ms(4000));
    assert_eq!(world.member(3).state(), MemberState::Active);
}

#[test]
fn carrier_that_was_lost_unseen_on_every_data_path_fences_on_waking() {
    for (paths, fenced) in [(1, false), (2, true)] {
        let mut world = booted(Architecture::Maestro, 4, &[]);
        world.hang(sgm(3));
        world.run(ms(1000 + UNIT));
        world.node(sgm(3)).hung = false;
        let now = world.now;
        let Machine::Member(member) = &mut world.node(sgm(3)).machine else { unreachable!("a member") };
        member.on_time(now);
        (0..paths).for_each(|port| member.on_link(port, true, 3, now));
        assert_eq!(member.is_fenced(), fenced, "{paths} of 2 paths");
        world.settle(sgm(3));
        let told = world.events.iter().any(|(_, id, event)| *id == sgm(3) && matches!(event, NodeEvent::Fenced { .. }));
        assert_eq!(told, fenced);
        world.run(ms(4000));
        world.all_active(&[1, 2, 3, 4]);
    }
}
