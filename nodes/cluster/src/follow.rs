//! What a member does with the matrix that an author proposes: accept, activate, move; and what it says in heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use scalebed_engine::{Instant, NodeEvent, Role};
use scalebed_frame::control::{Admitted, Body, Heartbeat, Matrix, MemberState};
use scalebed_frame::{Bucket, Generation, MemberId, NodeId};
use scalebed_topologies::lab::{Architecture, PortRole};

use crate::held::Answer;
use crate::{ClusterMember, Port, Step, peers};

impl ClusterMember {
    pub(crate) fn prepare(&mut self, from: NodeId, matrix: &Matrix, now: Instant) {
        let me = Admitted { member: self.id(), incarnation: self.incarnation };
        if !matrix.admitted.contains(&me) {
            if matrix.generation > self.held.accepted {
                self.fence("left out of a newer generation", now);
            }
            return;
        }
        self.held.pardon(matrix.generation, self.peers.active_of(matrix.generation));
        match self.held.prepare(matrix) {
            Answer::Only(body) => self.answer(from, body),
            Answer::Accepted(body) => {
                if !self.config.group.quirks.late_ack {
                    self.answer(from, body);
                }
                self.accepted_now(now);
            }
        }
    }

    /// A newer matrix is held: what follows for everybody, its author included.
    pub(crate) fn accepted_now(&mut self, now: Instant) {
        let Some(matrix) = self.held.matrix.clone() else { return };
        let (generation, digest, me) = (self.held.accepted, self.held.digest, self.id());
        self.moves_since.insert(generation, now);
        self.moves_since.retain(|moved, _| matrix.buckets.iter().any(|bucket| bucket.moved == *moved));
        self.completed.retain(|(moved, _), _| matrix.buckets.iter().any(|bucket| bucket.moved == *moved));
        self.event(NodeEvent::Accepted { generation, digest, admitted: matrix.admitted.clone() });
        self.steps.push_back(Step::Accepted(generation));
        if generation.author != me {
            self.give_up_role();
        }
        let mut moves: BTreeMap<MemberId, Vec<Bucket>> = BTreeMap::new();
        for (index, bucket) in (0u16..).zip(&matrix.buckets) {
            if bucket.previous == Some(me) && bucket.moved == generation {
                moves.entry(bucket.owner).or_default().push(Bucket(index));
            }
        }
        for (to, buckets) in moves {
            self.steps.push_back(Step::SendMove { to, generation, buckets });
        }
        self.beat(now);
    }

    pub(crate) fn activate(&mut self, generation: Generation, now: Instant) {
        if !self.held.activate(generation) {
            return;
        }
        // What an earlier life accepted admits that life, not this one.
        let me = Admitted { member: self.id(), incarnation: self.incarnation };
        if !self.held.admitted().contains(&me) {
            return;
        }
        // One that heard of a higher generation since may be left out there: that one must come first.
        if self.fenced && self.held.promised > self.held.accepted {
            return;
        }
        if self.fenced {
            self.fenced = false;
            self.start_lease(now);
            self.set_state(MemberState::Active, "admitted", now);
            self.steps.push_back(Step::Unfenced);
        }
        self.event(NodeEvent::Activated { generation });
        self.steps.push_back(Step::Activated(generation));
        if self.held.author() == Some(self.id()) && self.author.is_some() && !self.smo_taken {
            self.smo_taken = true;
            self.event(NodeEvent::Role { role: self.role(), taken: true });
            self.steps.push_back(Step::Smo(true));
        }
        self.beat(now);
    }

    /// A higher generation of another author, or a fence, ends the role.
    pub(crate) fn give_up_role(&mut self) {
        self.author = None;
        if self.smo_taken {
            self.smo_taken = false;
            self.event(NodeEvent::Role { role: self.role(), taken: false });
            self.steps.push_back(Step::Smo(false));
        }
    }

    pub(crate) const fn role(&self) -> Role {
        match self.config.architecture {
            Architecture::Maestro => Role::Smo,
            Architecture::ElasticXl => Role::Pivot,
        }
    }

    /// Says which moves to this member are complete, again and again: until a generation drops their previous owners.
    pub(crate) fn report_moves(&mut self) {
        let Some(matrix) = &self.held.matrix else { return };
        let me = self.id();
        let open: BTreeSet<(Generation, MemberId)> = matrix
            .buckets
            .iter()
            .filter(|bucket| bucket.owner == me)
            .filter_map(|bucket| bucket.previous.map(|previous| (bucket.moved, previous)))
            .filter(|key| self.completed.contains_key(key))
            .collect();
        let Some(smo) = self.held.author() else { return };
        for (generation, previous) in open {
            if smo == me {
                self.move_reported(me.into(), previous, generation);
            } else {
                self.answer(smo.into(), Body::MoveComplete { generation, previous });
            }
        }
    }

    pub(crate) fn beat(&mut self, now: Instant) {
        self.sent = Some(now);
        self.beats = self.beats.wrapping_add(1);
        self.beat_due = now + peers::pause(self.unit, self.beats, self.config.group.quirks);
        let beat = Heartbeat {
            sent: now.0,
            heard: self.peers.list(),
            state: self.state,
            reason: self.reason.clone().or_else(|| self.pnote()),
            config: self.config.config_digest,
            accepted: self.held.accepted,
            digest: self.held.digest,
            activated: self.held.activated,
            admitted: if self.smo_taken { self.held.admitted().to_vec() } else { Vec::new() },
            smo: self.smo_taken,
            downlinks_down: Vec::new(),
            ports_down: self.ports_down(),
        };
        self.steps.push_back(Step::Send { port: Port::All, to: None, body: Body::Heartbeat(beat) });
    }

    /// A critical device that has a problem though the member is Active: a path without carrier.
    pub(crate) fn pnote(&self) -> Option<String> {
        let down = |(port, up): &(&scalebed_topologies::lab::Port, &bool)| {
            !**up && matches!(port.role, PortRole::Downlink(_) | PortRole::Data(_) | PortRole::Sync)
        };
        let (port, _) = self.config.ports.iter().zip(self.paths.links()).find(down)?;
        Some(format!("interface {} has no carrier", port.name))
    }
}
