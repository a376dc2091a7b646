//! The table against a plain model of it, and its size.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use scalebed_frame::sync::ConnectionState;
use scalebed_frame::{Bucket, Incarnation, MemberId, NetworkId, Protocol};

use super::*;
use crate::tracking::Track;

fn connection(number: u16, expires: u64) -> Connection {
    let end = |n: u8| Ipv4Addr::new(10, n, 0, 1).into();
    let forward = Flow { protocol: Protocol::UDP, src: end(1), dst: end(2), src_port: number, dst_port: 53 };
    let expires = Instant(expires);
    Connection {
        forward,
        reverse: forward.reversed(),
        entered: NetworkId(1),
        left: NetworkId(2),
        owner: MemberId::new(1, 1),
        life: Incarnation(1),
        bucket: Bucket(0),
        back: Bucket(0),
        version: Version { generation: 1, counter: 0 },
        track: Track { state: ConnectionState::OneWay, closing: None },
        born: Instant(0),
        expires,
        refresh: expires,
        told: Tellings::default(),
    }
}

/// One thing that happens to a table.
#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u16, u64),
    Remove(u16),
    Extend(u16, u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (0u8..6, 0u16..40, 0u64..100).prop_map(|(kind, number, time)| match kind {
        0..=2 => Step::Insert(number, time),
        3 => Step::Remove(number),
        4 => Step::Extend(number, time),
        _ => Step::Pass(time / 4),
    });
    prop::collection::vec(one, 0..300)
}

/// A table, and what it must be: a map from number to deadline.
struct Both {
    table: Table,
    model: BTreeMap<u16, u64>,
    now: u64,
}

impl Both {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let Self { table, model, now } = self;
        match step {
            Step::Insert(number, time) => {
                let expected = match (model.contains_key(&number), model.len()) {
                    (_, 30) => Some(Reason::TableFull),
                    (true, _) => Some(Reason::TupleInUse),
                    (false, _) => None,
                };
                prop_assert_eq!(table.insert(connection(number, *now + 1 + time)).err(), expected);
                if expected.is_none() {
                    model.insert(number, *now + 1 + time);
                }
            }
            Step::Remove(number) => {
                let found = table.find(&connection(number, 0).forward).map(|(id, _)| id);
                let gone = found.and_then(|id| table.remove(id, None));
                prop_assert_eq!(gone.is_some(), model.remove(&number).is_some());
                prop_assert!(found.is_none_or(|id| table.get(id).is_none()), "an old name finds nothing");
            }
            Step::Extend(number, time) => {
                if let Some((id, _)) = table.find(&connection(number, 0).reverse) {
                    let at = *now + 1 + time;
                    table.get_mut(id).expect("it was found").expires = Instant(at);
                    table.rearm(id);
                    model.insert(number, at);
                }
            }
            Step::Pass(time) => {
                *now += time;
                let mut over = Vec::new();
                while let Some(id) = table.next_expired(Instant(*now)) {
                    over.push(table.remove(id, None).expect("it is there").forward.src_port);
                }
                over.sort_unstable();
                let due: Vec<u16> = model.iter().filter(|(_, at)| **at <= *now).map(|(number, _)| *number).collect();
                prop_assert_eq!(over, due);
                model.retain(|_, at| *at > *now);
            }
        }
        Ok(())
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.table.len(), self.model.len());
        prop_assert_eq!(self.table.torn(), 0);
        prop_assert_eq!(self.table.deadline().is_some(), !self.model.is_empty());
        // Lazy: it may ask to be looked at too early, and never too late.
        let first = self.model.values().min().copied().unwrap_or(u64::MAX);
        prop_assert!(self.table.deadline().is_none_or(|at| at.0 <= first));
        for number in 0..40 {
            let Connection { forward, reverse, .. } = connection(number, 0);
            for (flow, way) in [(forward, Way::Forward), (reverse, Way::Reverse)] {
                let found = self.table.find(&flow);
                prop_assert_eq!(found.map(|(_, way)| way), self.model.get(&number).map(|_| way));
                let expires = found.and_then(|(id, _)| self.table.get(id)).map(|one| one.expires.0);
                prop_assert_eq!(expires, self.model.get(&number).copied());
            }
        }
        Ok(())
    }
}

proptest! {
    /// What is in it, what is found by which tuple, what has expired, and when it wants to be looked at.
    #[test]
    fn it_is_a_map_with_deadlines(steps in steps()) {
        let mut both = Both { table: Table::new(30), model: BTreeMap::new(), now: 0 };
        for step in steps {
            both.step(step)?;
            both.agree()?;
        }
    }
}

/// An owner's connection and its backup's copy are two of these, at most 400 bytes together at the worst fill of the index.
#[test]
fn a_connection_is_small() {
    let mut table = Table::new(CAPACITY);
    let mut worst = 0;
    for number in 0..60_000u16 {
        table.insert(connection(number, 1)).expect("there is room");
        if number > 10_000 && number % 64 == 0 {
            worst = worst.max(table.bytes().div_ceil(table.len()));
        }
    }
    assert_eq!(size_of::<slots::Slot>(), 168);
    assert!(2 * worst <= 400, "{worst} bytes");
}
