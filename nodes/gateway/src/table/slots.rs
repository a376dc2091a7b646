//! Places for connections, in pieces: growing copies nothing, and at most one piece is empty beyond the last tenant.

use std::ops::{Index, IndexMut};

use scalebed_engine::Instant;

use super::connection::Connection;

/// Slots in a piece.
const PIECE: usize = 256;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stamp: u32,
    /// Where the heap of deadlines has it; means nothing without a tenant.
    pub(super) place: u32,
    /// The deadline that is in the heap for it.
    pub(super) armed: Instant,
    pub(super) tenant: Option<Connection>,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    pieces: Vec<Vec<Slot>>,
    len: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more slot, empty.
    pub(super) fn grow(&mut self) -> u32 {
        let slot = Slot { stamp: 0, place: 0, armed: Instant(u64::MAX), tenant: None };
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(slot),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(slot);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
        u32::try_from(self.len - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.pieces.get(slot as usize / PIECE)?.get(slot as usize % PIECE)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.pieces.get_mut(slot as usize / PIECE)?.get_mut(slot as usize % PIECE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.pieces.iter().flatten()
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.capacity() * size_of::<Slot>()).sum();
        pieces + self.pieces.capacity() * size_of::<Vec<Slot>>()
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    fn index(&self, slot: u32) -> &Slot {
        &self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}
