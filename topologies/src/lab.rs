//! A validated, addressed lab: every node, port and cable has its name and address; nothing is left to decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_frame::{Mac, MemberId, MhoId, NetworkId, NodeId};
use serde::{Deserialize, Serialize};

pub use crate::cable::{Cable, End};
pub use crate::group::{Group, HideNat, Limits, PivotForward, Redeal, Rule, Sticky};
pub use crate::network::{Ipv6Side, Network, NetworkRole, PLAIN_MTU, Route};
pub use crate::prefix::Prefix;
use crate::scenario::{CableFault, Overrides};

/// Which of the two architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Orchestrators spread traffic over Security Gateway Modules.
    Maestro,
    /// One pivot member receives everything and hands it out.
    ElasticXl,
}

impl Architecture {
    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Maestro => "Maestro",
            Self::ElasticXl => "ElasticXL",
        }
    }

    /// The one that it is compared with.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Maestro => Self::ElasticXl,
            Self::ElasticXl => Self::Maestro,
        }
    }
}

/// A validated lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lab {
    /// Its name, as in `maestro-single-site`.
    pub name: String,
    /// Which architecture.
    pub architecture: Architecture,
    /// The Security Group (ElasticXL: the cluster).
    pub group: Group,
    /// Its networks, in order of id; ids start at 1.
    pub networks: Vec<Network>,
    /// Every node, in order: orchestrators, members, switches, hosts, the generator, and members of the room.
    pub nodes: Vec<Node>,
    /// Every cable; the index is the cable's id.
    pub cables: Vec<Cable>,
    /// Every choice of ours that the vendor has not published and that this lab uses, for the report.
    pub emulated: Vec<String>,
    /// The platform profile's name.
    pub platform: String,
    /// Maestro: the static bond of every network's switch towards the orchestrators.
    pub bond: Option<Bond>,
    /// What the generator stands for, side by side: the inside first, the outside second.
    pub generator: Vec<GeneratorSide>,
    /// Members that are cabled and do not run from the start, in order of id.
    #[serde(default)]
    pub absent: Vec<MemberId>,
    /// Those of them that the file does not have: room for members to come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<MemberId>,
    /// Cables that are impaired from the start, for as long as the lab is there.
    #[serde(default)]
    pub impairments: Vec<CableFault>,
}

/// A static bond of a switch: each frame takes the leg that the XOR of these fields names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// The fields, in the order of the file.
    pub hash: Vec<HashField>,
}

/// A field of a bond's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashField {
    /// Ethernet source.
    SrcMac,
    /// Ethernet destination.
    DstMac,
    /// IP source.
    SrcIp,
    /// IP destination.
    DstIp,
}

/// One side of the generator: the stations that it plays on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorSide {
    /// The network that its port is on.
    pub network: NetworkId,
    /// Addresses that answer ARP and neighbour solicitations themselves, of both families.
    pub on_link: Vec<IpAddr>,
    /// The next hop that it plays.
    pub next_hop: Ipv4Addr,
    /// The same next hop's IPv6 address, where the network has IPv6.
    #[serde(default)]
    pub next_hop6: Option<Ipv6Addr>,
    /// What lies behind that next hop: the network's routes through it, of both families.
    pub behind: Vec<Prefix>,
}

/// A node of the lab: one namespace each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name: `mho1`, `sgm-1-01`, `member-1-01`, `sw-inside`, `inside-1`, `generator`.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its ports; the index is the engine's `PortIndex`.
    pub ports: Vec<Port>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// An orchestrator.
    Mho(MhoId),
    /// A member: SGM of Maestro, member of ElasticXL.
    Member(MemberId),
    /// The switch of a network; [`NetworkId::SYNC`] for the sync network of ElasticXL.
    Switch(NetworkId),
    /// A host with the kernel's own stack.
    Host(Host),
    /// The packet generator: one port on the inside, one on the outside.
    Generator,
}

