//! Does it always go on? From every state, as long as a member serves, some order of steps leads to a generation that is
//! active everywhere. (That it is reached in time is shown by the simulated world.)

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use stateright::Model as _;

use crate::state::{Role, State};
use crate::{Action, Agreement};

/// What came of the search.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How many states there are.
    pub states: usize,
    /// Steps to a state from which nothing leads on.
    pub stuck: Option<Vec<Action>>,
}

/// Every state, how each was reached first, and from which each can be reached.
struct Graph {
    reached: Vec<Option<(usize, Action)>>,
    from: Vec<Vec<usize>>,
    good: Vec<usize>,
}

impl Agreement {
    /// Searches all states within bounds, breadth first.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let graph = self.graph();
        let mut leads_on = vec![false; graph.reached.len()];
        let mut open = graph.good.clone();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut leads_on[at], true) {
                open.extend(&graph.from[at]);
            }
        }
        let stuck = leads_on.iter().position(|leads| !leads);
        Progress { states: leads_on.len(), stuck: stuck.map(|at| graph.path(at)) }
    }

    fn graph(&self) -> Graph {
        let start = State::start(self);
        let mut known = HashMap::from([(start.fingerprint(), 0)]);
        let mut graph = Graph { reached: vec![None], from: vec![Vec::new()], good: Vec::new() };
        let mut level = vec![(0, start)];
        while !level.is_empty() {
            let mut next_level = Vec::new();
            for (at, state) in level {
                if self.is_good(&state) {
                    graph.good.push(at);
                }
                let mut actions = Vec::new();
                self.actions(&state, &mut actions);
                for action in actions {
                    let Some(next) = self.next_state(&state, action) else { continue };
                    let new = graph.reached.len();
                    let place = match known.entry(next.fingerprint()) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(entry) => {
                            graph.reached.push(Some((at, action)));
                            graph.from.push(Vec::new());
                            next_level.push((new, next));
                            *entry.insert(new)
                        }
                    };
                    graph.from[place].push(at);
                }
            }
            level = next_level;
        }
        graph
    }

    /// Settled; or cut off by the bounds; or everybody is fenced, and what follows then is not modelled.
    fn is_good(&self, state: &State) -> bool {
        let nobody = !state.members().any(|place| state.nodes[place].serves());
        let leads = |place: &usize| state.nodes[*place].serves() && state.nodes[*place].role == Role::Leads;
        let settled = state.members().filter(leads).any(|author| self.is_settled(state, author));
        nobody || settled || state.proposals.len() > self.bounds.changes
    }
}

impl Graph {
    fn path(&self, mut at: usize) -> Vec<Action> {
        let mut steps = Vec::new();
        while let Some((before, action)) = self.reached[at] {
            steps.push(action);
            at = before;
        }
        steps.reverse();
        steps
    }
}
