//! ElasticXL: a member with a data port down leaves service while another one that serves is better off. Never the last
//! man: it goes only if that other one said so after it had heard of the loss. If it loses a port of its own afterwards it
//! knows that this member is no better, and stays: of two that lose a port at once at most one goes.

use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::{Admitted, Heartbeat, MemberState};
use scalebed_frame::{Incarnation, NodeId};
use scalebed_topologies::lab::{NetworkRole, PortRole};

use crate::peers::Peer;
use crate::{ClusterMember, lease};

/// A network that goes, or comes back, does so cable by cable: for this part of a unit somebody must have been better off.
const WAIT_PART: u32 = 2;

/// What became of the data ports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    /// Heartbeats from then on say that one more is down. `None`: all of them did.
    said: Option<Instant>,
    /// When one last went or came back.
    changed: Option<Instant>,
    /// Since when it has been known that another one may serve instead.
    worse: Option<Instant>,
}

impl ClusterMember {
    /// How many ports on inside and outside networks have no carrier. (Members behind orchestrators have none of either.)
    pub(crate) fn ports_down(&self) -> u8 {
        u8::try_from(self.down_names().count()).unwrap_or(u8::MAX)
    }

    /// The reason, as an operator knows it.
    pub(crate) fn port_down(&self) -> Option<String> {
        self.down_names().next().map(|name| format!("interface {name} is down"))
    }

    fn down_names(&self) -> impl Iterator<Item = &str> {
        let carries = |role: PortRole| match role {
            PortRole::Data(id) => {
                let network = self.config.networks.iter().find(|network| network.id == id);
                network.is_none_or(|network| network.role != NetworkRole::Management)
            }
            _ => false,
        };
        let ports = self.config.ports.iter().zip(self.paths.links());
        ports.filter(move |(port, up)| !**up && carries(port.role)).map(|(port, _)| port.name.as_str())
    }

    /// After every word on carrier: the others are told at once.
    pub(crate) fn ports_changed(&mut self, before: u8, now: Instant) {
        let down = self.ports_down();
        if down == before {
            return;
        }
        (self.ports.changed, self.ports.worse) = (Some(now), None);
        if down > before {
            // A heartbeat of this very instant may be out already.
            let late = u64::from(self.sent == Some(now));
            self.ports.said = Some(now + Duration::from_nanos(late));
        }
        if self.state != MemberState::Pending {
            self.beat(now);
            self.check_ports(now);
        }
    }

    /// Does an Active member say that it lost a port, so that this one is better off?
    pub(crate) fn says_worse(&self, from: NodeId, life: Incarnation, beat: &Heartbeat) -> bool {
        let known = self.peers.get(from).filter(|peer| peer.incarnation == life);
        let worse = |peer: &Peer| beat.sent > peer.beat.sent && beat.ports_down > peer.beat.ports_down;
        let both = self.state == MemberState::Active && beat.state == MemberState::Active;
        both && beat.ports_down > self.ports_down() && known.is_some_and(worse)
    }

    /// A member with a port down leaves service, or does not come in.
    pub(crate) fn check_ports(&mut self, now: Instant) {
        let Some(reason) = self.port_down() else { return };
        let goes = match self.state {
            MemberState::Active if self.somebody_serves_instead() => {
                let since = *self.ports.worse.get_or_insert(now);
                now.since(since) >= self.unit / WAIT_PART
            }
            MemberState::Syncing | MemberState::Ready => self.somebody_is_better_off(),
            _ => {
                self.ports.worse = None;
                false
            }
        };
        if goes {
            self.fence(&reason, now);
            self.beat(now);
        }
    }

    /// When it has waited long enough, if that is still to come.
    pub(crate) fn ports_deadline(&self) -> Option<Instant> {
        let end = self.ports.worse.map(|since| since + self.unit / WAIT_PART);
        end.filter(|end| *end > self.clock && self.state == MemberState::Active)
    }

    /// Does it stay Down? While somebody serves who is better off, and until its ports have been up for the dead timer: one
    /// that flaps makes no generation at each turn.
    pub(crate) fn ports_keep_out(&self, long: bool, now: Instant) -> bool {
        let pause = self.unit * self.config.group.dead_units;
        let flaps = self.ports.changed.is_some_and(|changed| now.since(changed) < pause);
        (self.ports_down() > 0 || flaps) && (!long || self.somebody_is_better_off())
    }

    /// Is a member heard that is Active with fewer ports down? (With none down while this one's flap.)
    pub(crate) fn somebody_is_better_off(&self) -> bool {
        let down = self.ports_down().max(1);
        self.peers.members().any(|(_, peer)| is_better(peer, down))
    }

    /// Is one of them admitted, and does it know that this one has lost a port?
    fn somebody_serves_instead(&self) -> bool {
        let down = self.ports_down();
        self.peers.members().any(|(member, peer)| {
            let one = Admitted { member, incarnation: peer.incarnation };
            let echo = lease::echoed(&peer.beat, self.config.id, self.incarnation);
            let knows = echo.is_some_and(|sent| self.ports.said.is_none_or(|said| sent >= said));
            is_better(peer, down) && knows && self.held.admitted().contains(&one)
        })
    }
}

fn is_better(peer: &Peer, down: u8) -> bool {
    peer.beat.state == MemberState::Active && peer.beat.ports_down < down
}
