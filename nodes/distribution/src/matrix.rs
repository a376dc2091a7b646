//! Dealing buckets to members. The matrix travels as [`scalebed_frame::control::Matrix`].
//!
//! `emulated:` how the vendor deals again after a change is unpublished. Ours moves as little as possible: orphaned
//! buckets go to their backup and stay there; a joiner takes exactly its share, evenly from all. Backups are spread so
//! that the loss of any one member hands its buckets out evenly.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use scalebed_frame::control::{Admitted, Assignment, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId};
use scalebed_topologies::lab::Redeal;
use siphasher::sip::SipHasher24;

/// Digest over generation and content: equal matrices have equal digests on every machine.
#[must_use]
pub fn digest(matrix: &Matrix) -> u64 {
    // One write of all bytes: the hash is the same as of many small ones, at a fraction of the time.
    let mut bytes = Vec::with_capacity(64 + 32 * (matrix.admitted.len() + matrix.buckets.len()));
    let member = |bytes: &mut Vec<u8>, member: MemberId| bytes.extend([member.site, member.number]);
    let generation = |bytes: &mut Vec<u8>, generation: Generation| {
        bytes.extend(generation.counter.to_be_bytes());
        bytes.extend([generation.author.site, generation.author.number]);
        bytes.extend(generation.incarnation.0.to_be_bytes());
    };
    generation(&mut bytes, matrix.generation);
    for admitted in &matrix.admitted {
        member(&mut bytes, admitted.member);
        bytes.extend(admitted.incarnation.0.to_be_bytes());
    }
    bytes.push(b'|');
    for (mho, incarnation) in &matrix.orchestrators {
        bytes.push(mho.0);
        bytes.extend(incarnation.0.to_be_bytes());
    }
    bytes.push(b'|');
    for bucket in &matrix.buckets {
        member(&mut bytes, bucket.owner);
        for other in [bucket.backup, bucket.previous] {
            member(&mut bytes, other.unwrap_or(MemberId::new(0, 0)));
        }
        generation(&mut bytes, bucket.moved);
    }
    let mut hasher = SipHasher24::new();
    hasher.write(&bytes);
    hasher.finish()
}

/// The first matrix: `buckets` dealt evenly over `admitted`, in order of id.
#[must_use]
pub fn first(
    generation: Generation,
    buckets: u16,
    admitted: &[Admitted],
    orchestrators: &[(MhoId, Incarnation)],
) -> Matrix {
    let mut dealt = Vec::with_capacity(usize::from(buckets));
    for admitted in admitted.iter().cycle().take(usize::from(buckets)) {
        dealt.push(Assignment { owner: admitted.member, backup: None, moved: generation, previous: None });
    }
    let mut matrix =
        Matrix { generation, admitted: admitted.to_vec(), orchestrators: orchestrators.to_vec(), buckets: dealt };
    spread_backups(&mut matrix);
    matrix
}

/// Forgets the previous owners of planned moves that `done` says are complete.
pub fn finish_moves(matrix: &mut Matrix, done: impl Fn(&Assignment) -> bool) {
    for bucket in &mut matrix.buckets {
        if bucket.previous.is_some() && done(bucket) {
            bucket.previous = None;
        }
    }
}

/// The next matrix, with exactly `admitted`. Orphaned buckets go to their backup; a joiner takes its share (planned: the
/// previous owner is noted); the loss of any one member spreads its buckets evenly over the others. A member that is
/// admitted in another life than before counts as gone and as a joiner.
#[must_use]
pub fn next(
    matrix: &Matrix,
    generation: Generation,
    admitted: &[Admitted],
    orchestrators: &[(MhoId, Incarnation)],
    redeal: Redeal,
) -> Matrix {
    let mut new = Matrix {
        generation,
        admitted: admitted.to_vec(),
        orchestrators: orchestrators.to_vec(),
        buckets: matrix.buckets.clone(),
    };
    if admitted.is_empty() {
        return new;
    }
    let stays = |member: MemberId| admitted.iter().any(|one| one.member == member && matrix.admitted.contains(one));
    forget_gone(&mut new, &stays);
    match redeal {
        Redeal::MinimalMove => {
            adopt_orphans(&mut new, &stays);
            if admitted.iter().any(|one| !stays(one.member)) {
                give_shares(&mut new, &stays);
            }
        }
        Redeal::Full => deal_anew(&mut new, &stays),
    }
    spread_backups(&mut new);
    new
}

/// A previous owner that is gone is asked no more. It may still serve where this matrix has not arrived: until that is
/// active the new owner begins nothing, as after any move.
fn forget_gone(matrix: &mut Matrix, stays: &impl Fn(MemberId) -> bool) {
    for bucket in &mut matrix.buckets {
        if bucket.previous.is_some_and(|member| !stays(member)) {
            (bucket.previous, bucket.moved) = (None, matrix.generation);
        }
    }
}

/// Buckets whose owner is gone go to their backup, or to the member with the fewest. An unplanned move has no previous.
/// If nobody stays, as at a boot after all fenced themselves, each takes what an earlier life of it owned or backed up: it
/// has the copies.
fn adopt_orphans(matrix: &mut Matrix, stays: &impl Fn(MemberId) -> bool) {
    let mut counts = counts(matrix);
    let generation = matrix.generation;
    let members: Vec<MemberId> = matrix.admitted.iter().map(|one| one.member).collect();
    let boot = !members.iter().any(|&member| stays(member));
    for bucket in &mut matrix.buckets {
        let former = [Some(bucket.owner), bucket.backup].into_iter().flatten().find(|one| members.contains(one));
        bucket.backup = bucket.backup.filter(|&member| stays(member));
        if stays(bucket.owner) {
            continue;
        }
        let fewest = || counts.iter().filter(|(member, _)| boot || stays(**member)).min_by_key(|(_, count)| **count);
        let heir = if boot { former } else { bucket.backup };
        let Some(heir) = heir.or_else(|| fewest().map(|(member, _)| *member)) else { continue };
        *counts.entry(heir).or_default() += 1;
        *bucket = Assignment { owner: heir, backup: None, moved: generation, previous: None };
    }
}

