//! Planned moves: the list that a previous owner sends.

use std::collections::BTreeMap;

use scalebed_frame::control::Assignment;
use scalebed_frame::sync::Item;
use scalebed_frame::{Bucket, Generation, MemberId};

use crate::engine::Gateway;
use crate::table::Id;

/// A planned move whose list is being sent.
#[derive(Debug)]
pub(crate) struct Move {
    to: MemberId,
    generation: Generation,
    buckets: Vec<Bucket>,
    /// Where the table is read on.
    slot: u32,
    entries: u32,
}

impl Gateway {
    /// A previous owner: the connections of the buckets that moved go to their new owner, those that it keeps as corrections
    /// for others among them, then the end of the list. The others tell the new owner of theirs too, but nobody waits
    /// for that.
    pub(crate) fn send_move(&mut self, to: MemberId, generation: Generation, buckets: &[Bucket]) {
        self.moves.push(Move { to, generation, buckets: buckets.to_vec(), slot: 0, entries: 0 });
        self.go_on_with_moves(to);
    }

    /// The new owner of moved buckets is heard in another life than the last one: what was queued for it is gone.
    pub(crate) fn move_again(&mut self, to: MemberId) {
        let mut moves: BTreeMap<Generation, Vec<Bucket>> = BTreeMap::new();
        for (bucket, place) in (0u16..).zip(&self.view.places) {
            let Assignment { owner, previous, moved, .. } = place.assignment;
            if owner == to && previous == Some(self.view.id) {
                moves.entry(moved).or_default().push(Bucket(bucket));
            }
        }
        if moves.is_empty() {
            return;
        }
        self.moves.retain(|one| one.to != to);
        for slot in 0..self.table.slots() {
            if let Some(id) = self.table.at(slot)
                && let Some(connection) = self.table.get_mut(id)
            {
                connection.told.retain(|told| told.member != to);
            }
        }
        for (generation, buckets) in moves {
            self.send_move(to, generation, &buckets);
        }
    }

    /// A list that is longer than there is room for goes in parts: its end must not be lost.
    pub(crate) fn go_on_with_moves(&mut self, to: MemberId) {
        for mut one in std::mem::take(&mut self.moves) {
            let known = self.view.places.iter().any(|place| place.assignment.moved == one.generation);
            let done = !known || one.to == to && self.send_part(&mut one);
            if !done {
                self.moves.push(one);
            }
        }
    }

    /// True: all of it is queued, the end too.
    fn send_part(&mut self, part: &mut Move) -> bool {
        while part.slot < self.table.slots() {
            let id = self.table.at(part.slot);
            let connection = id.and_then(|id| Some((id, self.table.get(id)?)));
            let (queued, counts) = match connection.filter(|(_, one)| part.buckets.contains(&one.bucket)) {
                Some((id, one)) if self.owns(one) => (self.tell(id, part.to) || self.knows(id, part.to), 1),
                Some((_, one)) if one.owner != part.to && self.view.admits(one.owner, one.life) => {
                    let kept = Item::Kept(one.entry(self.now));
                    (self.push(part.to, kept), 1)
                }
                Some(_) | None => (true, 0),
            };
            // Of a life that is not admitted nothing is to be told, nor waited for.
            if !queued && self.view.life(part.to).is_some() {
                return false;
            }
            (part.slot, part.entries) = (part.slot + 1, part.entries + counts);
        }
        self.push(part.to, Item::MoveDone { generation: part.generation, entries: part.entries })
    }

    fn knows(&self, id: Id, member: MemberId) -> bool {
        self.table.get(id).is_some_and(|one| one.told.iter().any(|told| told.member == member))
    }
}
