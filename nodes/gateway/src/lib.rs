//! The Security Gateway Module: connections, TCP tracking, rulebase, NAT, ownership, correction, HyperSync.

use scalebed_cluster::NodeConfig;
use scalebed_engine::{Engine, Input, Instant, Output};

/// The engine.
#[derive(Debug)]
pub struct Gateway {
    config: NodeConfig,
}

impl Gateway {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { config }
    }
}

impl Engine for Gateway {
    fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.config);
    }

    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}
