//! Two ports joined by queues, for tests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use crate::batch::FrameBatch;
use crate::losses::{Reason, Unsent};
use crate::{Capabilities, Port};

/// Frames that a queue holds at most; further ones are counted as unsent.
const QUEUE: usize = 4096;

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One of two joined ports.
#[derive(Debug)]
pub struct MemoryPort {
    incoming: Queue,
    outgoing: Queue,
    unsent: Unsent,
}

impl MemoryPort {
    /// What the backend can.
    pub const CAPABILITIES: Capabilities = Capabilities { timestamps: false, tags: true, batch: true };

    /// Two ports; what one sends the other receives.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (a, b) = (Queue::default(), Queue::default());
        let one = Self { incoming: Rc::clone(&a), outgoing: Rc::clone(&b), unsent: Unsent::default() };
        (one, Self { incoming: b, outgoing: a, unsent: Unsent::default() })
    }

    /// Frames that found the other's queue full.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.unsent.total()
    }

    /// The same, by reason.
    #[must_use]
    pub const fn unsent_by(&self) -> Unsent {
        self.unsent
    }
}

impl Port for MemoryPort {
    fn recv(&mut self, into: &mut FrameBatch) -> io::Result<()> {
        into.clear();
        let mut queue = self.incoming.borrow_mut();
        while !into.is_full()
            && let Some(frame) = queue.pop_front()
        {
            let _fits = into.push(&frame);
        }
        Ok(())
    }

    fn send(&mut self, batch: &mut FrameBatch) -> io::Result<()> {
        let mut queue = self.outgoing.borrow_mut();
        for slot in batch.frames() {
            if queue.len() < QUEUE {
                queue.push_back(slot.bytes().to_vec());
            } else {
                self.unsent.count(Reason::QueueFull);
            }
        }
        batch.clear();
        Ok(())
    }
}