impl NodeKind {
    /// The id in the agreement, of members and orchestrators.
    #[must_use]
    pub fn id(&self) -> Option<NodeId> {
        match self {
            Self::Mho(mho) => Some((*mho).into()),
            Self::Member(member) => Some((*member).into()),
            Self::Switch(_) | Self::Host(_) | Self::Generator => None,
        }
    }
}

/// A kernel host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its network.
    pub network: NetworkId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
}

impl Host {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        std::iter::once(self.address.into()).chain(self.address6.map(IpAddr::from))
    }
}

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Interface name, at most 15 characters.
    pub name: String,
    /// What it is for.
    pub role: PortRole,
    /// Its own MAC.
    pub mac: Mac,
    /// Its network's on hosts' cables, 1600 where frames carry the shim.
    pub mtu: u16,
    /// Its cable: an index of [`Lab::cables`].
    pub cable: u16,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortRole {
    /// MHO: a leg of the static bond into a network's switch.
    Uplink(NetworkId),
    /// MHO: to a member.
    DownlinkTo(MemberId),
    /// MHO: to the other MHO.
    Pair,
    /// Member of Maestro: to an MHO.
    Downlink(MhoId),
    /// Member of ElasticXL: on a data network.
    Data(NetworkId),
    /// Member of ElasticXL: on the sync network.
    Sync,
    /// Switch: a leg of the bond towards the MHOs (static, XOR).
    BondLeg,
    /// Switch: a single station (a member, a host, the generator).
    Access,
    /// Host or generator: its only port on this network.
    Station(NetworkId),
}

impl Lab {
    /// The lab with a scenario's changes to its group. Hide NAT can only be switched off: loading a scenario made sure
    /// that what it switches on is there.
    #[must_use]
    pub fn with(&self, overrides: &Overrides) -> Self {
        let mut lab = self.clone();
        let group = &mut lab.group;
        group.distribution = overrides.distribution.unwrap_or(group.distribution);
        group.l4 = overrides.l4.unwrap_or(group.l4);
        group.unit_ms = overrides.unit_ms.unwrap_or(group.unit_ms);
        group.sync_delay_ms = overrides.sync_delay_ms.unwrap_or(group.sync_delay_ms);
        if overrides.hide_nat == Some(false) {
            group.nat.clear();
        }
        lab
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<(usize, &Node)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.name == name)
    }

    /// The node with this id in the agreement.
    #[must_use]
    pub fn by_id(&self, id: NodeId) -> Option<(usize, &Node)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.kind.id() == Some(id))
    }

    /// Every member, in order of id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberId> {
        let mut members: Vec<_> =
            self.nodes.iter().filter_map(|node| node.kind.id().and_then(NodeId::member)).collect();
        members.sort();
        members
    }

    /// Is this node a member that the file does not have?
    #[must_use]
    pub fn is_spare(&self, node: &Node) -> bool {
        node.kind.id().and_then(NodeId::member).is_some_and(|member| self.spare.contains(&member))
    }

    /// So many members stand before the switches; those of the room stand behind everything.
    pub(crate) fn first_members(&self) -> usize {
        let before = self.nodes.iter().take_while(|node| !matches!(node.kind, NodeKind::Switch(_)));
        before.filter(|node| matches!(node.kind, NodeKind::Member(_))).count()
    }

    /// Every orchestrator, in order of id.
    #[must_use]
    pub fn orchestrators(&self) -> Vec<MhoId> {
        let mut mhos: Vec<_> = self.nodes.iter().filter_map(|node| node.kind.id().and_then(NodeId::mho)).collect();
        mhos.sort();
        mhos
    }

    /// The network of this id.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// Has every network that the generator plays on an IPv6 side, so that flows can be of that family?
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        let has =
            |side: &GeneratorSide| side.next_hop6.is_some() && side.behind.iter().any(|one| one.address.is_ipv6());
        !self.generator.is_empty() && self.generator.iter().all(has)
    }

    /// The network of this role.
    #[must_use]
    pub fn role(&self, role: NetworkRole) -> Option<&Network> {
        self.networks.iter().find(|network| network.role == role)
    }
}
