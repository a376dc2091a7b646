//! What the SMO (pivot) does: judges who is dead, deals the next matrix, carries it through the barrier.
//!
//! ```text
//! Reading --all answered--> Preparing --all orchestrators acked--> Activating --all show it--> Settled
//!                              ^--------------- a further change: a higher generation ------------'
//! ```

use std::collections::{BTreeMap, BTreeSet};

use scalebed_distribution::matrix;
use scalebed_engine::{Instant, NodeEvent};
use scalebed_frame::control::{Admitted, Body, Matrix, MemberState};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::Redeal;

use crate::ClusterMember;

/// What the author is at.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It takes over or was refused: who has not answered yet, and which generation it announced to them.
    Reading { open: BTreeSet<NodeId>, announced: Generation },
    /// Who has acked.
    Preparing { acks: BTreeSet<NodeId> },
    /// The barrier is over; not all show it yet. Members that the barrier did not wait for may still lack the matrix.
    Activating { acks: BTreeSet<NodeId> },
    /// Nothing under way.
    Settled,
}

/// The author's state beside the matrix.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) phase: Phase,
    pub(crate) resend: Option<Instant>,
    /// Complete moves: new owner, previous owner, generation.
    moves: BTreeSet<(MemberId, MemberId, Generation)>,
    /// Members that asked to be admitted.
    pub(crate) joiners: BTreeMap<MemberId, Incarnation>,
    /// Orchestrators declared dead, in that life.
    pub(crate) lost: BTreeMap<MhoId, Incarnation>,
}

impl Author {
    pub(crate) fn new(phase: Phase, resend: Instant) -> Self {
        Self { phase, resend: Some(resend), moves: BTreeSet::new(), joiners: BTreeMap::new(), lost: BTreeMap::new() }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.resend
    }
}

impl ClusterMember {
    /// Authors the first generation with everybody that came and is configured alike.
    pub(crate) fn boot(&mut self, highest: Generation, now: Instant) {
        self.check_matrix(now);
        let alike = |config: u64| config == self.config.config_digest;
        let mut admitted: Vec<Admitted> = self
            .peers
            .members()
            .filter(|(_, peer)| alike(peer.beat.config))
            .map(|(member, peer)| Admitted { member, incarnation: peer.incarnation })
            .collect();
        admitted.push(self.me());
        admitted.sort();
        self.author = Some(Author::new(Phase::Settled, now));
        // Starts are counted outside: if all lost their state, this is still above what was before, up to 256 generations
        // a start.
        let starts = admitted.iter().map(|one| one.incarnation.0 >> 8).max().unwrap_or(1);
        let before = Generation { counter: starts.saturating_sub(1) << 8, ..Generation::NONE };
        let generation = self.generation_after(highest.max(before));
        let orchestrators = self.live_orchestrators();
        let next = match &self.held.matrix {
            Some(old) => matrix::next(old, generation, &admitted, &orchestrators, self.redeal()),
            None => matrix::first(generation, self.config.group.buckets, &admitted, &orchestrators),
        };
        self.propose(&next, "boot", now);
    }

    /// What follows from what is known now, for whoever is admitted.
    pub(crate) fn run_author(&mut self, now: Instant) {
        let Some(author) = &self.author else {
            self.try_take_over(now);
            return;
        };
        match &author.phase {
            Phase::Reading { .. } => self.run_reading(now),
            Phase::Preparing { .. } | Phase::Activating { .. } | Phase::Settled => {
                self.judge_orchestrators();
                if let Some(reason) = self.unplanned(now).or_else(|| self.planned()) {
                    // Another author asked, and was promised that nothing lower comes: it may have gone on since.
                    if self.held.promised > self.held.accepted && !self.config.ablations.no_read {
                        self.start_reading(now, now);
                        return;
                    }
                    self.change(&reason, now);
                }
                self.check_barrier(now);
                self.check_settled();
            }
        }
        self.resend(now);
    }

    const fn redeal(&self) -> Redeal {
        if self.config.ablations.no_minimal_move { Redeal::Full } else { self.config.group.redeal }
    }

    /// A reason for a generation that waits until the last one is settled: an orchestrator or a member comes in.
    fn planned(&self) -> Option<String> {
        let author = self.author.as_ref()?;
        let matrix = self.held.matrix.as_ref()?;
        if !matches!(author.phase, Phase::Settled) {
            return None;
        }
        if let Some((mho, _)) = self.live_orchestrators().iter().find(|live| !matrix.orchestrators.contains(live)) {
            return Some(format!("{mho} returned"));
        }
        // Planned moves go one at a time.
        if matrix.buckets.iter().any(|bucket| bucket.previous.is_some()) && !self.moves_done(matrix) {
            return None;
        }
        let (member, _) = self.joiners().into_iter().next()?;
        Some(format!("{member} joins"))
    }

