//! What an author does: reads, deals, closes its barrier.

use std::sync::Arc;

use scalebed_distribution::matrix;
use scalebed_frame::control::{Admitted, Body};
use scalebed_frame::{Generation, NodeId};
use scalebed_topologies::lab::Redeal;

use crate::state::{Process, Proposal, Role, State};
use crate::{Agreement, Safeguard};

impl Agreement {
    /// The author is dead: the lowest member that serves and is heard takes over.
    pub(crate) fn take_over(&self, state: &mut State, place: usize) -> bool {
        let node = &state.nodes[place];
        let Some(matrix) = &node.held.matrix else { return false };
        let smo = matrix.generation.author;
        let Some(&one) = matrix.admitted.iter().find(|one| one.member == smo) else { return false };
        let lower = matrix.admitted.iter().any(|other| {
            let at = state.place(other.member);
            other.member < node.member() && other.member != smo && state.hears(place, at) && state.nodes[at].serves()
        });
        if smo == node.member() || lower || !self.is_dead(state, place, one) || self.must_fence(state, place) {
            return false;
        }
        if !self.has(Safeguard::Read) {
            state.node_mut(place).role = Role::Leads;
            return self.change(state, place, true);
        }
        start_reading(state, place);
        true
    }

    /// A node answers the author's question, or is not waited for because it is dead.
    pub(crate) fn answer(&self, state: &mut State, author: usize, other: usize, answers: bool) -> bool {
        let Role::Reading { open, announced, mut best } = state.nodes[author].role else { return false };
        if self.must_fence(state, author) {
            return false;
        }
        if answers {
            if state.nodes[other].process != Process::Runs {
                return false;
            }
            let mut held = (*state.nodes[other].held).clone();
            let Body::ReadAnswer { accepted, promised, .. } = held.read(announced) else { return false };
            state.node_mut(other).held = Arc::new(held);
            if promised > announced {
                promise(state, author, promised);
            }
            let found = state.proposals.iter().position(|one| one.matrix.generation == accepted);
            let higher =
                |one: &usize| state.proposals[*one].matrix.generation > state.proposals[best].matrix.generation;
            best = found.filter(higher).unwrap_or(best);
        } else {
            let node = &state.nodes[other];
            let dead = match node.id {
                NodeId::Mho(mho) => self.is_dead_mho(state, author, mho, node.life),
                NodeId::Member(_) => self.is_dead(state, author, node.me()),
            };
            if !dead {
                return false;
            }
        }
        let open = open & !(1 << other);
        state.node_mut(author).role = Role::Reading { open, announced, best };
        if open == 0 { self.read(state, author, best, announced) } else { true }
    }

    /// Somebody holds something else than what it is asked to accept, or promised to.
    pub(crate) fn refused(&self, state: &mut State, author: usize, other: usize) -> bool {
        let holds = &state.nodes[other].held;
        let higher = holds.accepted.max(holds.promised);
        let proposal =
            state.proposals.iter().position(|one| one.matrix.generation == state.nodes[author].held.accepted);
        let waits = proposal.is_some_and(|place| state.waits_for_acks(place));
        let refuses = state.nodes[other].process == Process::Runs && higher > state.nodes[author].held.accepted;
        let reads = self.bounds.again && self.has(Safeguard::Read);
        if !reads || !waits || !refuses || self.must_fence(state, author) {
            return false;
        }
        promise(state, author, higher);
        start_reading(state, author);
        true
    }

    /// All answered: the author builds on the highest matrix found.
    fn read(&self, state: &mut State, author: usize, best: usize, announced: Generation) -> bool {
        let matrix = Arc::clone(&state.proposals[best].matrix);
        let node = state.node_mut(author);
        if !matrix.admitted.contains(&node.me()) {
            self.fence(node);
            return true;
        }
        let mut held = (*node.held).clone();
        if matrix.generation > held.accepted {
            held.adopt(&matrix);
        }
        node.held = Arc::new(held);
        // Somebody was promised more meanwhile: announced again, above that. (A duel without end is cut off.)
        let next = next_generation(state, author).counter;
        if next > announced.counter {
            start_reading(state, author);
            return next as usize <= 2 + self.bounds.changes + usize::from(self.bounds.faults);
        }
        state.node_mut(author).role = Role::Leads;
        self.change(state, author, true);
        true
    }

