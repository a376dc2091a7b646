//! The ElasticXL member: a gateway whose ports are data networks and the sync network. Who is the pivot is state: the
//! one that is decides for everybody what goes to whom, hands it over, and after a takeover starts from the entries that
//! sync gave it.

#[cfg(test)]
mod tests;

use scalebed_cluster::NodeConfig;
use scalebed_engine::{Engine, Input, Instant, Output};
use scalebed_frame::MemberId;
use scalebed_gateway::{Entering, Gateway};
use scalebed_topologies::lab::Sticky;

/// The engine.
#[derive(Debug)]
pub struct Pivot {
    gateway: Gateway,
}

impl Pivot {
    /// An engine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { gateway: Gateway::with_decision(config, decide) }
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

/// `sticky: table`: the owner of the connection, if it is known; if that owner is gone, who takes it over; for all else,
/// and with `sticky: hash` for everything, the owner of the packet's bucket.
fn decide(entering: &Entering) -> Option<MemberId> {
    let known = entering.known.filter(|_| entering.sticky == Sticky::Table);
    let by_table = known.and_then(|known| if known.admitted { Some(known.owner) } else { known.heir });
    by_table.or(entering.owner)
}
