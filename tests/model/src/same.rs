//! Which states are the same: those that differ only in what can matter to nobody any more. Nothing is changed by it; the
//! search only does not begin twice at what goes on alike.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::state::{Node, Process, Role, State};

// States are told apart as their fingerprints are.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in &self.nodes {
            hash_node(node, hasher);
        }
        for place in 0..self.proposals.len() {
            self.hash_proposal(place, hasher);
        }
        (self.cuts_that_matter(), self.faults, self.ended_admitted).hash(hasher);
    }
}

/// What a dead node accepted, and what a stopped one was at, is never asked again: it wakes fenced, in another life.
fn hash_node<H: Hasher>(node: &Node, hasher: &mut H) {
    let held = &node.held;
    (node.life, node.process, &node.complete, held.activated, node.holds).hash(hasher);
    if node.process == Process::Dead {
        return;
    }
    if node.process == Process::Runs {
        (node.fenced, node.role).hash(hasher);
    }
    // The digest stands for the matrix: the engine takes equal digests for equal matrices too.
    (held.digest, held.accepted, held.promised).hash(hasher);
    // Lives that a node saw left out are as much its state as its matrix.
    held.hash_lives(hasher);
}

impl State {
    /// Equal for states that are the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Who acked counts as long as somebody waits for it. What was active once is asked of every later state.
    fn hash_proposal<H: Hasher>(&self, place: usize, hasher: &mut H) {
        let proposal = &self.proposals[place];
        let acked = if self.waits_for_acks(place) { proposal.acked } else { 0 };
        (proposal.digest, proposal.activated, acked).hash(hasher);
    }

    /// May its author still close its barrier?
    pub(crate) fn waits_for_acks(&self, place: usize) -> bool {
        let proposal = &self.proposals[place];
        let generation = proposal.matrix.generation;
        let author = &self.nodes[self.place(generation.author)];
        let leads = author.serves() && author.role != Role::None;
        leads && !proposal.activated && author.held.accepted == generation
    }

    /// Nobody hears the dead, nor do they hear; only what one of them wrote may still come.
    fn cuts_that_matter(&self) -> u32 {
        let places = 0..self.nodes.len();
        let wrote = |at: usize| self.proposals.iter().any(|one| self.place(one.matrix.generation.author) == at);
        let dead = |at: usize| self.nodes[at].process == Process::Dead;
        let mut cuts = 0;
        for (from, to) in places.clone().flat_map(|from| places.clone().map(move |to| (from, to))) {
            let matters = !self.reaches(from, to) && !dead(to) && (!dead(from) || wrote(from));
            cuts |= u32::from(matters) << (5 * from + to);
        }
        cuts
    }
}