    /// Deals the next matrix from the one held: without the dead, with whoever may come in. `fresh`: it has just read.
    pub(crate) fn change(&self, state: &mut State, author: usize, fresh: bool) -> bool {
        if state.proposals.len() > self.bounds.changes || self.must_fence(state, author) {
            return false;
        }
        let node = &state.nodes[author];
        let Some(base) = node.held.matrix.clone() else { return false };
        let admitted: Vec<Admitted> = base
            .admitted
            .iter()
            .copied()
            .filter(|one| one.member == node.member() || !self.is_dead(state, author, *one))
            .collect();
        // Another author asked, and was promised that nothing lower comes: it may have gone on since.
        let asked = node.held.promised > node.held.accepted && node.role == Role::Leads;
        if asked && self.has(Safeguard::Read) && !fresh {
            start_reading(state, author);
            return true;
        }
        let node = &state.nodes[author];
        let orchestrators = self.live_orchestrators(state, author);
        let takes_over = base.generation.author != node.member();
        let unplanned = admitted.len() < base.admitted.len();
        let settled = !takes_over && self.is_settled(state, author);
        let mut base = base;
        let joiner = if settled && !unplanned { self.joiner(state, author, &admitted) } else { None };
        matrix::finish_moves(&mut base, |bucket| {
            let owner = &state.nodes[state.place(bucket.owner)];
            bucket.previous.is_some_and(|previous| owner.complete.contains(&(bucket.moved, previous)))
        });
        let returned = settled && orchestrators.iter().any(|one| !base.orchestrators.contains(one));
        if !takes_over && !unplanned && joiner.is_none() && !returned {
            return false;
        }
        let moving = base.buckets.iter().any(|bucket| bucket.previous.is_some());
        let mut admitted = admitted;
        if let Some(joiner) = joiner.filter(|_| !moving) {
            admitted.push(joiner);
            admitted.sort();
        } else if !takes_over && !unplanned && !returned {
            return false;
        }
        let generation = next_generation(state, author);
        let next = Arc::new(matrix::next(&base, generation, &admitted, &orchestrators, Redeal::MinimalMove));
        let node = state.node_mut(author);
        let mut held = (*node.held).clone();
        let mut ended = next.admitted.clone();
        ended.retain(|one| held.is_ended(one.member, one.incarnation));
        held.propose(&next);
        node.held = Arc::new(held);
        state.ended_admitted = ended.into_iter().find(|one| !self.is_maestro() && state.left_out(*one));
        let digest = matrix::digest(&next);
        state.proposals.push(Proposal { matrix: next, digest, acked: 1 << author, activated: false });
        true
    }

    /// Everybody admitted shows that the author's generation is active.
    pub(crate) fn is_settled(&self, state: &State, author: usize) -> bool {
        let held = &state.nodes[author].held;
        let shows = |one: &Admitted| state.nodes[state.place(one.member)].held.activated >= held.accepted;
        held.activated == held.accepted && held.admitted().iter().all(shows)
    }

    /// A member that waits to be admitted, in a life that was not left out.
    fn joiner(&self, state: &State, author: usize, admitted: &[Admitted]) -> Option<Admitted> {
        let held = &state.nodes[author].held;
        state.members().map(|place| (place, state.nodes[place].me())).find_map(|(place, one)| {
            let node = &state.nodes[place];
            let waits = node.fenced && state.hears(author, place) && state.hears(place, author);
            let known = admitted.iter().any(|other| other.member == one.member);
            let ended = self.has(Safeguard::Incarnation) && held.is_ended(one.member, one.incarnation);
            (waits && !known && !ended).then_some(one)
        })
    }

    /// The barrier: Maestro waits for every orchestrator that is not dead, ElasticXL for every surviving member.
    pub(crate) fn close(&self, state: &mut State, author: usize) -> bool {
        let node = &state.nodes[author];
        let Some(place) = state.proposals.iter().position(|one| one.matrix.generation == node.held.accepted) else {
            return false;
        };
        let proposal = &state.proposals[place];
        if proposal.activated || proposal.matrix.generation.author != node.member() {
            return false;
        }
        let acked = |at: usize| proposal.acked >> at & 1 == 1;
        let over = if self.is_maestro() {
            proposal.matrix.orchestrators.iter().all(|&(mho, life)| {
                let at = state.orchestrators().find(|&at| state.nodes[at].id == NodeId::from(mho));
                at.is_some_and(acked) || self.is_dead_mho(state, author, mho, life)
            })
        } else {
            proposal
                .matrix
                .admitted
                .iter()
                .all(|one| acked(state.place(one.member)) || self.is_dead(state, author, *one))
        };
        if !over || self.must_fence(state, author) {
            return false;
        }
        let generation = proposal.matrix.generation;
        state.proposals[place].activated = true;
        let node = state.node_mut(author);
        let mut held = (*node.held).clone();
        held.activate(generation);
        node.held = Arc::new(held);
        true
    }
}

/// Asks everybody who may have accepted something.
fn start_reading(state: &mut State, place: usize) {
    let announced = next_generation(state, place);
    let best = state.proposals.iter().position(|one| one.matrix.generation == state.nodes[place].held.accepted);
    let members = matrix_members(state, place);
    let asked = |other: &usize| *other != place && (state.nodes[*other].is_mho() || members.contains(other));
    let open = (0..state.nodes.len()).filter(asked).fold(0u8, |bits, other| bits | 1 << other);
    state.node_mut(place).role = Role::Reading { open, announced, best: best.unwrap_or(0) };
}

/// What was promised elsewhere binds whoever hears of it.
fn promise(state: &mut State, place: usize, promised: Generation) {
    let node = state.node_mut(place);
    let mut held = (*node.held).clone();
    held.promised = held.promised.max(promised);
    node.held = Arc::new(held);
}

fn matrix_members(state: &State, place: usize) -> Vec<usize> {
    state.nodes[place].held.admitted().iter().map(|one| state.place(one.member)).collect()
}

/// Above what it holds and what it promised; of an author that reads, what it announced.
fn next_generation(state: &State, place: usize) -> Generation {
    let node = &state.nodes[place];
    let counter = node.held.accepted.max(node.held.promised).counter + 1;
    Generation { counter, author: node.member(), incarnation: node.life }
}
