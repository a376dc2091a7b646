//! What may happen next, and what follows.

use std::sync::Arc;

use scalebed_cluster::pieces::Answer;
use scalebed_frame::control::Assignment;
use scalebed_frame::{Generation, Incarnation, MemberId};

use crate::state::{Node, Process, Role, State};
use crate::{Agreement, Faults, Safeguard};

/// One step. Numbers are places of nodes or proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Fault: a process stands still, for over 2.5 units.
    Stop(usize),
    /// It goes on.
    Wake(usize),
    /// Fault: a process dies.
    Kill(usize),
    /// Fault: nobody hears a node's heartbeats.
    Mute(usize),
    /// Fault: a node hears nobody's.
    Deafen(usize),
    /// Fault: one does not hear the other's.
    Cut(usize, usize),
    /// Nobody echoes it: it fences itself.
    LeaseEnds(usize),
    /// A member that hears no orchestrator fences itself.
    Isolated(usize),
    /// A Prepare arrives.
    Prepare(usize, usize),
    /// An Activate arrives.
    Activate(usize, usize),
    /// The author's barrier is over.
    Close(usize),
    /// The author, whose matrix a node refused, reads again.
    Refused(usize, usize),
    /// The author makes a change.
    Change(usize),
    /// A member begins to take over.
    TakeOver(usize),
    /// A node answers its question.
    Answer(usize, usize),
    /// It is dead: its answer is not waited for.
    NoAnswer(usize, usize),
    /// A previous owner's list arrives at the new owner.
    List(usize, usize),
}

