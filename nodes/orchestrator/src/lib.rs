//! The MHO: port roles, dispatch by the matrix, the fence, downlink adjacency, the pair cable.

use scalebed_cluster::NodeConfig;
use scalebed_engine::{Engine, Input, Instant, Output};

/// The engine.
#[derive(Debug)]
pub struct Orchestrator {
    config: NodeConfig,
}

impl Orchestrator {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { config }
    }
}

impl Engine for Orchestrator {
    fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.config);
    }

    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}
