//! ElasticXL: data ports without carrier, and who leaves service for them.

use scalebed_cluster::Ablations;
use scalebed_engine::{Instant, NodeEvent, Rng};
use scalebed_frame::NodeId;
use scalebed_frame::control::MemberState;
use scalebed_topologies::lab::Architecture;

use crate::world::{LATENCY, UNIT, World, booted, ms, sgm};

const SYNC: u16 = 0;
const INSIDE: u16 = 1;
const OUTSIDE: u16 = 2;

impl World {
    fn unplug(&mut self, number: u8, port: u16) {
        self.cut.insert((sgm(number), port));
        self.link(sgm(number), port, false);
    }

    fn plug(&mut self, number: u8, port: u16) {
        self.cut.remove(&(sgm(number), port));
        self.link(sgm(number), port, true);
    }

    fn active(&self) -> Vec<u8> {
        let here = self.live_members().filter(|member| member.state() == MemberState::Active);
        here.map(|member| member.id().number).collect()
    }

    /// Runs in steps shorter than anything that matters: somebody serves at each of them.
    fn run_served(&mut self, until: Instant) {
        while self.now < until {
            self.run(Instant((self.now.0 + LATENCY / 2).min(until.0)));
            assert!(!self.active().is_empty(), "nobody serves at {}", self.now);
        }
    }

    fn left(&self) -> Vec<NodeId> {
        let gone = |event: &NodeEvent| matches!(event, NodeEvent::Fenced { .. });
        self.events.iter().filter(|(.., event)| gone(event)).map(|(_, id, _)| *id).collect()
    }
}

fn three() -> World {
    booted(Architecture::ElasticXl, 3, &[])
}

#[test]
fn who_lost_a_data_port_leaves_at_once_and_joins_when_it_is_back() {
    for (member, port, name) in [(2, INSIDE, "inside"), (3, OUTSIDE, "outside"), (1, OUTSIDE, "outside")] {
        let mut world = three();
        world.unplug(member, port);
        let others: Vec<u8> = (1..=3).filter(|number| *number != member).collect();
        // Half a unit, and what a change takes.
        world.run_served(ms(1000 + UNIT * 3 / 5));
        assert_eq!(world.active(), others);
        assert_eq!(world.member(member).reason(), Some(format!("interface {name} is down").as_str()));
        assert_eq!(world.generations(), 2);
        world.run_served(ms(6000));
        assert_eq!((world.active(), world.generations()), (others, 2), "it does not come and go");
        world.plug(member, port);
        world.run_served(ms(6000 + 10 * UNIT));
        world.all_active(&[1, 2, 3]);
        assert_eq!(world.generations(), 3);
        assert_eq!(
            world.live_members().find(|one| one.is_smo()).map(|one| one.id().number),
            Some(if member == 1 { 2 } else { 1 })
        );
    }
}

#[test]
fn a_network_that_is_gone_for_all_takes_nobody_out() {
    // Its cables go one after the other.
    for gap in [0, 5, 15] {
        for stands in [UNIT, 40 * UNIT] {
            let mut world = three();
            for number in [2, 3, 1] {
                world.unplug(number, INSIDE);
                world.run_served(Instant(world.now.0 + gap * 1_000_000));
            }
            world.run_served(Instant(world.now.0 + stands * 1_000_000));
            assert_eq!(world.left(), [], "gap {gap}");
            // The first one that has it again is better off than the others.
            for number in [3, 1, 2] {
                world.plug(number, INSIDE);
                world.run_served(Instant(world.now.0 + gap * 1_000_000));
            }
            world.run_served(ms(9000));
            world.all_active(&[1, 2, 3]);
            assert_eq!((world.left(), world.generations()), (vec![], 1));
        }
    }
}

