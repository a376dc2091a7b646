//! The member's half of the agreement.

use scalebed_engine::{Command, Instant};
use scalebed_frame::control::{Admitted, Control, Matrix, MemberState};
use scalebed_frame::{Bucket, Generation, Incarnation, MemberId};

use crate::{NodeConfig, Step};

/// A member's view of the cluster.
#[derive(Debug)]
pub struct ClusterMember {
    config: NodeConfig,
}

impl ClusterMember {
    /// A machine that has just been started.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self { config }
    }

    /// A control message came in on `port`. (`Sync` bodies go to the gateway, not here.)
    pub fn on_control(&mut self, port: u16, message: &Control, received: Instant, now: Instant) {
        let _ = (port, message, received, now);
    }

    /// Carrier of a port.
    pub fn on_link(&mut self, port: u16, up: bool, changes: u32, now: Instant) {
        let _ = (port, up, changes, now);
    }

    /// Time passes. Called before every other input too: a node that stood still fences itself first.
    pub fn on_time(&mut self, now: Instant) {
        let _ = now;
    }

    /// An operator's command.
    pub fn on_command(&mut self, command: &Command, now: Instant) {
        let _ = (command, now);
    }

    /// The joiner's sync (`StartSync`) is done.
    pub fn synced(&mut self, now: Instant) {
        let _ = now;
    }

    /// All entries of the move of `generation` from `previous` were applied here.
    pub fn move_complete(&mut self, generation: Generation, previous: MemberId, entries: u32, now: Instant) {
        let _ = (generation, previous, entries, now);
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
    pub fn id(&self) -> MemberId {
        self.config.id.member().unwrap_or(MemberId::new(0, 0))
    }

    /// In which life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// State.
    #[must_use]
    pub fn state(&self) -> MemberState {
        MemberState::Pending
    }

    /// Why it is not Active.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        None
    }

    /// The accepted matrix.
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

    /// Highest activated generation.
    #[must_use]
    pub fn activated(&self) -> Generation {
        Generation::NONE
    }

    /// May this member process and create connections of `bucket` now? Owner in the accepted matrix, and either the
    /// generation in which the bucket moved is activated, or it did not move.
    #[must_use]
    pub fn may_own(&self, bucket: Bucket) -> bool {
        let _ = bucket;
        false
    }

    /// The previous owner of a bucket whose planned move to this member is not complete yet.
    #[must_use]
    pub fn waiting_for(&self, bucket: Bucket) -> Option<MemberId> {
        let _ = bucket;
        None
    }

    /// Is this life of `member` admitted? (the receivers' half of the fence)
    #[must_use]
    pub fn is_admitted(&self, admitted: Admitted) -> bool {
        let _ = admitted;
        false
    }

    /// Fenced: owns, forwards, answers and authors nothing.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        true
    }

    /// Who holds the SMO (pivot) role, as far as this member knows.
    #[must_use]
    pub fn smo(&self) -> Option<MemberId> {
        None
    }

    /// Does this member hold it?
    #[must_use]
    pub fn is_smo(&self) -> bool {
        self.smo() == Some(self.id())
    }
}
