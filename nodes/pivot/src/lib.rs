//! The ElasticXL member: a gateway plus the pivot's decision, handover and takeover.

use scalebed_cluster::NodeConfig;
use scalebed_engine::{Engine, Input, Instant, Output};

/// The engine.
#[derive(Debug)]
pub struct Pivot {
    config: NodeConfig,
}

impl Pivot {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { config }
    }
}

impl Engine for Pivot {
    fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.config);
    }

    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}