/// Buckets owned by each admitted member.
fn counts(matrix: &Matrix) -> BTreeMap<MemberId, usize> {
    let mut counts: BTreeMap<_, _> = matrix.admitted.iter().map(|one| (one.member, 0)).collect();
    for bucket in &matrix.buckets {
        if let Some(count) = counts.get_mut(&bucket.owner) {
            *count += 1;
        }
    }
    counts
}

/// Every member gets its share by largest remainder. The remainder goes to those who have it already, then to joiners, so
/// that fewest move and nothing moves between those who were there before, if they are even.
fn shares(matrix: &Matrix, stays: &impl Fn(MemberId) -> bool) -> BTreeMap<MemberId, usize> {
    let counts = counts(matrix);
    let (share, rest) = (matrix.buckets.len() / counts.len(), matrix.buckets.len() % counts.len());
    let mut order: Vec<_> = counts.iter().map(|(member, count)| (*member, *count)).collect();
    order.sort_by_key(|&(member, count)| (count <= share, stays(member), std::cmp::Reverse(count), member));
    (0..).zip(order).map(|(place, (member, _))| (member, share + usize::from(place < rest))).collect()
}

/// Planned: who has more than its share gives to who has less; the giver is noted as the previous owner.
fn give_shares(matrix: &mut Matrix, stays: &impl Fn(MemberId) -> bool) {
    let shares = shares(matrix, stays);
    let mut counts = counts(matrix);
    let generation = matrix.generation;
    // Round by round over the givers, so that a joiner takes evenly from all.
    let mut by_owner: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
    for (index, bucket) in matrix.buckets.iter().enumerate() {
        by_owner.entry(bucket.owner).or_default().push(index);
    }
    loop {
        let mut gave = false;
        for (giver, indexes) in &mut by_owner {
            if counts[giver] <= shares[giver] {
                continue;
            }
            let taker =
                counts.iter().filter(|(member, count)| **count < shares[member]).min_by_key(|(_, count)| **count);
            let (Some(taker), Some(index)) = (taker.map(|(member, _)| *member), indexes.pop()) else { continue };
            matrix.buckets[index] =
                Assignment { owner: taker, backup: Some(*giver), moved: generation, previous: Some(*giver) };
            *counts.entry(*giver).or_default() -= 1;
            *counts.entry(taker).or_default() += 1;
            gave = true;
        }
        if !gave {
            return;
        }
    }
}

/// Everything is dealt as at first; what changes hands is a planned move where the old owner stays.
fn deal_anew(matrix: &mut Matrix, stays: &impl Fn(MemberId) -> bool) {
    let fresh: Vec<MemberId> = matrix.admitted.iter().map(|one| one.member).collect();
    let generation = matrix.generation;
    for (bucket, &owner) in matrix.buckets.iter_mut().zip(fresh.iter().cycle()) {
        if bucket.owner != owner {
            let previous = Some(bucket.owner).filter(|&member| stays(member));
            *bucket = Assignment { owner, backup: previous, moved: generation, previous };
        }
        bucket.backup = bucket.backup.filter(|&member| stays(member));
    }
}

/// Spreads the backups of each owner's buckets evenly over the others, moving as few as can be. A bucket in a planned
/// move keeps its previous owner as backup: it has the state.
fn spread_backups(matrix: &mut Matrix) {
    let members: Vec<MemberId> = matrix.admitted.iter().map(|one| one.member).collect();
    for &owner in &members {
        let others: Vec<MemberId> = members.iter().copied().filter(|&member| member != owner).collect();
        let mine: Vec<usize> =
            (0..matrix.buckets.len()).filter(|&index| matrix.buckets[index].owner == owner).collect();
        if others.is_empty() {
            mine.iter().for_each(|&index| matrix.buckets[index].backup = None);
            continue;
        }
        let (floor, rest) = (mine.len() / others.len(), mine.len() % others.len());
        let mut load: BTreeMap<MemberId, usize> = others.iter().map(|&member| (member, 0)).collect();
        let mut open = Vec::new();
        // Pinned ones first: they count, whatever the others have.
        let (pinned, free): (Vec<usize>, Vec<usize>) =
            mine.into_iter().partition(|&index| matrix.buckets[index].previous.is_some());
        for index in pinned {
            let previous = matrix.buckets[index].previous;
            matrix.buckets[index].backup = previous;
            previous.and_then(|member| load.get_mut(&member)).into_iter().for_each(|count| *count += 1);
        }
        let mut extra = rest;
        for index in free {
            let keeps = matrix.buckets[index].backup.and_then(|member| load.get_mut(&member)).is_some_and(|count| {
                let fits = *count < floor || *count == floor && extra > 0;
                extra -= usize::from(fits && *count == floor);
                *count += usize::from(fits);
                fits
            });
            if !keeps {
                open.push(index);
            }
        }
        for index in open {
            let Some(least) = load.iter().min_by_key(|(_, count)| **count).map(|(member, _)| *member) else { continue };
            matrix.buckets[index].backup = Some(least);
            *load.entry(least).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests;
