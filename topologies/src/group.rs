//! A Security Group as a lab has it: what its members must agree on.

use std::net::Ipv4Addr;

use scalebed_frame::{DistributionMode, Flow, GroupId, NetworkId};
use serde::{Deserialize, Serialize};

use crate::prefix::Prefix;
use crate::quirks::Quirks;

/// A Security Group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Distribution mode of the group.
    pub distribution: DistributionMode,
    /// Do ports take part in the key?
    pub l4: bool,
    /// Buckets of the matrix, 512 by default.
    pub buckets: u16,
    /// Re-deal on a change.
    pub redeal: Redeal,
    /// Age at which a connection is synced to its backup, ms.
    pub sync_delay_ms: u32,
    /// HA time unit, ms.
    pub unit_ms: u32,
    /// Units of silence after which a node is dead.
    pub dead_units: u32,
    /// Policy, first match decides; no match drops.
    pub rules: Vec<Rule>,
    /// Address translation.
    pub nat: Vec<HideNat>,
    /// ElasticXL: which wire carries handovers.
    pub pivot_forward: PivotForward,
    /// ElasticXL: how the pivot chooses.
    pub sticky: Sticky,
    /// How much a member holds.
    #[serde(default)]
    pub limits: Limits,
    /// Rare and legal behaviour of its nodes (exploration).
    #[serde(default)]
    pub quirks: Quirks,
}

/// How much a member holds. What finds no room is dropped, with a reason; tests set these low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections, copies included.
    pub connections: u32,
    /// Items that wait to be synced to one peer.
    pub items: u32,
    /// Frames that wait for an answer, an activation or a neighbour.
    pub frames: u32,
}

impl Limits {
    /// What a member holds where nothing else is said.
    pub const DEFAULT: Self = Self { connections: 1_000_000, items: 65_536, frames: 8_192 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Group {
    /// A group with the field's defaults: 512 buckets, minimal-move, sync after 3 s, 100 ms x 3; no policy and no NAT.
    #[must_use]
    pub const fn new(id: GroupId, distribution: DistributionMode) -> Self {
        Self {
            id,
            distribution,
            l4: false,
            buckets: 512,
            redeal: Redeal::MinimalMove,
            sync_delay_ms: 3_000,
            unit_ms: 100,
            dead_units: 3,
            rules: Vec::new(),
            nat: Vec::new(),
            pivot_forward: PivotForward::Sync,
            sticky: Sticky::Table,
            limits: Limits::DEFAULT,
            quirks: Quirks::NONE,
        }
    }

    /// Does the policy accept the first packet of this flow? The first rule that matches decides; none drops.
    #[must_use]
    pub fn accepts(&self, flow: &Flow) -> bool {
        self.rules.iter().find(|rule| rule.matches(flow)).is_some_and(|rule| rule.accept)
    }
}

/// How a matrix is dealt again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redeal {
    /// Only what must move moves.
    MinimalMove,
    /// Everything is dealt anew.
    Full,
}

/// Which wire carries handovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PivotForward {
    /// The sync network, under the shim.
    Sync,
    /// The data network, to the member's own MAC.
    Data,
}

/// How the pivot chooses a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sticky {
    /// The connections that sync gave it, then the matrix.
    Table,
    /// The matrix only.
    Hash,
}

/// A rule of the policy. `None` matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Source prefix.
    pub src: Option<Prefix>,
    /// Destination prefix.
    pub dst: Option<Prefix>,
    /// `tcp`, `udp`, `icmp`, `icmpv6` by IP number.
    pub protocol: Option<u8>,
    /// Destination ports, both ends included.
    pub dst_ports: Option<(u16, u16)>,
    /// Accept or drop.
    pub accept: bool,
}

impl Rule {
    /// Is it about packets of this flow?
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let within = |prefix: Option<Prefix>, address| prefix.is_none_or(|prefix| prefix.contains(address));
        within(self.src, flow.src)
            && within(self.dst, flow.dst)
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol.0)
            && self.dst_ports.is_none_or(|(low, high)| (low..=high).contains(&flow.dst_port))
    }
}

/// Hide NAT, of IPv4 alone (RFC 4864 on why IPv6 does without): sources behind `from` that leave to `to` take the cluster's address there, each member its own ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HideNat {
    /// Where clients are.
    pub from: NetworkId,
    /// Where they leave.
    pub to: NetworkId,
    /// The address they take.
    pub address: Ipv4Addr,
    /// All NAT ports, both ends included; split evenly into a range a member number.
    pub ports: (u16, u16),
}
