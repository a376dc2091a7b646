//! How an author learns what it must not undo: it asks before it changes anything, when it takes over and when it was
//! refused. Each answer is a promise to refuse every generation below the one that it announced.

use std::collections::BTreeSet;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::{Matrix, MemberState};
use scalebed_frame::{Generation, MemberId, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::ClusterMember;
use crate::author::{Author, Phase};

impl ClusterMember {
    /// Asks everybody who may have accepted something, from `at` on.
    pub(crate) fn start_reading(&mut self, at: Instant, now: Instant) {
        let open = if self.config.ablations.no_read { BTreeSet::new() } else { self.to_be_asked() };
        let announced = self.generation_after(self.held.accepted);
        let phase = Phase::Reading { open, announced };
        match &mut self.author {
            Some(author) => (author.phase, author.resend) = (phase, Some(at)),
            None => self.author = Some(Author::new(phase, at)),
        }
        self.resend(now);
    }

    /// Acceptors that are not declared dead, heard here or not, and every admitted member and orchestrator that is heard.
    fn to_be_asked(&self) -> BTreeSet<NodeId> {
        let admitted = || self.held.admitted().iter().map(|one| one.member);
        let acceptors: Vec<NodeId> = match self.config.architecture {
            Architecture::Maestro => {
                let listed = self.held.matrix.iter().flat_map(|matrix| &matrix.orchestrators);
                listed.copied().chain(self.live_orchestrators()).map(|(mho, _)| mho.into()).collect()
            }
            Architecture::ElasticXl => admitted().map(NodeId::from).collect(),
        };
        let known = |node: &NodeId| node.member().is_none_or(|member| admitted().any(|one| one == member));
        let heard = self.peers.present().map(|(node, _)| node).filter(known);
        let all = acceptors.into_iter().chain(heard).filter(|&node| node != self.config.id);
        all.filter(|&node| !self.cannot_answer(node)).collect()
    }

    /// Goes on when all have answered: with a change, or with a question that announces more if something as high as the
    /// announced generation was found. An author that is back makes it superfluous.
    pub(crate) fn run_reading(&mut self, now: Instant) {
        let Some(Author { phase: Phase::Reading { open, announced }, .. }) = &self.author else { return };
        let (announced, waits): (Generation, Vec<NodeId>) = (*announced, open.iter().copied().collect());
        if self.held.author().is_some_and(|smo| self.serves(smo)) {
            self.give_up_role();
            return;
        }
        let waits: BTreeSet<NodeId> = waits.into_iter().filter(|&node| !self.cannot_answer(node)).collect();
        if !waits.is_empty() {
            if let Some(Author { phase: Phase::Reading { open, .. }, .. }) = &mut self.author {
                *open = waits;
            }
            return;
        }
        let next = self.generation_after(self.held.accepted);
        if next.counter > announced.counter && !self.config.ablations.no_read {
            // Another author is about to change something: it gets the time to, or both would refuse each other for ever.
            let duel = next.counter > self.held.accepted.counter + 1;
            let pause = if duel { self.unit / 4 } else { Duration::ZERO };
            self.start_reading(now + pause, now);
            return;
        }
        self.change(if self.smo_taken { "was refused" } else { "takes over" }, now);
    }

    /// Is the author of what is held another one, admitted and not dead?
    fn serves(&self, smo: MemberId) -> bool {
        let admitted = self.held.admitted().iter().find(|one| one.member == smo);
        smo != self.id() && admitted.is_some_and(|one| self.dead(*one).is_none())
    }

    /// What somebody holds. Answers to an earlier question promise too little to count.
    pub(crate) fn read_answer(&mut self, from: NodeId, promised: Generation, found: Option<&Matrix>, now: Instant) {
        let Some(Author { phase: Phase::Reading { open, announced }, .. }) = &mut self.author else { return };
        if promised < *announced {
            return;
        }
        open.remove(&from);
        if promised > *announced {
            self.beyond = self.beyond.max(promised);
        }
        let Some(found) = found.filter(|found| found.generation > self.held.accepted) else { return };
        if !found.admitted.contains(&self.me()) {
            self.fence("not admitted in the highest generation found", now);
        } else {
            self.held.adopt(found);
            let author = self.author.take();
            self.accepted_now(now);
            self.author = author;
        }
    }

    /// Somebody holds something else, or has promised to: read again and start from the highest. Whoever refused may just
    /// be waiting for another author, which gets the time to finish.
    pub(crate) fn refused(&mut self, from: NodeId, generation: Generation, holds: Generation, now: Instant) {
        let (booting, mine) = (self.fenced, generation == self.held.accepted);
        if booting && self.author.is_none() && self.state == MemberState::Ready {
            self.fence("this life was admitted and left out before", now);
        }
        let proposing = matches!(
            self.author.as_ref().map(|author| &author.phase),
            Some(Phase::Preparing { .. } | Phase::Activating { .. })
        );
        if !proposing || !mine || self.config.ablations.no_read {
            return;
        }
        // A lower one is held there: it is this life that is refused. What left it out may be in force, unless what is active
        // here is newer than that; then it is going to be forgiven.
        if !booting && self.accepts(from) && holds < generation && self.held.activated < holds {
            self.fence(&format!("{from} holds a matrix that leaves this life out"), now);
            return;
        }
        self.beyond = self.beyond.max(holds);
        if booting {
            // Nobody serves, and nothing is admitted that could be asked for: it boots again, above what was refused.
            self.give_up_role();
        } else {
            self.start_reading(now + self.unit / 4, now);
        }
    }

    /// Does what it holds count? Maestro asks orchestrators, ElasticXL every member.
    fn accepts(&self, node: NodeId) -> bool {
        match self.config.architecture {
            Architecture::Maestro => node.mho().is_some(),
            Architecture::ElasticXl => self.held.admitted().iter().any(|one| node == one.member.into()),
        }
    }
}
