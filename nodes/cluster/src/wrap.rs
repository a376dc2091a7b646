//! A message to frames: which ports, which addresses. Both engines use it.

use scalebed_frame::control::{self, Body, Control};
use scalebed_frame::{Frame, Incarnation, Kind, Mac, MhoId, NetworkId, NodeId, Shim, mac};
use scalebed_topologies::lab::PortRole;

use crate::{NodeConfig, Port};

/// One message on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The sender's life.
    pub incarnation: Incarnation,
    /// Where it goes out.
    pub port: Port,
    /// To whom; `None`: everybody.
    pub to: Option<NodeId>,
    /// What it says.
    pub body: Body,
}

impl Envelope {
    /// The frames of the message, each with the index of the port that it leaves by. `message_id` counts up; `link_up`
    /// says whether a port has carrier. No port that fits has carrier: no frames.
    pub fn frames(self, config: &NodeConfig, message_id: &mut u32, link_up: &dyn Fn(u16) -> bool) -> Vec<(u16, Frame)> {
        *message_id = message_id.wrapping_add(1);
        let message = Control { from: config.id, incarnation: self.incarnation, to: self.to, body: self.body };
        let pieces = control::encode(&message, *message_id);
        let mut shim = Shim::new(Kind::Control, NetworkId::SYNC, config.group.id);
        shim.origin = config.id.code();
        shim.incarnation = (self.incarnation.0 & 0xffff) as u16;
        shim.target = self.to.map_or(0, NodeId::code);
        let mut frames = Vec::new();
        for port in ports(config, self.port, self.to, link_up) {
            let (src, dst) = (source(config, port), destination(config, port, self.to));
            for piece in &pieces {
                frames.push((port, control::frame(src, dst, shim, config.id, self.to, piece)));
            }
        }
        frames
    }
}

/// The ports of a node that carry control messages.
pub(crate) fn control_ports(config: &NodeConfig) -> Vec<u16> {
    let carries = |role: PortRole| match role {
        PortRole::DownlinkTo(_) | PortRole::Pair | PortRole::Downlink(_) | PortRole::Sync | PortRole::Data(_) => true,
        PortRole::Uplink(_) | PortRole::BondLeg | PortRole::Access | PortRole::Station(_) => false,
    };
    (0u16..).zip(&config.ports).filter(|(_, port)| carries(port.role)).map(|(index, _)| index).collect()
}

fn ports(config: &NodeConfig, port: Port, to: Option<NodeId>, link_up: &dyn Fn(u16) -> bool) -> Vec<u16> {
    let up: Vec<u16> = control_ports(config).into_iter().filter(|&index| link_up(index)).collect();
    match port {
        Port::One(index) => vec![index],
        Port::All => up,
        Port::Best => best(config, to, link_up).into_iter().collect(),
    }
}

/// Of the control ports that are usable the one nearest to the addressee, the first of equals.
pub(crate) fn best(config: &NodeConfig, to: Option<NodeId>, usable: &dyn Fn(u16) -> bool) -> Option<u16> {
    let ports = control_ports(config).into_iter().filter(|&index| usable(index));
    ports.min_by_key(|&index| (rank(config, index, to), index))
}

/// How far a port is from the addressee: 0 = straight there.
fn rank(config: &NodeConfig, index: u16, to: Option<NodeId>) -> u8 {
    match (config.ports[usize::from(index)].role, to) {
        (PortRole::DownlinkTo(member), Some(NodeId::Member(wanted))) if member == wanted => 0,
        (PortRole::Downlink(mho), Some(NodeId::Mho(wanted))) if mho == wanted => 0,
        (PortRole::Pair, _) | (PortRole::Sync, _) => 1,
        (PortRole::Downlink(_), _) => 2,
        // Another member's downlink leads nowhere but to that member.
        (PortRole::DownlinkTo(_), _) => 3,
        _ => 4,
    }
}

fn source(config: &NodeConfig, port: u16) -> Mac {
    match config.id {
        NodeId::Mho(mho) => mac::orchestrator_mac(mho),
        NodeId::Member(_) => config.ports[usize::from(port)].mac,
    }
}

fn destination(config: &NodeConfig, port: u16, to: Option<NodeId>) -> Mac {
    let interface = |mho: MhoId| mho.0.saturating_sub(1);
    match (to, config.ports[usize::from(port)].role, config.id) {
        (None, ..) => Mac::BROADCAST,
        (Some(NodeId::Mho(mho)), ..) => mac::orchestrator_mac(mho),
        (Some(NodeId::Member(member)), PortRole::Sync, _) => mac::smac(config.group.id, member),
        (Some(NodeId::Member(member)), PortRole::Data(network), _) => mac::member_mac(config.group.id, member, network),
        (Some(NodeId::Member(member)), PortRole::Downlink(mho), _) => {
            mac::bmac(config.group.id, member, interface(mho))
        }
        (Some(NodeId::Member(member)), _, NodeId::Mho(mho)) => mac::bmac(config.group.id, member, interface(mho)),
        (Some(NodeId::Member(member)), ..) => mac::bmac(config.group.id, member, 0),
    }
}
