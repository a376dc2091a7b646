//! Frames on their way through a port, in buffers that are used again and again.

use scalebed_engine::Instant;

/// Frames of a batch at most.
pub const BATCH: usize = 32;
/// Bytes of a frame at most: MTU 1600, the Ethernet header, and room to see that something is too long.
pub const LONGEST: usize = 2048;

/// A frame in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub(crate) buffer: Box<[u8; LONGEST]>,
    pub(crate) length: usize,
    /// When the kernel received it (CLOCK_MONOTONIC); 0 where the backend has no stamps, and on the way out.
    pub received: Instant,
}

impl Slot {
    fn new() -> Self {
        Self { buffer: Box::new([0; LONGEST]), length: 0, received: Instant(0) }
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Up to [`BATCH`] frames. Buffers live as long as the batch; clearing it frees nothing.
#[derive(Clone, Debug)]
pub struct FrameBatch {
    pub(crate) slots: Vec<Slot>,
    pub(crate) used: usize,
    /// How many of them are done with: a send that was cut short goes on from here.
    pub(crate) done: usize,
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self { slots: (0..BATCH).map(|_| Slot::new()).collect(), used: 0, done: 0 }
    }
}

impl FrameBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &Slot> {
        self.slots[..self.used].iter()
    }

    /// How many frames it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Does it hold none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Has it no room left?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used == BATCH
    }

    /// Forgets the frames.
    pub fn clear(&mut self) {
        (self.used, self.done) = (0, 0);
    }

    /// Adds a frame; false if there is no room, or the frame is longer than [`LONGEST`].
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let (full, long) = (self.is_full(), frame.len() > LONGEST);
        if full || long {
            return false;
        }
        let slot = &mut self.slots[self.used];
        slot.buffer[..frame.len()].copy_from_slice(frame);
        (slot.length, slot.received) = (frame.len(), Instant(0));
        self.used += 1;
        true
    }
}
