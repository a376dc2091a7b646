//! What the cluster machine has decided, as packets need it: a flat copy, read again at each change.

use scalebed_cluster::ClusterMember;
use scalebed_engine::Instant;
use scalebed_frame::control::{Admitted, Assignment, Matrix, MemberState};
use scalebed_frame::{Bucket, Generation, Incarnation, MemberId};

/// Whose a bucket is, and what this member may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The accepted matrix' word.
    pub assignment: Assignment,
    /// May this member create connections of it now?
    pub may_own: bool,
    /// Its previous owner, while the planned move to this member is not complete.
    pub waiting_for: Option<MemberId>,
}

/// The cluster as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// This member.
    pub id: MemberId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Its state.
    pub state: MemberState,
    /// Why it is not Active.
    pub reason: Option<String>,
    /// Owns, forwards and answers nothing.
    pub fenced: bool,
    /// Who holds the SMO (pivot) role, as far as this member knows.
    pub smo: Option<MemberId>,
    /// Does this member hold it, and serve?
    pub leads: bool,
    /// Highest accepted generation.
    pub accepted: Generation,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Highest activated generation.
    pub activated: Generation,
    /// Digest of the accepted matrix.
    pub digest: u64,
    /// Who is admitted, in order of id.
    pub admitted: Vec<Admitted>,
    /// One place a bucket; empty before the first matrix.
    pub places: Vec<Place>,
    /// Receivers take corrections of anybody (an ablation).
    pub no_fence: bool,
}

impl Membership {
    /// Of a member that has just been started: fenced, no matrix.
    #[must_use]
    pub fn new(id: MemberId, incarnation: Incarnation) -> Self {
        Self {
            id,
            incarnation,
            state: MemberState::Pending,
            reason: None,
            fenced: true,
            smo: None,
            leads: false,
            accepted: Generation::NONE,
            accepted_at: Instant(0),
            activated: Generation::NONE,
            digest: 0,
            admitted: Vec::new(),
            places: Vec::new(),
            no_fence: false,
        }
    }

    /// Reads the machine again; `all` also where only buckets may have changed. True: matrix or own life is another.
    pub(crate) fn read(&mut self, cluster: &ClusterMember, all: bool, now: Instant) -> bool {
        let before = (self.incarnation, self.accepted, self.activated, self.fenced);
        self.incarnation = cluster.incarnation();
        self.state = cluster.state();
        if self.reason.as_deref() != cluster.reason() {
            self.reason = cluster.reason().map(str::to_owned);
        }
        self.fenced = cluster.is_fenced();
        self.smo = cluster.smo();
        self.leads = cluster.is_smo();
        self.accepted = cluster.accepted();
        if self.accepted != before.1 {
            self.accepted_at = now;
        }
        self.activated = cluster.activated();
        self.digest = cluster.digest();
        let changed = before != (self.incarnation, self.accepted, self.activated, self.fenced);
        if changed || all {
            self.install(cluster.matrix(), |bucket| (cluster.may_own(bucket), cluster.waiting_for(bucket)));
        }
        changed
    }

    /// Takes a matrix in.
    pub(crate) fn install(&mut self, matrix: Option<&Matrix>, mine: impl Fn(Bucket) -> (bool, Option<MemberId>)) {
        self.admitted.clear();
        self.places.clear();
        let Some(matrix) = matrix else { return };
        self.admitted.extend_from_slice(&matrix.admitted);
        self.places.extend((0u16..).zip(&matrix.buckets).map(|(bucket, &assignment)| {
            let (may_own, waiting_for) = mine(Bucket(bucket));
            Place { assignment, may_own, waiting_for }
        }));
    }

    /// Is this very life in the accepted matrix? A joiner is, from its Prepare on, though it is fenced until Activate.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.admits(self.id, self.incarnation)
    }

    /// The place of a bucket; `None` before the first matrix.
    #[must_use]
    pub fn place(&self, bucket: Bucket) -> Option<&Place> {
        self.places.get(usize::from(bucket.0))
    }

    /// The owner of a bucket.
    #[must_use]
    pub fn owner(&self, bucket: Bucket) -> Option<MemberId> {
        self.place(bucket).map(|place| place.assignment.owner)
    }

    /// In which life a member is admitted.
    #[must_use]
    pub fn life(&self, member: MemberId) -> Option<Incarnation> {
        self.admitted.iter().find(|admitted| admitted.member == member).map(|admitted| admitted.incarnation)
    }

    /// Is this life of it admitted?
    #[must_use]
    pub fn admits(&self, member: MemberId, life: Incarnation) -> bool {
        self.life(member) == Some(life)
    }

    /// The receivers' half of the fence: may a frame of this origin, with the low bits of its life, be taken?
    #[must_use]
    pub fn passes(&self, member: MemberId, low: u16) -> bool {
        let same = |life: Incarnation| life.0 & 0xffff == u32::from(low);
        self.no_fence || self.life(member).is_some_and(same)
    }

    /// The other admitted members, in order of id.
    pub(crate) fn others(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.admitted.iter().map(|admitted| admitted.member).filter(|member| *member != self.id)
    }

    /// Buckets that this member owns in the accepted matrix.
    pub(crate) fn owned(&self) -> u32 {
        let mine = self.places.iter().filter(|place| place.assignment.owner == self.id).count();
        u32::try_from(mine).unwrap_or(u32::MAX)
    }
}