impl Agreement {
    /// Everything that may happen. Some of it changes nothing.
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        let places = 0..state.nodes.len();
        for place in places.clone() {
            let node = &state.nodes[place];
            match node.process {
                Process::Dead => continue,
                Process::Stopped => {
                    actions.push(Action::Wake(place));
                    continue;
                }
                Process::Runs => {}
            }
            if state.faults > 0 {
                actions.push(Action::Kill(place));
                if self.bounds.of >= Faults::Stops {
                    actions.push(Action::Stop(place));
                }
                if self.bounds.of >= Faults::Nodes {
                    actions.extend([Action::Mute(place), Action::Deafen(place)]);
                }
                if self.bounds.of == Faults::Pairs {
                    let others = places.clone().filter(|&other| other != place);
                    actions.extend(others.map(|other| Action::Cut(place, other)));
                }
            }
            if self.lease_is_over(state, place) {
                actions.push(Action::LeaseEnds(place));
            }
            if node.serves() && self.is_isolated(state, place) {
                actions.push(Action::Isolated(place));
            }
            for proposal in 0..state.proposals.len() {
                if is_news(state, proposal, place) {
                    actions.push(Action::Prepare(proposal, place));
                }
                let generation = state.proposals[proposal].matrix.generation;
                let may = generation > node.held.activated && generation <= node.held.accepted;
                if may && state.proposals[proposal].activated {
                    actions.push(Action::Activate(proposal, place));
                }
            }
            if !node.is_mho() {
                self.as_member(state, place, actions);
            }
        }
    }

    fn as_member(&self, state: &State, place: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[place];
        let receivers = state.members().filter(|&to| to != place && awaits(&state.nodes[to], node.member()));
        actions.extend(receivers.map(|to| Action::List(place, to)));
        if node.fenced {
            return;
        }
        match node.role {
            Role::None => actions.push(Action::TakeOver(place)),
            Role::Reading { open, .. } => {
                for other in (0..state.nodes.len()).filter(|other| open >> other & 1 == 1) {
                    actions.extend([Action::Answer(place, other), Action::NoAnswer(place, other)]);
                }
            }
            Role::Leads => {
                actions.extend([Action::Close(place), Action::Change(place)]);
                let others = (0..state.nodes.len()).filter(|&other| other != place);
                actions.extend(others.map(|other| Action::Refused(place, other)));
            }
        }
    }

    /// Does it. False: it means nothing here.
    pub(crate) fn act(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::Stop(place) => return fault(state, |state| state.node_mut(place).process = Process::Stopped),
            Action::Kill(place) => return fault(state, |state| state.node_mut(place).process = Process::Dead),
            Action::Mute(place) => {
                return fault(state, |state| (0..state.nodes.len()).for_each(|other| state.cut(place, other)));
            }
            Action::Deafen(place) => {
                return fault(state, |state| (0..state.nodes.len()).for_each(|other| state.cut(other, place)));
            }
            Action::Cut(from, to) => return state.reaches(from, to) && fault(state, |state| state.cut(from, to)),
            Action::Wake(place) => {
                state.node_mut(place).process = Process::Runs;
                self.fence(state.node_mut(place));
            }
            Action::LeaseEnds(place) | Action::Isolated(place) => self.fence(state.node_mut(place)),
            Action::Prepare(proposal, place) => {
                return self.arrives(state, proposal, place) && self.prepare(state, proposal, place);
            }
            Action::Activate(proposal, place) => {
                return self.arrives(state, proposal, place) && activate(state, proposal, place);
            }
            Action::Close(author) => return self.close(state, author),
            Action::Refused(author, other) => return self.refused(state, author, other),
            Action::Change(author) => return self.change(state, author, false),
            Action::TakeOver(author) => return self.take_over(state, author),
            Action::Answer(author, other) => return self.answer(state, author, other, true),
            Action::NoAnswer(author, other) => return self.answer(state, author, other, false),
            Action::List(from, to) => return list(state, from, to),
        }
        true
    }

    /// In ElasticXL a cut takes what an author sends, too: nobody is there to fence whoever gets it much too late.
    fn arrives(&self, state: &State, proposal: usize, place: usize) -> bool {
        let author = state.place(state.proposals[proposal].matrix.generation.author);
        self.is_maestro() || author == place || state.reaches(author, place)
    }

    /// Stops serving; the next life comes in by joining.
    pub(crate) fn fence(&self, node: &mut Node) {
        node.fenced = true;
        node.role = Role::None;
        if self.has(Safeguard::Incarnation) {
            node.life = Incarnation(node.life.0 + 1);
            let mut held = (*node.held).clone();
            held.doubt();
            node.held = Arc::new(held);
        }
        node.complete.clear();
        // What it held are copies from now on.
        node.holds = 0;
    }

    fn prepare(&self, state: &mut State, proposal: usize, place: usize) -> bool {
        hear(state, place);
        let matrix = Arc::clone(&state.proposals[proposal].matrix);
        let active = self.active_of(state, matrix.generation, place);
        let node = state.node_mut(place);
        let named = match node.id.mho() {
            Some(mho) => !node.fenced || matrix.orchestrators.contains(&(mho, node.life)),
            None => matrix.admitted.contains(&node.me()),
        };
        if node.is_mho() && !named {
            // It accepts and acks all the same; it only stays fenced. What it would do then says nothing.
            return false;
        }
        if !named {
            let leaves_out = !node.fenced && matrix.generation > node.held.accepted;
            if leaves_out {
                self.fence(node);
            }
            return leaves_out;
        }
        let mut held = (*node.held).clone();
        held.pardon(matrix.generation, active);
        let Answer::Accepted(_) = held.prepare(&matrix) else {
            let again = node.held.accepted == matrix.generation && is_news(state, proposal, place);
            state.proposals[proposal].acked |= u8::from(again) << place;
            return again;
        };
        let mut ended = matrix.admitted.clone();
        ended.retain(|one| node.held.is_ended(one.member, one.incarnation));
        // In Maestro orchestrators are the acceptors: what an author alone held was never in force.
        let accepts = node.is_mho() || !self.is_maestro();
        node.held = Arc::new(held);
        node.complete.retain(|(moved, _)| matrix.buckets.iter().any(|bucket| bucket.moved == *moved));
        if node.role != Role::None && matrix.generation.author != node.member() {
            node.role = Role::None;
        }
        state.ended_admitted = ended.into_iter().find(|one| accepts && state.left_out(*one));
        state.proposals[proposal].acked |= 1 << place;
        true
    }
}

