//! The agreement as a state machine: every order of messages, decisions and faults within bounds is tried.
//!
//! The acceptor (`Held`: accept, refuse, activate, promise, lives that ended) and the next matrix are the engine's own
//! code; who hears whom, who is dead, when a lease ends and what an author does next follow the page rule by rule.
//!
//! # What is abstracted
//!
//! - **Messages** are never taken away once sent: each may arrive at any later time, or again, or never. That is loss,
//!   reordering and duplication without a budget. What an author learns (acks, answers to Read, complete moves) it learns
//!   where it is made; what it does with it may come as late as one likes.
//! - **Time** is the order of steps, with what timers guarantee. A node that stands still is found silent after 3 units
//!   and fences itself when it wakes (2.5). A lease ends 2.5 units after the last echo: whoever must fence itself by it
//!   has done so before anybody misses it. That timers keep these distances is shown by the simulated world, not here.
//! - **Cuts** are one way and take heartbeats alone; Prepare, Activate and data pass: more arrives than could. In ElasticXL,
//!   which has only time to fence with, they take Prepare and Activate too.
//! - **Packets** come at each member for each bucket all the time. Who may begin connections and whose frames leave the
//!   group is asked in every state. Whoever may begin connections of a bucket has some of its own from then on, until its
//!   life ends or its list of them arrives elsewhere.
//! - **Handed over packets** of a life may come at any time, long after it has ended.
//!
//! Not modelled: boot, and what follows when all are fenced; carrier; entries one by one (a list comes as a whole); an
//! author that is refused and reads again, unless the bounds ask for it.
//!
//! [`Agreement::progress`] asks of every state whether some order of steps leads on, so that nobody waits for ever.

mod act;
mod author;
mod judge;
mod progress;
mod same;
mod state;

use scalebed_topologies::lab::Architecture;
use stateright::{Model, Property};

pub use act::Action;
pub use progress::Progress;
pub use state::{Node, Process, Proposal, Role, State};

/// Buckets: each of two members has two, and a joiner takes one.
pub const BUCKETS: u16 = 4;

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safeguard {
    /// Orchestrators drop frames of lives that they do not admit.
    Fence,
    /// A new owner begins nothing before Activate, which waits for every acceptor that is not dead.
    Barrier,
    /// An author that takes over starts from the highest matrix that anybody holds.
    Read,
    /// Whom nobody echoes fences itself before it is missed.
    Lease,
    /// Who was fenced comes back in another life; no life that was left out is admitted again.
    Incarnation,
    /// A new owner begins nothing before the previous owner's list is complete.
    PreviousOwner,
}

/// Which faults there are. Each has those before it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Faults {
    /// A node dies.
    Deaths,
    /// It stands still, for over 2.5 units.
    Stops,
    /// It loses its voice or its ears.
    Nodes,
    /// One does not hear one other.
    Pairs,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Members.
    pub members: usize,
    /// Which of them, from 1, authored generation 1.
    pub author: usize,
    /// Members in generation 1; the others wait to be admitted.
    pub admitted: usize,
    /// Generations after the first.
    pub changes: usize,
    /// How many faults.
    pub faults: u8,
    /// Which.
    pub of: Faults,
    /// An author that is refused reads again. It makes many more states; without, it stops there, which is safe.
    pub again: bool,
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// Of which architecture.
    pub architecture: Architecture,
    /// How far to look.
    pub bounds: Bounds,
    /// The rule that is left out.
    pub without: Option<Safeguard>,
}

impl Agreement {
    pub(crate) fn has(&self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }

    pub(crate) fn is_maestro(&self) -> bool {
        self.architecture == Architecture::Maestro
    }
}

/// No bucket has two members that begin connections in it and whose frames leave the group (S2).
pub const ONE_CARRIER: &str = "one carrier";
/// No acceptor (Maestro: orchestrator, ElasticXL: member) accepts a life that it saw left out, if an active
/// generation left it out (S22).
pub const LEFT_OUT: &str = "left out stays out";
/// ElasticXL: no two pivots at once (S5).
pub const ONE_PIVOT: &str = "one pivot";
/// Two members that serve do not both have connections of a bucket: who begins new ones has got the old ones (S2).
pub const ONE_HOLDER: &str = "one holder of a bucket's connections";
/// ElasticXL: nothing that a life handed over goes on once a generation without it is active (S19).
pub const STALE: &str = "what a left out life handed over is dropped";
/// Something happens at all: a change after a take-over is carried through.
pub const TAKEN_OVER: &str = "a successor's generation becomes active";
/// A planned move is carried through.
pub const MOVED: &str = "a joiner's list is complete";

impl Model for Agreement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.ended_admitted.is_none() {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.act(&mut next, action).then(|| {
            self.begin(&mut next);
            next
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_CARRIER, |model: &Self, state: &State| model.carriers(state).is_none()),
            Property::always(ONE_HOLDER, |model: &Self, state: &State| model.holders(state).is_none()),
            Property::always(LEFT_OUT, |_: &Self, state: &State| state.ended_admitted.is_none()),
            Property::sometimes(TAKEN_OVER, |_: &Self, state: &State| {
                let first = state.proposals[0].matrix.generation.author;
                state.proposals.iter().any(|one| one.activated && one.matrix.generation.author != first)
            }),
        ];
        if self.bounds.admitted < self.bounds.members {
            properties.push(Property::sometimes(MOVED, |_: &Self, state: &State| {
                state.nodes.iter().any(|node| !node.complete.is_empty())
            }));
        }
        if !self.is_maestro() {
            properties.push(Property::always(ONE_PIVOT, |model: &Self, state: &State| model.pivots(state) < 2));
            properties.push(Property::always(STALE, |model: &Self, state: &State| model.stale(state).is_none()));
        }
        properties
    }
}
