//! How the author carries a matrix through: Prepare until acked, the barrier, Activate until everybody shows it.

use std::collections::BTreeSet;
use std::time::Duration;

use scalebed_engine::{Instant, NodeEvent};
use scalebed_frame::control::{Admitted, Body, Matrix};
use scalebed_frame::{Generation, NodeId};
use scalebed_topologies::lab::Architecture;

use crate::ClusterMember;
use crate::author::{Author, Phase};
use crate::held::Answer;

impl ClusterMember {
    pub(crate) fn propose(&mut self, next: &Matrix, reason: &str, now: Instant) {
        let reason = reason.to_owned();
        self.event(NodeEvent::Prepared { generation: next.generation, reason });
        if let Some(author) = &mut self.author {
            author.phase = Phase::Preparing { acks: BTreeSet::new() };
            author.resend = Some(now);
            author.joiners.retain(|member, _| next.admitted.iter().all(|one| one.member != *member));
        }
        if let Answer::Accepted(_) = self.held.propose(next) {
            self.accepted_now(now);
        }
        self.resend(now);
        self.check_barrier(now);
    }

    pub(crate) fn ack(&mut self, from: NodeId, generation: Generation, digest: u64, now: Instant) {
        if generation != self.held.accepted || digest != self.held.digest {
            return;
        }
        match self.author.as_mut().map(|author| &mut author.phase) {
            Some(Phase::Preparing { acks }) => {
                acks.insert(from);
                self.check_barrier(now);
            }
            Some(Phase::Activating { acks }) => {
                if acks.insert(from) {
                    self.answer(from, Body::Activate { generation });
                }
            }
            Some(Phase::Reading { .. } | Phase::Settled) | None => {}
        }
    }

    /// The barrier: Maestro waits for every orchestrator that is not dead, ElasticXL for every surviving member.
    pub(crate) fn check_barrier(&mut self, now: Instant) {
        let Some(Author { phase: Phase::Preparing { acks }, .. }) = &self.author else { return };
        let Some(matrix) = &self.held.matrix else { return };
        let dead = |node: NodeId| !self.peers.hears(node) && self.peers.agree_silent(node);
        let waits: Vec<NodeId> = match self.config.architecture {
            Architecture::Maestro => matrix.orchestrators.iter().map(|(mho, _)| (*mho).into()).collect(),
            Architecture::ElasticXl => matrix.admitted.iter().map(|one| one.member.into()).collect(),
        };
        let open = waits.into_iter().any(|node| node != self.config.id && !acks.contains(&node) && !dead(node));
        if open {
            return;
        }
        let generation = self.held.accepted;
        if let Some(author) = &mut self.author {
            if let Phase::Preparing { acks } = &mut author.phase {
                author.phase = Phase::Activating { acks: std::mem::take(acks) };
            }
            author.resend = Some(now);
        }
        self.activate(generation, now);
        self.resend(now);
    }

    pub(crate) fn check_settled(&mut self) {
        let generation = self.held.accepted;
        let shows = |one: &Admitted| {
            let peer = self.peers.get(one.member.into());
            one.member == self.id() || peer.is_some_and(|peer| peer.beat.activated >= generation)
        };
        let all = self.held.admitted().iter().all(shows);
        if let Some(author) = &mut self.author
            && matches!(author.phase, Phase::Activating { .. })
            && all
        {
            author.phase = Phase::Settled;
            author.resend = None;
        }
    }

    /// Repeats what has not been answered, four times a unit.
    pub(crate) fn resend(&mut self, now: Instant) {
        let pause: Duration = self.unit / if self.config.group.quirks.slow_repeat { 2 } else { 4 };
        let Some(author) = &mut self.author else { return };
        if author.resend.is_none_or(|at| now < at) {
            return;
        }
        author.resend = Some(now + pause);
        // Altered since it was proposed, it would be a second matrix of the same generation.
        self.check_matrix(now);
        let (Some(author), Some(matrix)) = (&mut self.author, &self.held.matrix) else { return };
        let everybody = matrix
            .admitted
            .iter()
            .map(|one| NodeId::from(one.member))
            .chain(matrix.orchestrators.iter().map(|(mho, _)| NodeId::from(*mho)))
            .filter(|&node| node != self.config.id);
        let generation = self.held.accepted;
        let prepare = |node: NodeId| (node, Body::Prepare(matrix.clone()));
        let messages: Vec<(NodeId, Body)> = match &author.phase {
            Phase::Reading { open, announced } => {
                open.iter().map(|&node| (node, Body::Read { announced: *announced })).collect()
            }
            Phase::Preparing { acks } => everybody.filter(|node| !acks.contains(node)).map(prepare).collect(),
            Phase::Activating { acks } => {
                let shows = |node: &NodeId| self.peers.get(*node).is_some_and(|peer| peer.beat.activated >= generation);
                let activate = |node| (node, Body::Activate { generation });
                let next = |node| if acks.contains(&node) { activate(node) } else { prepare(node) };
                everybody.filter(|node| !shows(node)).map(next).collect()
            }
            Phase::Settled => {
                author.resend = None;
                return;
            }
        };
        for (node, body) in messages {
            self.answer(node, body);
        }
    }
}
