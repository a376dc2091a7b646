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
    /// Of them those that only this node's own proposals left out, none of which is active yet, with what was known of the
    /// member before: nobody else may have accepted them.
    own: BTreeMap<MemberId, Option<Incarnation>>,
    /// What proposals of an earlier life of this node left out. What others hold tells whether it was so.
    doubtful: BTreeMap<MemberId, Incarnation>,
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
    pub fn new() -> Self {
        let none = Generation::NONE;
        let ended = BTreeMap::new();
        let (own, doubtful) = (BTreeMap::new(), BTreeMap::new());
        Self { matrix: None, digest: 0, accepted: none, activated: none, promised: none, ended, own, doubtful }
    }

    /// A higher generation is accepted unless a still higher one was promised, the same one acked again, anything else
    /// refused with what is held or promised.
    pub fn prepare(&mut self, next: &Matrix) -> Answer {
        self.decide(next, false)
    }

    /// The same for what this node itself proposes.
    pub fn propose(&mut self, next: &Matrix) -> Answer {
        self.decide(next, true)
    }

    fn decide(&mut self, next: &Matrix, own: bool) -> Answer {
        let digest = matrix::digest(next);
        let generation = next.generation;
        let again = generation == self.accepted && digest == self.digest;
        let lost = again && self.matrix.is_none();
        // An author whose life was left out does not know yet that another one is in its place.
        let ended = self.is_ended(generation.author, generation.incarnation);
        if lost || !ended && generation > self.accepted && generation >= self.promised {
            self.take(next, own);
            Answer::Accepted(Body::Ack { generation, digest })
        } else if again {
            Answer::Only(Body::Ack { generation, digest })
        } else {
            Answer::Only(Body::Refuse { generation, holds: self.accepted.max(self.promised), digest: self.digest })
        }
    }

    /// Holds what an acceptor accepted, whatever was promised: an author builds on it.
    pub fn adopt(&mut self, next: &Matrix) {
        self.take(next, false);
    }

    fn take(&mut self, next: &Matrix, own: bool) {
        if !own {
            self.settle_doubts(next);
        }
        for one in self.admitted().to_vec() {
            if !next.admitted.contains(&one) {
                if own {
                    self.own.entry(one.member).or_insert(self.ended.get(&one.member).copied());
                }
                self.end(one.member, one.incarnation);
            }
        }
        (self.matrix, self.digest, self.accepted) = (Some(next.clone()), matrix::digest(next), next.generation);
    }

    fn end(&mut self, member: MemberId, life: Incarnation) {
        let ended = self.ended.entry(member).or_insert(life);
        *ended = life.max(*ended);
    }

    /// What others hold is newer than what this node proposed and nobody took: a life that it admits was not left out.
    fn settle_doubts(&mut self, next: &Matrix) {
        self.doubt();
        for (member, life) in std::mem::take(&mut self.doubtful) {
            if !next.admitted.iter().any(|one| one.member == member && one.incarnation <= life) {
                self.end(member, life);
            }
        }
    }

    /// A next life of this node: what its earlier one proposed is for others to carry on, or was never in force. Kept as it
    /// was, it would refuse for ever an author that it once took for dead.
    pub fn doubt(&mut self) {
        for (member, before) in std::mem::take(&mut self.own) {
            let marked = match before {
                Some(before) => self.ended.insert(member, before),
                None => self.ended.remove(&member),
            };
            if let Some(life) = marked {
                let doubtful = self.doubtful.entry(member).or_insert(life);
                *doubtful = life.max(*doubtful);
            }
        }
    }

    /// An author that is active by a higher generation than the one held here passed a barrier with it: what is held, and
    /// left it out, did not come to be in force before. Otherwise it would be refused for ever.
    pub fn pardon(&mut self, next: Generation, active: Generation) {
        let (author, life) = (next.author, next.incarnation);
        if active > self.accepted && self.is_ended(author, life) {
            // Earlier lives of it have ended all the same.
            self.ended.insert(author, Incarnation(life.0.saturating_sub(1)));
        }
    }

    /// Everything it knows of lives that were left out, for states of a model.
    pub fn hash_lives<H: std::hash::Hasher>(&self, hasher: &mut H) {
        use std::hash::Hash as _;
        (&self.ended, &self.own, &self.doubtful).hash(hasher);
    }

    /// True if this is news. Only what was accepted can become active; a higher one includes the lower ones.
    pub fn activate(&mut self, generation: Generation) -> bool {
        let news = generation > self.activated && generation <= self.accepted;
        if news {
            self.activated = generation;
            if generation == self.accepted {
                self.own.clear();
            }
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

#[cfg(test)]
mod tests {
    use scalebed_distribution::matrix;
    use scalebed_frame::control::{Admitted, Matrix};
    use scalebed_frame::{Generation, Incarnation, MemberId};

    use super::{Answer, Held};

    fn matrix(counter: u32, author: u8, lives: &[(u8, u32)]) -> Matrix {
        let admitted: Vec<_> = lives
            .iter()
            .map(|(number, life)| Admitted { member: MemberId::new(1, *number), incarnation: Incarnation(*life) })
            .collect();
        let generation = Generation { counter, author: MemberId::new(1, author), incarnation: Incarnation(1) };
        matrix::first(generation, 8, &admitted, &[])
    }

    fn accepts(held: &mut Held, next: &Matrix) -> bool {
        matches!(held.prepare(next), Answer::Accepted(_))
    }

    /// 1_01, cut off, leaves the others out by itself; they leave it out, and it comes back in a next life.
    #[test]
    fn what_a_cut_off_author_proposed_does_not_bind_its_next_life() {
        let mut held = Held::new();
        held.adopt(&matrix(1, 1, &[(1, 1), (2, 1)]));
        held.propose(&matrix(2, 1, &[(1, 1)]));
        assert!(held.is_ended(MemberId::new(1, 2), Incarnation(1)), "as long as it may come to be in force");
        assert!(!accepts(&mut held, &matrix(3, 2, &[(1, 2), (2, 1)])));
        held.doubt();
        assert!(accepts(&mut held, &matrix(3, 2, &[(1, 2), (2, 1)])));
        assert!(!held.is_ended(MemberId::new(1, 2), Incarnation(1)), "others hold that it is admitted");
    }

    #[test]
    fn what_others_hold_confirms_who_was_left_out() {
        let mut held = Held::new();
        held.adopt(&matrix(1, 1, &[(1, 1), (2, 1), (3, 1)]));
        held.propose(&matrix(2, 1, &[(1, 1), (3, 1)]));
        held.doubt();
        assert!(accepts(&mut held, &matrix(3, 3, &[(1, 2), (3, 1)])));
        assert!(held.is_ended(MemberId::new(1, 2), Incarnation(1)));
        assert!(!accepts(&mut held, &matrix(4, 2, &[(1, 2), (2, 1)])), "its author was left out");
    }

    #[test]
    fn an_author_that_took_another_for_dead_and_finds_that_it_is_not_follows_it() {
        let mut held = Held::new();
        held.adopt(&matrix(1, 1, &[(1, 1), (2, 1)]));
        held.propose(&matrix(2, 2, &[(2, 1)]));
        held.adopt(&matrix(3, 1, &[(1, 1), (2, 1)]));
        assert!(accepts(&mut held, &matrix(4, 1, &[(1, 1), (2, 1)])));
    }

    /// 1_02 took over at this acceptor alone, 1_01 went on with all others.
    #[test]
    fn an_author_that_passed_a_later_barrier_is_followed() {
        let mut held = Held::new();
        held.adopt(&matrix(1, 1, &[(1, 1), (2, 1)]));
        assert!(accepts(&mut held, &matrix(2, 2, &[(2, 1)])));
        let next = matrix(4, 1, &[(1, 1)]);
        assert!(!accepts(&mut held, &next), "it may not know yet that it was left out");
        held.pardon(next.generation, matrix(1, 1, &[(1, 1), (2, 1)]).generation);
        assert!(!accepts(&mut held, &next), "what was active before says nothing");
        held.pardon(next.generation, matrix(3, 1, &[(1, 1)]).generation);
        assert!(accepts(&mut held, &next));
        assert!(held.is_ended(MemberId::new(1, 1), Incarnation(0)));
    }

    #[test]
    fn what_became_active_stays() {
        let mut held = Held::new();
        held.adopt(&matrix(1, 1, &[(1, 1), (2, 1)]));
        let alone = matrix(2, 1, &[(1, 1)]);
        held.propose(&alone);
        assert!(held.activate(alone.generation));
        held.doubt();
        assert!(held.is_ended(MemberId::new(1, 2), Incarnation(1)));
        assert!(!accepts(&mut held, &matrix(3, 2, &[(1, 2), (2, 1)])));
    }
}
