//! Which tap sits between whom: a table by tap, so that a million lookups cost nothing.

use scalebed_frame::{MemberId, MhoId, NetworkId};
use scalebed_record::TapId;
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{NodeKind, PortRole};

/// An end of a cable, as far as the judge cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member, by its place in [`Places::members`].
    Member(u8),
    /// An orchestrator.
    Mho(MhoId),
    /// The generator's side: 0 inside (clients), 1 outside (servers).
    Generator(u8),
    /// A switch or a host.
    Other,
}

/// A tap: who put a frame in, who gets it out, on which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who sent what this tap sees.
    pub from: Role,
    /// At whose port it sits.
    pub to: Role,
    /// The data network of the cable; [`NetworkId::SYNC`] for the internal network; `None` for downlinks and the pair.
    pub network: Option<NetworkId>,
}

/// Every tap of a lab.
#[derive(Debug)]
pub struct Places {
    taps: Vec<Place>,
    /// Members in order of id.
    pub members: Vec<MemberId>,
}

impl Places {
    /// Reads the lab.
    pub fn of(lab: &Lab) -> Self {
        let members = lab.members();
        let role = |node: u16, port: u16| {
            let Some(node) = lab.nodes.get(usize::from(node)) else { return (Role::Other, None) };
            let port = node.ports.get(usize::from(port)).map(|port| port.role);
            let network = match (port, &node.kind) {
                (Some(PortRole::Uplink(network) | PortRole::Data(network) | PortRole::Station(network)), _) => {
                    Some(network)
                }
                (Some(PortRole::Sync), _) => Some(NetworkId::SYNC),
                (_, NodeKind::Switch(network)) => Some(*network),
                _ => None,
            };
            let role = match node.kind {
                NodeKind::Member(member) => members
                    .iter()
                    .position(|known| *known == member)
                    .and_then(|place| u8::try_from(place).ok())
                    .map_or(Role::Other, Role::Member),
                NodeKind::Mho(mho) => Role::Mho(mho),
                NodeKind::Generator => {
                    let outside = lab.generator.get(1).is_some_and(|side| Some(side.network) == network);
                    Role::Generator(u8::from(outside))
                }
                NodeKind::Switch(_) | NodeKind::Host(_) => Role::Other,
            };
            (role, network)
        };
        let taps = lab.cables.iter().flat_map(|cable| {
            let (a, network) = role(cable.a.node, cable.a.port);
            let (b, other) = role(cable.b.node, cable.b.port);
            let network = network.or(other);
            [Place { from: b, to: a, network }, Place { from: a, to: b, network }]
        });
        Self { taps: taps.collect(), members }
    }

    /// The tap's place; a tap that the lab does not know is between nobody.
    pub fn at(&self, tap: TapId) -> Place {
        let nobody = Place { from: Role::Other, to: Role::Other, network: None };
        self.taps.get(usize::from(tap.0)).copied().unwrap_or(nobody)
    }

    /// A member's place in the order of ids.
    pub fn index(&self, member: MemberId) -> Option<u8> {
        self.members.iter().position(|known| *known == member).and_then(|place| u8::try_from(place).ok())
    }

    /// The name of the member at a place.
    pub fn name(&self, index: u8) -> String {
        self.members.get(usize::from(index)).map_or_else(|| "nobody".to_owned(), ToString::to_string)
    }
}