impl Agreement {
    /// What the author of a generation says is active, if it is heard in the life in which it wrote it.
    fn active_of(&self, state: &State, generation: Generation, place: usize) -> Generation {
        let author = state.place(generation.author);
        let node = &state.nodes[author];
        let heard = node.life == generation.incarnation && (author == place || state.reaches(author, place));
        if heard { node.held.activated } else { Generation::NONE }
    }
}

/// May a Prepare change anything at a node? (Asked before a state is copied: most may not.)
fn is_news(state: &State, proposal: usize, place: usize) -> bool {
    let generation = state.proposals[proposal].matrix.generation;
    let accepted = state.nodes[place].held.accepted;
    let unacked = || state.proposals[proposal].acked >> place & 1 == 0 && state.waits_for_acks(proposal);
    generation > accepted || generation == accepted && unacked()
}

/// Does it wait for a list of this previous owner?
fn awaits(node: &Node, previous: MemberId) -> bool {
    let waits = |bucket: &Assignment| {
        let mine = bucket.owner == node.member() && bucket.previous == Some(previous);
        mine && !node.complete.contains(&(bucket.moved, previous))
    };
    node.process == Process::Runs && node.held.matrix.as_ref().is_some_and(|matrix| matrix.buckets.iter().any(waits))
}

/// A fenced member goes by what it hears that others hold: what is lower is not for it any more.
fn hear(state: &mut State, place: usize) {
    let heard = (0..state.nodes.len()).filter(|&other| state.hears(place, other));
    let highest = heard.map(|other| state.nodes[other].held.accepted).max();
    let node = state.node_mut(place);
    if let Some(highest) = highest.filter(|highest| !node.is_mho() && node.fenced && *highest > node.held.promised) {
        let mut held = (*node.held).clone();
        held.promised = highest;
        node.held = Arc::new(held);
    }
}

fn fault(state: &mut State, what: impl FnOnce(&mut State)) -> bool {
    state.faults = state.faults.saturating_sub(1);
    what(state);
    true
}

fn activate(state: &mut State, proposal: usize, place: usize) -> bool {
    hear(state, place);
    let generation = state.proposals[proposal].matrix.generation;
    let node = state.node_mut(place);
    let mut held = (*node.held).clone();
    if !held.activate(generation) {
        return false;
    }
    let admitted = match node.id.mho() {
        Some(mho) => held.matrix.as_ref().is_some_and(|matrix| matrix.orchestrators.contains(&(mho, node.life))),
        None => held.admitted().contains(&node.me()) && held.promised <= held.accepted,
    };
    let newest = held.activated == held.accepted;
    node.held = Arc::new(held);
    if admitted && (newest || !node.is_mho()) {
        node.fenced = false;
    }
    true
}

/// A list is sent when the previous owner accepts the move, and serves. What it names is its receiver's from then on.
fn list(state: &mut State, from: usize, to: usize) -> bool {
    let previous = state.nodes[from].member();
    let (sender, receiver) = (&state.nodes[from], &state.nodes[to]);
    let Some(matrix) = &receiver.held.matrix else { return false };
    if !sender.serves() {
        return false;
    }
    let moves = (0..).zip(&matrix.buckets).filter(|(_, bucket)| {
        bucket.owner == receiver.member() && bucket.previous == Some(previous) && sender.held.accepted >= bucket.moved
    });
    let (moved, new): (Vec<u8>, Vec<_>) = moves.map(|(place, bucket)| (place, (bucket.moved, previous))).unzip();
    let before = receiver.complete.len();
    let receiver = state.node_mut(to);
    receiver.complete.extend(new);
    let news = receiver.complete.len() > before;
    moved.into_iter().for_each(|bucket| state.node_mut(from).holds &= !(1 << bucket));
    news
}
