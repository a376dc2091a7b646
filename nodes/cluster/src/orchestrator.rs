//! The orchestrator's half: an acceptor that fences and dispatches by what it accepted.

use scalebed_engine::Instant;
use scalebed_frame::control::{Control, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId, NodeId};

use crate::{NodeConfig, Step};

/// An orchestrator's view of the cluster.
#[derive(Debug)]
pub struct ClusterOrchestrator {
    config: NodeConfig,
}

impl ClusterOrchestrator {
    /// A machine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { config }
    }

    /// A control message came in on `port`.
    pub fn on_control(&mut self, port: u16, message: &Control, received: Instant, now: Instant) {
        let _ = (port, message, received, now);
    }

    /// Carrier of a port.
    pub fn on_link(&mut self, port: u16, up: bool, changes: u32, now: Instant) {
        let _ = (port, up, changes, now);
    }

    /// Time passes; called before every other input too.
    pub fn on_time(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next thing to do; drained after every call.
    pub fn next_step(&mut self) -> Option<Step> {
        None
    }

    /// When `on_time` must be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> MhoId {
        self.config.id.mho().unwrap_or(MhoId(0))
    }

    /// In which life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// The accepted matrix: what dispatch uses.
    #[must_use]
    pub fn matrix(&self) -> Option<&Matrix> {
        None
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> u64 {
        0
    }

    /// Highest accepted generation.
    #[must_use]
    pub fn accepted(&self) -> Generation {
        Generation::NONE
    }

    /// The fence: may a data frame of this origin (node code) and incarnation (low 16 bits) pass?
    #[must_use]
    pub fn passes(&self, origin: NodeId, incarnation: u16) -> bool {
        let _ = (origin, incarnation);
        false
    }

    /// Fenced: forwards nothing, uplinks down.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        true
    }

    /// Who holds the SMO role, as far as this orchestrator hears.
    #[must_use]
    pub fn smo(&self) -> Option<MemberId> {
        None
    }
}
