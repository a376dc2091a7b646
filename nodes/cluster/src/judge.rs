//! Who is dead, and why. Carrier speaks at once; silence needs the word of everybody who is heard.

use std::collections::BTreeMap;

use scalebed_engine::{Instant, NodeEvent};
use scalebed_frame::control::Admitted;
use scalebed_frame::{Incarnation, MemberId, MhoId, NodeId};

use crate::ClusterMember;

impl ClusterMember {
    /// Is this life of a member dead, and why? Carrier speaks at once; silence needs everybody's word.
    pub(crate) fn dead(&self, one: Admitted) -> Option<String> {
        let node = NodeId::from(one.member);
        if self.peers.get(node).is_some_and(|peer| peer.incarnation > one.incarnation) {
            return Some("is heard in another life".to_owned());
        }
        if self.has_no_carrier(one.member) {
            return Some("has no carrier on any downlink".to_owned());
        }
        let silent = self.peers.get(node).is_none_or(|peer| peer.silent) && self.peers.agree_silent(node);
        silent.then(|| "is silent on all paths".to_owned())
    }

    /// Do all orchestrators say so? One that this node does not hear itself may have the member's other downlink: then
    /// carrier says nothing.
    fn has_no_carrier(&self, member: MemberId) -> bool {
        let orchestrators = self.live_orchestrators();
        let says_down = |&(mho, _): &(MhoId, Incarnation)| {
            let peer = self.peers.get(mho.into()).filter(|peer| !peer.silent);
            peer.is_some_and(|peer| peer.beat.downlinks_down.contains(&member))
        };
        !orchestrators.is_empty() && orchestrators.iter().all(says_down)
    }

    /// Nobody waits for its answer: nobody hears it, or its admitted life is dead.
    pub(crate) fn cannot_answer(&self, node: NodeId) -> bool {
        let silent = !self.peers.hears(node) && self.peers.agree_silent(node);
        let admitted = self.held.admitted().iter().find(|one| NodeId::from(one.member) == node);
        silent || admitted.is_some_and(|one| self.dead(*one).is_some())
    }

    /// Tells of orchestrators that fell silent: the barrier goes on without them, no generation is made.
    pub(crate) fn judge_orchestrators(&mut self) {
        let Some(matrix) = &self.held.matrix else { return };
        let silent: Vec<(MhoId, Incarnation)> = matrix
            .orchestrators
            .iter()
            .copied()
            .filter(|&(mho, _)| !self.peers.hears(mho.into()) && self.peers.agree_silent(mho.into()))
            .collect();
        for (mho, incarnation) in silent {
            let Some(author) = &mut self.author else { return };
            if author.lost.insert(mho, incarnation) != Some(incarnation) {
                let reason = "is silent on all paths".to_owned();
                self.event(NodeEvent::Dead { node: mho.into(), reason });
            }
        }
    }

    /// Orchestrators that this node hears, or that somebody it hears does: a pulled downlink of the author's own must not
    /// take an orchestrator out of the barrier.
    pub(crate) fn live_orchestrators(&self) -> Vec<(MhoId, Incarnation)> {
        let mut live: BTreeMap<MhoId, Incarnation> = BTreeMap::new();
        let mut hears = |node: NodeId, incarnation: Incarnation| {
            if let NodeId::Mho(mho) = node {
                let known = live.entry(mho).or_insert(incarnation);
                *known = (*known).max(incarnation);
            }
        };
        for (node, peer) in self.peers.present() {
            hears(node, peer.incarnation);
            peer.beat.heard.iter().for_each(|heard| hears(heard.node, heard.incarnation));
        }
        live.into_iter().collect()
    }

    /// A reason for a generation that cannot wait: somebody admitted is dead. Each death is told.
    pub(crate) fn unplanned(&mut self, now: Instant) -> Option<String> {
        let others = self.held.admitted().iter().copied().filter(|one| one.member != self.id());
        let dead: Vec<(MemberId, String)> =
            others.filter_map(|one| self.dead(one).map(|reason| (one.member, reason))).collect();
        if dead.is_empty() || !self.may_leave_others_out(now) {
            return None;
        }
        let mut reasons = Vec::new();
        for (member, reason) in dead {
            reasons.push(format!("{member} {reason}"));
            self.event(NodeEvent::Dead { node: member.into(), reason });
        }
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }
}