    /// Joiners that are still heard in the life in which they asked, and that was not left out since.
    fn joiners(&self) -> BTreeMap<MemberId, Incarnation> {
        let Some(author) = &self.author else { return BTreeMap::new() };
        let present = |(member, incarnation): (&MemberId, &Incarnation)| {
            let heard = self.peers.get((*member).into()).filter(|peer| !peer.silent);
            let admitted = self.held.admitted().iter().any(|one| one.member == *member);
            let ended = self.held.is_ended(*member, *incarnation) && !self.config.ablations.no_incarnation;
            heard.is_some_and(|peer| peer.incarnation == *incarnation) && !admitted && !ended
        };
        author.joiners.iter().filter(|&one| present(one)).map(|(member, life)| (*member, *life)).collect()
    }

    fn moves_done(&self, matrix: &Matrix) -> bool {
        let Some(author) = &self.author else { return false };
        matrix.buckets.iter().all(|bucket| {
            bucket.previous.is_none_or(|previous| author.moves.contains(&(bucket.owner, previous, bucket.moved)))
        })
    }

    pub(crate) const fn me(&self) -> Admitted {
        Admitted { member: self.own_id(), incarnation: self.incarnation }
    }

    const fn own_id(&self) -> MemberId {
        match self.config.id {
            NodeId::Member(member) => member,
            NodeId::Mho(_) => MemberId::new(0, 0),
        }
    }

    /// Above that, above what this node itself promised, above what others refused it with.
    pub(crate) fn generation_after(&self, highest: Generation) -> Generation {
        let counter = highest.max(self.held.promised).max(self.beyond).counter + 1;
        Generation { counter, author: self.id(), incarnation: self.incarnation }
    }

    /// The author is dead: the lowest Active id that is heard reads what is held, then changes.
    fn try_take_over(&mut self, now: Instant) {
        let Some(smo) = self.held.author().filter(|&smo| smo != self.id()) else { return };
        let Some(one) = self.held.admitted().iter().copied().find(|one| one.member == smo) else { return };
        let active = |member: MemberId| {
            let peer = self.peers.get(member.into()).filter(|peer| !peer.silent);
            peer.is_some_and(|peer| peer.beat.state == MemberState::Active)
        };
        let lower =
            self.held.admitted().iter().any(|one| one.member < self.id() && one.member != smo && active(one.member));
        let Some(reason) = (!lower).then(|| self.dead(one)).flatten() else { return };
        if !self.may_leave_others_out(now) {
            return;
        }
        self.event(NodeEvent::Dead { node: smo.into(), reason });
        self.start_reading(now, now);
        self.run_author(now);
    }

    /// Deals the next matrix from the one held, without the dead and with whoever may come in now, and proposes it.
    pub(crate) fn change(&mut self, reason: &str, now: Instant) {
        self.check_matrix(now);
        let Some(mut base) = self.held.matrix.clone() else { return };
        if let Some(author) = &self.author {
            matrix::finish_moves(&mut base, |bucket| {
                bucket.previous.is_some_and(|previous| author.moves.contains(&(bucket.owner, previous, bucket.moved)))
            });
        }
        let mut admitted: Vec<Admitted> =
            base.admitted.iter().copied().filter(|one| one.member == self.id() || self.dead(*one).is_none()).collect();
        let settled = matches!(self.author, Some(Author { phase: Phase::Settled, .. }));
        let moving = base.buckets.iter().any(|bucket| bucket.previous.is_some());
        if settled && !moving && admitted.len() == base.admitted.len() {
            let joiner = self.joiners().into_iter().next();
            admitted.extend(joiner.map(|(member, incarnation)| Admitted { member, incarnation }));
            admitted.sort();
        }
        let generation = self.generation_after(base.generation);
        let orchestrators = self.live_orchestrators();
        let next = matrix::next(&base, generation, &admitted, &orchestrators, self.redeal());
        self.propose(&next, reason, now);
    }

    pub(crate) fn join_asked(&mut self, from: NodeId, incarnation: Incarnation, config: u64) {
        let (Some(author), NodeId::Member(member)) = (&mut self.author, from) else { return };
        if self.held.is_ended(member, incarnation) && !self.config.ablations.no_incarnation {
            // It was admitted and left out without ever hearing of it. Only a next life may come in.
            let (generation, holds, digest) = (Generation::NONE, self.held.accepted, self.held.digest);
            self.answer(from, Body::Refuse { generation, holds, digest });
        } else if config == self.config.config_digest {
            author.joiners.insert(member, incarnation);
        }
    }

    pub(crate) fn move_reported(&mut self, from: NodeId, previous: MemberId, generation: Generation) {
        if let (Some(author), NodeId::Member(owner)) = (&mut self.author, from) {
            author.moves.insert((owner, previous, generation));
        }
    }
}
