//! Whom this node hears: the failure detector. Says who is silent, never what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::{Heard, Heartbeat, MemberState};
use scalebed_frame::{Generation, Incarnation, MemberId, NodeId};
use scalebed_topologies::Quirks;

/// From one heartbeat to the next.
pub(crate) fn pause(unit: Duration, beats: u32, quirks: Quirks) -> Duration {
    if quirks.waver && beats % 3 == 2 { unit * 6 / 5 } else { unit }
}

/// A node as last heard.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) incarnation: Incarnation,
    /// When its last heartbeat was received, on any path.
    pub(crate) heard: Instant,
    /// Unheard for the dead timer.
    pub(crate) silent: bool,
    pub(crate) beat: Heartbeat,
}

/// Every node heard so far.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    dead_after: Duration,
    all: BTreeMap<NodeId, Peer>,
}

impl Peers {
    pub(crate) fn new(dead_after: Duration) -> Self {
        Self { dead_after, all: BTreeMap::new() }
    }

    /// Takes a heartbeat in. One of an earlier life, or an older one that took the longer path, changes nothing but
    /// the hearing.
    pub(crate) fn heard(&mut self, node: NodeId, incarnation: Incarnation, beat: &Heartbeat, received: Instant) {
        match self.all.get_mut(&node) {
            Some(peer) if incarnation < peer.incarnation => {}
            Some(peer) if incarnation == peer.incarnation => {
                peer.heard = peer.heard.max(received);
                peer.silent = false;
                if beat.sent >= peer.beat.sent {
                    peer.beat.clone_from(beat);
                }
            }
            Some(_) | None => {
                let peer = Peer { incarnation, heard: received, silent: false, beat: beat.clone() };
                self.all.insert(node, peer);
            }
        }
    }

    /// The highest generation that the author of one, in the life in which it wrote it, says is active.
    pub(crate) fn active_of(&self, generation: Generation) -> Generation {
        let author = self.all.get(&generation.author.into());
        let author = author.filter(|peer| peer.incarnation == generation.incarnation);
        author.map_or(Generation::NONE, |peer| peer.beat.activated)
    }

    /// Marks who has been unheard for the dead timer; true if somebody is newly silent.
    pub(crate) fn watch(&mut self, now: Instant) -> bool {
        let mut newly = false;
        for peer in self.all.values_mut().filter(|peer| !peer.silent) {
            peer.silent = now.since(peer.heard) >= self.dead_after;
            newly |= peer.silent;
        }
        newly
    }

    /// The observer itself stood still for `late`: nobody is to blame for what it did not hear meanwhile.
    pub(crate) fn forgive(&mut self, late: Duration) {
        for peer in self.all.values_mut() {
            peer.heard = peer.heard + late;
        }
    }

    /// When the next peer would fall silent.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.all.values().filter(|peer| !peer.silent).map(|peer| peer.heard + self.dead_after).min()
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Peer> {
        self.all.get(&node)
    }

    /// Those that are heard, in order of id.
    pub(crate) fn present(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.all.iter().filter(|(_, peer)| !peer.silent).map(|(node, peer)| (*node, peer))
    }

    /// Members that are heard.
    pub(crate) fn members(&self) -> impl Iterator<Item = (MemberId, &Peer)> {
        self.present().filter_map(|(node, peer)| node.member().map(|member| (member, peer)))
    }

    /// Is this node heard?
    pub(crate) fn hears(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|peer| !peer.silent)
    }

    /// The list for a heartbeat.
    pub(crate) fn list(&self) -> Vec<Heard> {
        let one = |(node, peer): (NodeId, &Peer)| Heard { node, incarnation: peer.incarnation, sent: peer.beat.sent };
        self.present().map(one).collect()
    }

    /// The indirect probe: does every Active member that is heard (but for the accused) say that it does not hear it? An
    /// orchestrator is heard by the other one too: the two see each other on a cable of their own, when every member that
    /// the observer still hears has lost sight of one of them.
    pub(crate) fn agree_silent(&self, accused: NodeId) -> bool {
        let asked = |node: NodeId, peer: &Peer| match node {
            NodeId::Member(_) => peer.beat.state == MemberState::Active,
            NodeId::Mho(_) => accused.mho().is_some(),
        };
        self.present()
            .filter(|&(node, peer)| node != accused && asked(node, peer))
            .all(|(_, peer)| peer.beat.heard.iter().all(|heard| heard.node != accused))
    }
}
