//! The acceptor: the matrix that a node holds, and what it answers to an author. The same in members and orchestrators.

use std::collections::BTreeMap;

use scalebed_distribution::matrix;
use scalebed_frame::control::{Admitted, Body, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId};

/// What a node has accepted and what is active of it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The accepted matrix.
    pub matrix: Option<Matrix>,
    /// Its digest.
    pub digest: u64,
    /// Highest accepted generation.
    pub accepted: Generation,
    /// Highest activated generation.
    pub activated: Generation,
    /// The highest generation that an author announced here: every lower one is refused.
    pub promised: Generation,
    /// Of each member the latest life that some accepted matrix left out: it is never admitted again.
    ended: BTreeMap<MemberId, Incarnation>,
}

/// What came of a Prepare.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// New: accepted, and this to the author.
    Accepted(Body),
    /// Held already, or refused: this to the author.
    Only(Body),
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// Holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        let none = Generation::NONE;
        let ended = BTreeMap::new();
        Self { matrix: None, digest: 0, accepted: none, activated: none, promised: none, ended }
    }

    /// A higher generation is accepted unless a still higher one was promised, the same one acked again, anything else
    /// refused with what is held or promised.
    pub fn prepare(&mut self, next: &Matrix) -> Answer {
        let digest = matrix::digest(next);
        let generation = next.generation;
        let again = generation == self.accepted && digest == self.digest;
        let lost = again && self.matrix.is_none();
        // An author whose life was left out does not know yet that another one is in its place.
        let ended = self.is_ended(generation.author, generation.incarnation);
        if lost || !ended && generation > self.accepted && generation >= self.promised {
            self.adopt(next);
            Answer::Accepted(Body::Ack { generation, digest })
        } else if again {
            Answer::Only(Body::Ack { generation, digest })
        } else {
            Answer::Only(Body::Refuse { generation, holds: self.accepted.max(self.promised), digest: self.digest })
        }
    }

    /// Holds what an acceptor accepted, whatever was promised: an author builds on it.
    pub fn adopt(&mut self, next: &Matrix) {
        for one in self.admitted().to_vec() {
            if !next.admitted.contains(&one) {
                let ended = self.ended.entry(one.member).or_insert(one.incarnation);
                *ended = one.incarnation.max(*ended);
            }
        }
        (self.matrix, self.digest, self.accepted) = (Some(next.clone()), matrix::digest(next), next.generation);
    }

    /// True if this is news. Only what was accepted can become active; a higher one includes the lower ones.
    pub fn activate(&mut self, generation: Generation) -> bool {
        let news = generation > self.activated && generation <= self.accepted;
        if news {
            self.activated = generation;
        }
        news
    }

    /// What is held, and the promise to refuse every generation below the one announced: what its author bases its own
    /// on stays the newest until then.
    pub fn read(&mut self, announced: Generation) -> Body {
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

    /// Who is admitted by it.
    #[must_use]
    pub fn admitted(&self) -> &[Admitted] {
        self.matrix.as_ref().map_or(&[], |matrix| &matrix.admitted)
    }

    /// Was this life, or a later one of the member, left out once?
    #[must_use]
    pub fn is_ended(&self, member: MemberId, life: Incarnation) -> bool {
        self.ended.get(&member).is_some_and(|ended| life <= *ended)
    }

    /// The author of what was accepted.
    #[must_use]
    pub fn author(&self) -> Option<MemberId> {
        self.matrix.as_ref().map(|matrix| matrix.generation.author)
    }
}
