//! The ElasticXL member: a gateway whose ports are data networks and the sync network. Who is the pivot is state: the
//! one that is decides for everybody what goes to whom (`scalebed_gateway`'s `decide`), hands it over, and after a
//! takeover starts from the entries that sync gave it.

#[cfg(test)]
mod tests;

use scalebed_cluster::NodeConfig;
use scalebed_engine::{Engine, Input, Instant, Output};
use scalebed_gateway::Gateway;

/// The engine.
#[derive(Debug)]
pub struct Pivot {
    gateway: Gateway,
}

impl Pivot {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { gateway: Gateway::new(config) }
    }

    /// The gateway inside.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}

impl Engine for Pivot {
    fn handle(&mut self, input: Input, now: Instant) {
        self.gateway.handle(input, now);
    }

    fn poll(&mut self) -> Output {
        self.gateway.poll()
    }
}
