//! Cables, and where they end.

use serde::{Deserialize, Serialize};

/// A cable: one veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// `a--b`, names of the two nodes, with port names where a pair has several cables.
    pub name: String,
    /// One end.
    pub a: End,
    /// The other end.
    pub b: End,
}

impl Cable {
    /// End `b`, or end `a`.
    #[must_use]
    pub const fn end(&self, b: bool) -> End {
        if b { self.b } else { self.a }
    }
}

/// One end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct End {
    /// Index of [`Lab::nodes`].
    pub node: u16,
    /// Index of the node's ports.
    pub port: u16,
}
