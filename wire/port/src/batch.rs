//! Frames on their way through a port, in buffers that are used again and again.

use scalebed_engine::Instant;

/// Frames of a batch at most.
pub const BATCH: usize = 32;
/// Bytes of a frame at most: MTU 1600, the Ethernet header, and room to see that something is too long.
pub const LONGEST: usize = 2048;
/// Bytes of an 802.1Q tag.
pub(crate) const TAG: usize = 4;
/// Bytes of both addresses, after which a tag goes.
const ADDRESSES: usize = 12;

/// A frame in a batch.
#[derive(Clone, Debug)]
pub struct Slot {
    /// A frame is received behind room for a tag: the kernel takes the tag out, and putting it back moves the addresses
    /// instead of the frame.
    buffer: Box<[u8; TAG + LONGEST]>,
    start: usize,
    end: usize,
    /// When the kernel received it (CLOCK_MONOTONIC); 0 where the backend has no stamps, and on the way out.
    pub received: Instant,
}

impl Slot {
    fn new() -> Self {
        Self { buffer: Box::new([0; TAG + LONGEST]), start: TAG, end: TAG, received: Instant(0) }
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where a frame is received to: [`LONGEST`] bytes.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[TAG..]
    }

    /// Says how long the frame in [`Self::room`] is.
    fn fill(&mut self, length: usize, received: Instant) {
        (self.start, self.end, self.received) = (TAG, TAG + length.min(LONGEST), received);
    }

    /// Puts a tag back between the addresses and the type.
    fn tag(&mut self, tag: [u8; TAG]) {
        self.start = 0;
        self.buffer.copy_within(TAG..TAG + ADDRESSES, 0);
        self.buffer[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&tag);
    }
}

/// Up to [`BATCH`] frames. Buffers live as long as the batch; clearing it frees nothing.
#[derive(Clone, Debug)]
pub struct FrameBatch {
    slots: Vec<Slot>,
    used: usize,
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self { slots: (0..BATCH).map(|_| Slot::new()).collect(), used: 0 }
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
        self.filled().iter()
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
        self.used = 0;
    }

    /// Adds a frame; false if there is no room, or the frame is longer than [`LONGEST`].
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.is_full() || frame.len() > LONGEST {
            return false;
        }
        let slot = &mut self.slots[self.used];
        slot.room()[..frame.len()].copy_from_slice(frame);
        slot.fill(frame.len(), Instant(0));
        self.used += 1;
        true
    }

    /// The slots in use.
    pub(crate) fn filled(&self) -> &[Slot] {
        &self.slots[..self.used]
    }

    /// Every slot, to receive into.
    pub(crate) fn rooms(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Takes what was received into the slot at `place` as the next frame. Places go up, and some may be left out.
    pub(crate) fn keep(&mut self, place: usize, length: usize, tag: Option<[u8; TAG]>, received: Instant) {
        let slot = &mut self.slots[place];
        slot.fill(length, received);
        if let Some(tag) = tag {
            slot.tag(tag);
        }
        self.slots.swap(self.used, place);
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use scalebed_engine::Instant;

    use super::{BATCH, FrameBatch, LONGEST, Slot};

    proptest! {
        /// Up to the batch's room, what fits comes out as it went in, whatever the batch held before.
        #[test]
        fn a_batch_takes_what_fits_and_nothing_else(lengths in vec(0..LONGEST + 3, 0..2 * BATCH), before in 0..=BATCH) {
            let mut batch = FrameBatch::new();
            prop_assert!((0..before).all(|_| batch.push(&[0xff; LONGEST])));
            batch.clear();
            let frames: Vec<_> = lengths.iter().enumerate().map(|(n, length)| std::vec![n as u8; *length]).collect();
            let taken: Vec<_> = frames.iter().filter(|frame| batch.push(frame)).collect();
            let fitting: Vec<_> = frames.iter().filter(|frame| frame.len() <= LONGEST).take(BATCH).collect();
            prop_assert_eq!(&taken, &fitting);
            prop_assert_eq!((batch.len(), batch.is_full()), (fitting.len(), fitting.len() == BATCH));
            prop_assert!(batch.frames().map(Slot::bytes).eq(fitting.iter().map(|frame| &frame[..])));
        }
    }

    #[test]
    fn a_tag_goes_back_between_addresses_and_type_and_left_out_slots_leave_no_gap() {
        let mut batch = FrameBatch::new();
        for (place, slot) in batch.rooms().iter_mut().enumerate() {
            slot.room().fill(place as u8);
            slot.room()[12..14].copy_from_slice(&[8, 0]);
        }
        batch.keep(1, 15, None, Instant(5));
        batch.keep(3, LONGEST, Some([0x81, 0, 0, 42]), Instant(6));
        let frames: Vec<_> = batch.frames().map(|slot| (slot.bytes(), slot.received)).collect();
        assert_eq!(frames[0], (&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 0, 1][..], Instant(5)));
        assert_eq!(frames[1].0[..20], [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0x81, 0, 0, 42, 8, 0, 3, 3]);
        assert_eq!((frames[1].0.len(), frames[1].1, frames.len()), (LONGEST + 4, Instant(6), 2));
    }
}
