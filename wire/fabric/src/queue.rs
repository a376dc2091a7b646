//! What is still to happen, in order of time; what happens at the same instant, in the order in which it was planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use scalebed_engine::{Frame, Instant};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A frame comes out of a cable.
    Deliver { cable: u32, to_b: bool, frame: Frame },
    /// The instant that a node asked for has come.
    Wake { node: u32 },
    /// A node is told of a carrier change: the state then, and the count of changes then.
    Carrier { node: u32, port: u16, up: bool, changes: u32 },
}

#[derive(Debug)]
struct Planned {
    at: Instant,
    sequence: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The queue of planned happenings.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Planned>>,
    sequence: u64,
}

impl Queue {
    pub(crate) fn plan(&mut self, at: Instant, what: Happening) {
        self.sequence += 1;
        self.heap.push(Reverse(Planned { at, sequence: self.sequence, what }));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(planned)| planned.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Instant, Happening)> {
        self.heap.pop().map(|Reverse(planned)| (planned.at, planned.what))
    }
}
