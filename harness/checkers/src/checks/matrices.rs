//! Minimal disruption: what each new matrix moved, of need and without (S6, S8, S9).

use std::collections::BTreeMap;

use scalebed_frame::control::{Admitted, Matrix};
use scalebed_record::Verdict;
use scalebed_topologies::lab::Redeal;

use super::Said;
use crate::Checker;
use crate::evidence::Evidence;

/// A change from one matrix to the next.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// When the new one was first seen, ns.
    pub at: u64,
    /// In words.
    pub text: String,
    /// Buckets whose owner is gone, or that a joiner or a member with less than an even share took at a join.
    pub of_need: u32,
    /// Buckets that moved between members of both.
    pub without: u32,
    /// All buckets.
    pub buckets: u32,
}

/// Changes in order of generation.
pub(crate) fn changes(evidence: &Evidence<'_>) -> Vec<Change> {
    let mut matrices = evidence.agreement.matrices.clone();
    matrices.sort_by_key(|(at, matrix)| (matrix.generation, *at));
    matrices.dedup_by_key(|(_, matrix)| matrix.generation);
    matrices.windows(2).map(|pair| change(pair[0].1, pair[1].0, pair[1].1)).collect()
}

fn change(before: &Matrix, at: u64, after: &Matrix) -> Change {
    let admitted = |matrix: &Matrix, one: &Admitted| matrix.admitted.contains(one);
    let life = |matrix: &Matrix, member| matrix.admitted.iter().find(|one| one.member == member).copied();
    let (mut of_need, mut between) = (0, BTreeMap::new());
    for (old, new) in before.buckets.iter().zip(&after.buckets) {
        if old.owner == new.owner {
            continue;
        }
        let gone = !life(before, old.owner).is_some_and(|one| admitted(after, &one));
        let joined = !life(after, new.owner).is_some_and(|one| admitted(before, &one));
        if gone || joined {
            of_need += 1;
        } else {
            *between.entry(new.owner).or_insert(0u32) += 1;
        }
    }
    // A join evens out: a member that would have less than an even share without what another gave it needed that.
    let joins = after.admitted.iter().any(|one| !admitted(before, one));
    let even = after.buckets.len() / after.admitted.len().max(1);
    let mut without = 0;
    for (member, got) in between {
        let has = after.buckets.iter().filter(|bucket| bucket.owner == member).count();
        let kept = has.saturating_sub(got as usize);
        let lacked = u32::try_from(even.saturating_sub(kept)).unwrap_or(u32::MAX);
        let needed = if joins { got.min(lacked) } else { 0 };
        (of_need, without) = (of_need + needed, without + got - needed);
    }
    Change {
        at,
        text: format!("{} to {}", before.generation, after.generation),
        of_need,
        without,
        buckets: u32::try_from(after.buckets.len()).unwrap_or(u32::MAX),
    }
}

/// Nothing moves without need; the last change moves its share.
pub struct Disruption;

impl Checker for Disruption {
    fn name(&self) -> &'static str {
        "minimal-disruption"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let changes = changes(evidence);
        let mut verdicts = vec![well_formed(evidence)];
        if evidence.lab().group.redeal == Redeal::MinimalMove && !changes.is_empty() {
            let wrong = changes.iter().filter(|change| change.without > 0);
            let wrong = wrong.map(|change| format!("{}: {} moved without need", change.text, change.without)).collect();
            let words: Vec<String> = changes
                .iter()
                .map(|change| format!("{}: {} moved, {} without need", change.text, change.of_need, change.without))
                .collect();
            let said = Said::of("s09-minimal-disruption", "0 buckets move without need");
            verdicts.push(said.value(words.join("; ")).fail_if(wrong).done());
        }
        if let Some(expected) = evidence.scenario().expect.moved_share {
            verdicts.push(moved_share(&changes, expected.of, expected.total));
        }
        verdicts
    }
}

fn moved_share(changes: &[Change], of: u32, total: u32) -> Verdict {
    let said = Said::of("moved-share", format!("{of}/{total} of the buckets, less than one off"));
    let Some(change) = changes.last() else {
        return said.invalid_if(Some("no change of the matrix was seen on the wire".to_owned())).done();
    };
    let moved = change.of_need + change.without;
    let expected = f64::from(change.buckets) * f64::from(of) / f64::from(total.max(1));
    // Shares are whole buckets: floor or ceiling of the exact one.
    let off = (f64::from(moved) - expected).abs() >= 1.0;
    let text = format!("{}: {moved} of {} buckets moved, expected {expected:.1}", change.text, change.buckets);
    said.value(text.clone()).accuracy("largest remainder").fail_if(if off { vec![text] } else { Vec::new() }).done()
}

/// Each bucket has an admitted owner, and a backup that is another member.
fn well_formed(evidence: &Evidence<'_>) -> Verdict {
    let mut wrong = Vec::new();
    for (_, matrix) in &evidence.agreement.matrices {
        let admitted = |member| matrix.admitted.iter().any(|one| one.member == member);
        for (index, bucket) in matrix.buckets.iter().enumerate() {
            if !admitted(bucket.owner) {
                wrong.push(format!(
                    "{}: bucket {index} belongs to {}, who is not admitted",
                    matrix.generation, bucket.owner
                ));
            }
            if bucket.backup == Some(bucket.owner) {
                wrong.push(format!("{}: bucket {index} backs itself up at {}", matrix.generation, bucket.owner));
            }
        }
        if matrix.buckets.len() != usize::from(evidence.lab().group.buckets) {
            wrong.push(format!("{}: {} buckets", matrix.generation, matrix.buckets.len()));
        }
    }
    let seen = evidence.agreement.matrices.len();
    Said::of("s08-matrix", "every owner admitted (S8), every backup another member (S6)")
        .value(format!("{seen} matrices on the wire"))
        .fail_if(wrong)
        .invalid_if((seen == 0).then(|| "no matrix was seen on the wire".to_owned()))
        .done()
}
