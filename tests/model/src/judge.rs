//! Who is dead, whose lease is over, who carries a bucket.

use scalebed_frame::MhoId;
use scalebed_frame::control::{Admitted, Assignment};
use scalebed_frame::{Incarnation, NodeId};

use crate::state::{Process, Role, State};
use crate::{Agreement, Safeguard};

impl Agreement {
    /// Nobody whom a node hears says that it hears it: 2.5 units later it has fenced itself, and only then is it missed.
    /// In ElasticXL who hears nobody at all goes on where nobody else runs.
    pub(crate) fn lease_is_over(&self, state: &State, place: usize) -> bool {
        let node = &state.nodes[place];
        if !self.has(Safeguard::Lease) || !node.serves() || self.is_maestro() && !node.is_mho() {
            return false;
        }
        let others = || state.members().filter(|&other| other != place && state.nodes[other].process == Process::Runs);
        // Only who is asked before it is declared dead.
        let asked = |other: &usize| self.is_maestro() || state.nodes[*other].serves();
        let echoed = others().filter(asked).any(|other| state.hears(place, other) && state.hears(other, place));
        !echoed && (self.is_maestro() || others().next().is_some())
    }

    /// Does nobody, of those whom `observer` hears, hear `subject`? (the indirect probe)
    fn is_silent(&self, state: &State, observer: usize, subject: usize) -> bool {
        let active = |place: usize| state.nodes[place].serves();
        // An orchestrator is seen by the other one, too.
        let mhos = state.orchestrators().filter(|_| state.nodes[subject].is_mho());
        let asked = state.members().filter(|&other| active(other)).chain(mhos);
        let heard: Vec<usize> = asked.filter(|&other| other != subject && state.hears(observer, other)).collect();
        let nobody = !state.hears(observer, subject) && heard.into_iter().all(|other| !state.hears(other, subject));
        // Timers: whose lease is over fences itself before anybody's dead timer runs out.
        nobody && !self.lease_is_over(state, subject)
    }

    /// Is this life of a member dead, by the author's judgement?
    pub(crate) fn is_dead(&self, state: &State, observer: usize, one: Admitted) -> bool {
        let place = state.place(one.member);
        let another = state.hears(observer, place) && state.nodes[place].life > one.incarnation;
        another || self.is_silent(state, observer, place)
    }

    pub(crate) fn is_dead_mho(&self, state: &State, observer: usize, mho: MhoId, life: Incarnation) -> bool {
        let found = state.orchestrators().find(|&place| state.nodes[place].id == NodeId::from(mho));
        found.is_none_or(|place| {
            let another = state.hears(observer, place) && state.nodes[place].life > life;
            another || self.is_silent(state, observer, place)
        })
    }

    /// Orchestrators that the author, or a member that it hears, hears.
    /// One that is about to fence itself is not missed before it has.
    pub(crate) fn live_orchestrators(&self, state: &State, author: usize) -> Vec<(MhoId, Incarnation)> {
        let near: Vec<usize> = state.members().filter(|&place| place == author || state.hears(author, place)).collect();
        let live = state
            .orchestrators()
            .filter(|&mho| near.iter().any(|&member| state.hears(member, mho)) || self.lease_is_over(state, mho));
        live.filter_map(|place| Some((state.nodes[place].id.mho()?, state.nodes[place].life))).collect()
    }

    /// What comes first by the timers: it fences itself before it judges others.
    pub(crate) fn must_fence(&self, state: &State, place: usize) -> bool {
        self.lease_is_over(state, place) || self.is_isolated(state, place)
    }

    /// A member that hears no orchestrator serves nobody.
    pub(crate) fn is_isolated(&self, state: &State, place: usize) -> bool {
        let is_member = !state.nodes[place].is_mho();
        self.is_maestro() && is_member && !state.orchestrators().any(|mho| state.hears(place, mho))
    }

    /// Does a frame that this member sends leave the group?
    fn leaves(&self, state: &State, place: usize) -> bool {
        let me = state.nodes[place].me();
        let passes = |mho: usize| {
            let mho = &state.nodes[mho];
            mho.serves() && (!self.has(Safeguard::Fence) || mho.held.admitted().contains(&me))
        };
        !self.is_maestro() || state.orchestrators().any(passes)
    }

    /// May this member begin connections of a bucket?
    fn begins(&self, state: &State, place: usize, bucket: usize) -> bool {
        let node = &state.nodes[place];
        let assignment = node.held.matrix.as_ref().and_then(|matrix| matrix.buckets.get(bucket));
        let Some(&Assignment { owner, moved, previous, .. }) = assignment else { return false };
        let active = !self.has(Safeguard::Barrier) || moved <= node.held.activated;
        let listed = !self.has(Safeguard::PreviousOwner)
            || previous.is_none_or(|previous| node.complete.contains(&(moved, previous)));
        node.serves() && owner == node.member() && active && listed && self.leaves(state, place)
    }

    /// A bucket with two members that begin connections in it.
    pub(crate) fn carriers(&self, state: &State) -> Option<usize> {
        (0..usize::from(crate::BUCKETS))
            .find(|&bucket| state.members().filter(|&member| self.begins(state, member, bucket)).count() > 1)
    }

    /// Packets come everywhere all the time: whoever may begin connections has begun some.
    pub(crate) fn begin(&self, state: &mut State) {
        for (place, bucket) in
            state.members().flat_map(|place| (0..usize::from(crate::BUCKETS)).map(move |bucket| (place, bucket)))
        {
            if state.nodes[place].holds >> bucket & 1 == 0 && self.begins(state, place, bucket) {
                state.node_mut(place).holds |= 1 << bucket;
            }
        }
    }

    /// A bucket with two members that have connections of their own in it, and whose frames leave the group.
    pub(crate) fn holders(&self, state: &State) -> Option<usize> {
        let holds = |member: usize, bucket: usize| {
            let node = &state.nodes[member];
            node.serves() && node.holds >> bucket & 1 == 1 && self.leaves(state, member)
        };
        (0..usize::from(crate::BUCKETS))
            .find(|&bucket| state.members().filter(|&member| holds(member, bucket)).count() > 1)
    }

    /// ElasticXL: a life that an active generation leaves out, and whose frames, which may still come at any time, a member
    /// takes that has connections.
    pub(crate) fn stale(&self, state: &State) -> Option<Admitted> {
        let takes = |one: &Admitted| {
            state.members().any(|place| {
                let node = &state.nodes[place];
                let known = !self.has(Safeguard::Fence) || node.held.admitted().contains(one);
                node.serves() && node.holds != 0 && node.member() != one.member && known
            })
        };
        let lives = state.proposals.iter().flat_map(|one| &one.matrix.admitted);
        lives.copied().find(|one| takes(one) && state.left_out(*one))
    }

    /// Members that hold the pivot's role: their own generation is active.
    pub(crate) fn pivots(&self, state: &State) -> usize {
        let holds = |place: usize| {
            let node = &state.nodes[place];
            let own = node.held.activated == node.held.accepted && node.held.author() == Some(node.member());
            node.serves() && node.role == Role::Leads && own
        };
        state.members().filter(|&place| holds(place)).count()
    }
}
