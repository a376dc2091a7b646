//! The acceptor: the matrix that a node holds, and what it answers to an author. The same in members and orchestrators.

use std::collections::BTreeMap;

use scalebed_distribution::matrix;
use scalebed_frame::control::{Admitted, Body, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId};

/// What a node has accepted and what is active of it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) matrix: Option<Matrix>,
    pub(crate) digest: u64,
    pub(crate) accepted: Generation,
    pub(crate) activated: Generation,
    /// The highest generation that an author announced here: every lower one is refused.
    pub(crate) promised: Generation,
    /// Of each member the latest life that some accepted matrix left out: it is never admitted again.
    ended: BTreeMap<MemberId, Incarnation>,
}

/// What came of a Prepare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// New: accepted, and this to the author.
    Accepted(Body),
    /// Held already, or refused: this to the author.
    Only(Body),
}

impl Held {
    pub(crate) const fn new() -> Self {
        let none = Generation::NONE;
        let ended = BTreeMap::new();
        Self { matrix: None, digest: 0, accepted: none, activated: none, promised: none, ended }
    }

    /// A higher generation is accepted unless a still higher one was promised, the same one acked again, anything else
    /// refused with what is held or promised.
    pub(crate) fn prepare(&mut self, next: &Matrix) -> Answer {
        let digest = matrix::digest(next);
        let generation = next.generation;
        let again = generation == self.accepted && digest == self.digest;
        let lost = again && self.matrix.is_none();
        if lost || generation > self.accepted && generation >= self.promised {
            self.adopt(next);
            Answer::Accepted(Body::Ack { generation, digest })
        } else if again {
            Answer::Only(Body::Ack { generation, digest })
        } else {
            Answer::Only(Body::Refuse { generation, holds: self.accepted.max(self.promised), digest: self.digest })
        }
    }

    /// Holds what an acceptor accepted, whatever was promised: an author builds on it.
    pub(crate) fn adopt(&mut self, next: &Matrix) {
        for one in self.admitted().to_vec() {
            if !next.admitted.contains(&one) {
                let ended = self.ended.entry(one.member).or_insert(one.incarnation);
                *ended = one.incarnation.max(*ended);
            }
        }
        (self.matrix, self.digest, self.accepted) = (Some(next.clone()), matrix::digest(next), next.generation);
    }

    /// True if this is news. Only what was accepted can become active; a higher one includes the lower ones.
    pub(crate) fn activate(&mut self, generation: Generation) -> bool {
        let news = generation > self.activated && generation <= self.accepted;
        if news {
            self.activated = generation;
        }
        news
    }

    /// What is held, and the promise to refuse every generation below the one announced: what its author bases its own
    /// on stays the newest until then.
    pub(crate) fn read(&mut self, announced: Generation) -> Body {
        self.promised = self.promised.max(announced);
        let Self { accepted, activated, promised, .. } = *self;
        Body::ReadAnswer { accepted, activated, promised, matrix: self.matrix.clone() }
    }

    /// Is the matrix what was accepted?
    pub(crate) fn is_sound(&self) -> bool {
        self.matrix.as_ref().is_none_or(|matrix| matrix::digest(matrix) == self.digest)
    }

    /// F31: the first bucket gets another owner, as a fault of the memory might give it.
    pub(crate) fn alter(&mut self) {
        let Some(matrix) = &mut self.matrix else { return };
        let Some(bucket) = matrix.buckets.first_mut() else { return };
        let other = matrix.admitted.iter().find(|one| one.member != bucket.owner);
        bucket.owner = other.map_or(bucket.owner, |one| one.member);
    }

    pub(crate) fn admitted(&self) -> &[Admitted] {
        self.matrix.as_ref().map_or(&[], |matrix| &matrix.admitted)
    }

    /// Was this life, or a later one of the member, left out once?
    pub(crate) fn is_ended(&self, member: MemberId, life: Incarnation) -> bool {
        self.ended.get(&member).is_some_and(|ended| life <= *ended)
    }

    /// The author of what was accepted.
    pub(crate) fn author(&self) -> Option<MemberId> {
        self.matrix.as_ref().map(|matrix| matrix.generation.author)
    }
}
