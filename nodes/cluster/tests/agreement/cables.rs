//! How control messages travel: over the sender's ports, through the orchestrators, over the pair cable.

use scalebed_cluster::Port;
use scalebed_frame::control::{Body, Control};
use scalebed_frame::{Incarnation, MemberId, MhoId, NodeId};
use scalebed_topologies::lab::PortRole;

use crate::world::{LATENCY, World};

impl World {
    /// Puts a message on the cables of the sender's ports.
    pub(crate) fn send(&mut self, from: NodeId, incarnation: Incarnation, port: Port, to: Option<NodeId>, body: Body) {
        let message = Control { from, incarnation, to, body };
        let ports = self.ports(from);
        let all = 0..u16::try_from(ports.len()).expect("few ports");
        match port {
            Port::One(index) => self.leave(from, index, &message),
            Port::All => all.for_each(|index| self.leave(from, index, &message)),
            Port::Best => {
                let nearest = |role: PortRole| match (role, to) {
                    (PortRole::DownlinkTo(member), Some(NodeId::Member(to))) => {
                        from.mho().is_some_and(|mho| member == to && !self.down.contains(&(member, mho)))
                    }
                    _ => false,
                };
                let own = all.clone().find(|&index| nearest(ports[usize::from(index)].role));
                self.leave(from, own.unwrap_or(all.end - 1), &message);
            }
        }
    }

    /// One message on one cable: an orchestrator switches it among its downlinks, and over the pair cable where it is for
    /// somebody whose downlink here is down.
    pub(crate) fn leave(&mut self, from: NodeId, index: u16, message: &Control) {
        if self.rng.below(100) < self.lose || self.cut.contains(&(from, index)) {
            return;
        }
        match (from, self.ports(from)[usize::from(index)].role) {
            (NodeId::Member(member), PortRole::Downlink(mho)) if self.carries(member, mho) => {
                self.switch(mho, message, self.member_port(member), true);
            }
            (NodeId::Mho(mho), PortRole::DownlinkTo(member)) if self.carries(member, mho) => {
                self.arrive(member.into(), self.mho_port(mho), message);
            }
            (NodeId::Mho(mho), PortRole::Pair) => {
                for other in self.others(mho) {
                    self.switch(other, message, self.pair_port(), false);
                }
            }
            (NodeId::Member(_), PortRole::Sync | PortRole::Data(_)) => {
                for member in self.members.clone() {
                    if NodeId::from(member) != from {
                        self.arrive(member.into(), index, message);
                    }
                }
            }
            _ => {}
        }
    }

    /// What an orchestrator does with a control message that came in on its port `index`.
    pub(crate) fn switch(&mut self, mho: MhoId, message: &Control, index: u16, may_cross: bool) {
        match message.to {
            None => {
                self.arrive(mho.into(), index, message);
                // Nothing to everybody goes through two orchestrators.
                let others = self.members.clone().into_iter().filter(|_| may_cross);
                for member in others.filter(|&member| NodeId::from(member) != message.from) {
                    if self.carries(member, mho) {
                        self.arrive(member.into(), self.mho_port(mho), message);
                    }
                }
            }
            Some(NodeId::Member(member)) if self.carries(member, mho) => {
                self.arrive(member.into(), self.mho_port(mho), message);
            }
            Some(to) if to == NodeId::from(mho) => self.arrive(to, index, message),
            Some(_) if may_cross => {
                for other in self.others(mho) {
                    self.switch(other, message, self.pair_port(), false);
                }
            }
            Some(_) => {}
        }
    }

    pub(crate) fn arrive(&mut self, id: NodeId, port: u16, message: &Control) {
        let open = !self.deaf.contains(&id) && !self.cut.contains(&(id, port));
        if message.to.is_none_or(|to| to == id) && self.nodes.contains_key(&id) && open {
            self.plan(self.now.0 + LATENCY, id, Some((port, message.clone())));
        }
    }

    /// The orchestrators at the other end of the pair cable.
    pub(crate) fn others(&self, mho: MhoId) -> Vec<MhoId> {
        self.mhos.iter().copied().filter(|&other| other != mho && self.runs(other)).collect()
    }

    pub(crate) fn runs(&self, mho: MhoId) -> bool {
        self.nodes.get(&mho.into()).is_some_and(|node| node.alive && !node.hung)
    }

    pub(crate) fn carries(&self, member: MemberId, mho: MhoId) -> bool {
        self.runs(mho) && !self.down.contains(&(member, mho))
    }

    pub(crate) fn member_port(&self, member: MemberId) -> u16 {
        u16::from(member.number) - 1
    }

    pub(crate) fn mho_port(&self, mho: MhoId) -> u16 {
        u16::from(mho.0) - 1
    }

    pub(crate) fn pair_port(&self) -> u16 {
        u16::try_from(self.members.len()).expect("few members")
    }

    /// Switches a member off: its process is gone and its cables are without carrier.
    pub(crate) fn power_off(&mut self, number: u8) {
        self.kill(NodeId::from(MemberId::new(1, number)));
        for mho in self.mhos.clone() {
            self.down.insert((MemberId::new(1, number), mho));
            self.link(mho.into(), self.member_port(MemberId::new(1, number)), false);
        }
    }

    /// Pulls the cable between a member and an orchestrator.
    pub(crate) fn pull(&mut self, number: u8, mho: u8) {
        let (member, mho) = (MemberId::new(1, number), MhoId(mho));
        self.down.insert((member, mho));
        self.link(member.into(), self.mho_port(mho), false);
        self.link(mho.into(), self.member_port(member), false);
    }
}