#[test]
fn of_two_that_lose_a_port_at_once_one_stays() {
    let mut rng = Rng::new(7, "ports");
    for _ in 0..300 {
        let mut world = booted(Architecture::ElasticXl, 2, &[]);
        // Around the half unit after which the first one goes.
        let gap = match rng.below(3) {
            0 => rng.below(3 * LATENCY),
            1 => UNIT * 500_000 + rng.below(4 * LATENCY) - 2 * LATENCY,
            _ => rng.below(UNIT * 1_000_000),
        };
        let (first, second) = if rng.below(2) == 0 { (1, 2) } else { (2, 1) };
        world.run_served(Instant(world.now.0 + rng.below(UNIT * 1_000_000)));
        world.unplug(first, INSIDE);
        world.run_served(Instant(world.now.0 + gap));
        world.unplug(second, OUTSIDE);
        world.run_served(ms(3000));
        // The one that went comes in again: the other is no better off.
        world.all_active(&[1, 2]);
        assert!(world.left().len() <= 1, "{:?}", world.left());
        world.plug(second, OUTSIDE);
        world.run_served(ms(5000));
        assert_eq!(world.active(), [second]);
        world.plug(first, INSIDE);
        world.run_served(ms(7000));
        world.all_active(&[1, 2]);
    }
}

#[test]
fn two_of_three_leave_the_third_serves() {
    let mut world = three();
    world.unplug(1, INSIDE);
    world.unplug(2, OUTSIDE);
    world.run_served(ms(4000));
    assert_eq!(world.active(), [3]);
    // The last one has lost as much now: all serve as they can.
    world.unplug(3, INSIDE);
    world.run_served(ms(8000));
    world.all_active(&[1, 2, 3]);
    // And if it falls while the others are out, they come in with a port down.
    world.plug(3, INSIDE);
    world.run_served(ms(9000));
    assert_eq!(world.active(), [3]);
    world.kill(sgm(3));
    world.run(ms(14_000));
    world.all_active(&[1, 2]);
}

#[test]
fn the_last_one_stays_and_so_does_one_that_no_other_knows_of() {
    let mut world = three();
    world.kill(sgm(1));
    world.kill(sgm(2));
    world.run(ms(3000));
    world.unplug(3, INSIDE);
    world.run_served(ms(5000));
    assert_eq!((world.active(), world.left()), (vec![3], vec![]));
    // Nothing that it says is heard by the one that is better off: that one may be about to go too.
    let mut world = booted(Architecture::ElasticXl, 2, &[]);
    world.strict = false;
    world.deaf.insert(sgm(2));
    world.unplug(1, INSIDE);
    world.run(ms(1000 + UNIT * 3 / 2));
    assert_eq!(world.member(1).state(), MemberState::Active);
}

#[test]
fn a_port_that_flaps_makes_no_generation_at_each_turn() {
    for turn in [20, 60, 250] {
        let mut world = three();
        for _ in 0..3000 / (2 * turn) {
            world.unplug(2, INSIDE);
            world.run_served(Instant(world.now.0 + turn * 1_000_000));
            world.plug(2, INSIDE);
            world.run_served(Instant(world.now.0 + turn * 1_000_000));
        }
        let left = usize::from(turn > UNIT / 2);
        assert_eq!((world.left().len(), world.active().len()), (left, 3 - left), "turn {turn}");
        world.run_served(ms(6000));
        world.all_active(&[1, 2, 3]);
        assert_eq!(world.generations(), 1 + 2 * u32::try_from(left).unwrap());
    }
}

/// At every few ms of a join: the joiner's port, and the one of each other member.
#[test]
fn a_port_goes_while_somebody_joins() {
    for member in [1, 2, 3] {
        for after in (0..UNIT * 4).step_by(7) {
            let mut world = World::new(Architecture::ElasticXl, 3, &[3], Ablations::default());
            world.run(ms(5000));
            world.start(sgm(3));
            world.run_served(ms(5000 + after));
            world.unplug(member, OUTSIDE);
            world.run_served(ms(8000));
            let others: Vec<u8> = (1..=3).filter(|number| *number != member).collect();
            assert_eq!(world.active(), others, "{after} ms");
            world.plug(member, OUTSIDE);
            world.run_served(ms(10_000));
            world.all_active(&[1, 2, 3]);
        }
    }
}

#[test]
fn sync_and_a_port_of_different_members() {
    for (port, sync) in [(1, 2), (2, 1)] {
        for gap in (0..6 * UNIT).step_by(9) {
            let mut world = booted(Architecture::ElasticXl, 2, &[]);
            world.cut.insert((sgm(sync), SYNC));
            world.run_served(ms(1000 + gap));
            world.unplug(port, INSIDE);
            world.run_served(ms(6000));
            world.cut.clear();
            world.plug(port, INSIDE);
            world.run_served(ms(10_000));
            world.all_active(&[1, 2]);
        }
    }
}
