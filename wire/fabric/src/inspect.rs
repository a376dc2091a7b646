//! What can be seen of a fabric.

use scalebed_engine::{Input, Instant, Output, PortIndex};

use crate::fabric::{CableIndex, Fabric, Ledger, NodeIndex};
use crate::node::{Losses, Process};

impl Fabric {
    /// Frames put in and got out, each direction.
    #[must_use]
    pub fn ledger(&self, cable: CableIndex) -> Ledger {
        self.cables[cable.0].ledger
    }

    /// The two ends of a cable, a first.
    #[must_use]
    pub fn ends(&self, cable: CableIndex) -> [(NodeIndex, PortIndex); 2] {
        self.cables[cable.0].ends.map(|(node, port)| (NodeIndex(node), PortIndex(port)))
    }

    /// Has the cable carrier?
    #[must_use]
    pub fn carrier(&self, cable: CableIndex) -> bool {
        self.cables[cable.0].carrier
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Has nothing been added yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, node: NodeIndex) -> &str {
        &self.nodes[node.0].name
    }

    /// The state of a node's process.
    #[must_use]
    pub fn process(&self, node: NodeIndex) -> Process {
        self.nodes[node.0].process
    }

    /// Frames that a node lost outside its engine.
    #[must_use]
    pub fn losses(&self, node: NodeIndex) -> Losses {
        self.nodes[node.0].losses
    }

    /// The transcript so far: `time from:port>to:port frame`, a line a frame ([`Keep::transcript`]).
    #[must_use]
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// The transcript since the last call.
    pub fn take_transcript(&mut self) -> String {
        std::mem::take(&mut self.transcript)
    }

    /// A node's outputs ([`Keep::outputs`]), over all its lives.
    #[must_use]
    pub fn outputs(&self, node: NodeIndex) -> &[Output] {
        &self.nodes[node.0].outputs.outputs
    }

    /// Digest of every node's outputs, in order of node ([`Keep::outputs`] or [`Keep::digests`]).
    #[must_use]
    pub fn outputs_digest(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.outputs.digest()).collect()
    }

    /// A node's inputs since its last start, each with the instant when it was handed over ([`Keep::journals`]).
    #[must_use]
    pub fn journal(&self, node: NodeIndex) -> &[(Input, Instant)] {
        &self.nodes[node.0].journal
    }
}
