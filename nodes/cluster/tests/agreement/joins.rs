//! Boot and scale-out: who comes in, and who does not.

use scalebed_cluster::{Ablations, NodeConfig};
use scalebed_frame::Bucket;
use scalebed_frame::control::MemberState;
use scalebed_topologies::lab::Architecture;

use crate::world::{World, booted, config_of, ms, sgm};

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
