//! The earliest deadline of all slots: a binary heap of slot numbers.
//!
//! Each slot knows its place in the heap, so that any deadline can be taken out or moved: 8 bytes a connection, where an
//! ordered set takes 32. Equal deadlines come in order of slot.

use scalebed_engine::Instant;

use super::slots::Slots;

/// The heap. A slot's `armed` is its key: whoever changes it calls [`Deadlines::moved`].
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<u32>,
}

impl Deadlines {
    /// The earliest, and whose.
    pub(super) fn first(&self, slots: &Slots) -> Option<(Instant, u32)> {
        self.heap.first().map(|&slot| (slots[slot].armed, slot))
    }

    pub(super) fn insert(&mut self, slots: &mut Slots, slot: u32) {
        self.heap.push(slot);
        self.up(slots, self.heap.len() - 1);
    }

    pub(super) fn remove(&mut self, slots: &mut Slots, slot: u32) {
        let place = slots[slot].place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.up(slots, place);
            self.down(slots, place);
        }
    }

    /// `armed` of a slot changed.
    pub(super) fn moved(&mut self, slots: &mut Slots, slot: u32) {
        let place = self.up(slots, slots[slot].place as usize);
        self.down(slots, place);
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<u32>()
    }

    fn key(&self, slots: &Slots, place: usize) -> (Instant, u32) {
        let slot = self.heap[place];
        (slots[slot].armed, slot)
    }

    /// Towards the first; gives where it came to rest. Writes the place down even if nothing moves.
    fn up(&mut self, slots: &mut Slots, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.key(slots, parent) <= self.key(slots, place) {
                break;
            }
            self.swap(slots, parent, place);
            place = parent;
        }
        self.note(slots, place);
        place
    }

    fn down(&mut self, slots: &mut Slots, mut place: usize) {
        loop {
            let children = (2 * place + 1)..(2 * place + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.key(slots, child)) else { return };
            if self.key(slots, place) <= self.key(slots, least) {
                return;
            }
            self.swap(slots, place, least);
            place = least;
        }
    }

    fn swap(&mut self, slots: &mut Slots, one: usize, two: usize) {
        self.heap.swap(one, two);
        self.note(slots, one);
        self.note(slots, two);
    }

    fn note(&self, slots: &mut Slots, place: usize) {
        slots[self.heap[place]].place = u32::try_from(place).unwrap_or(u32::MAX);
    }
}
