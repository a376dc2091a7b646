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
        let ended = BTreeMap::new();
        Self { matrix: None, digest: 0, accepted: Generation::NONE, activated: Generation::NONE, ended }
    }

    /// A higher generation is accepted, the same one acked again, anything else refused with what is held.
    pub(crate) fn prepare(&mut self, next: &Matrix) -> Answer {
        let digest = matrix::digest(next);
        let generation = next.generation;
        if generation > self.accepted {
            for one in self.admitted().to_vec() {
                if !next.admitted.contains(&one) {
                    let ended = self.ended.entry(one.member).or_insert(one.incarnation);
                    *ended = one.incarnation.max(*ended);
                }
            }
            (self.matrix, self.digest, self.accepted) = (Some(next.clone()), digest, generation);
            Answer::Accepted(Body::Ack { generation, digest })
        } else if generation == self.accepted && digest == self.digest {
            Answer::Only(Body::Ack { generation, digest })
        } else {
            Answer::Only(Body::Refuse { generation, holds: self.accepted, digest: self.digest })
        }
    }

    /// True if this is news. Only what was accepted can become active; a higher one includes the lower ones.
    pub(crate) fn activate(&mut self, generation: Generation) -> bool {
        let news = generation > self.activated && generation <= self.accepted;
        if news {
            self.activated = generation;
        }
        news
    }

    pub(crate) fn read_answer(&self) -> Body {
        Body::ReadAnswer { accepted: self.accepted, activated: self.activated, matrix: self.matrix.clone() }
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
