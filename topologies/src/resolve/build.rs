//! Nodes, ports and cables of a checked spec.

use std::net::IpAddr;

use scalebed_frame::{Mac, MemberId, MhoId, NetworkId, mac};

use super::{Cabled, network_id, orchestrators, uplinks};
use crate::error::{Place, Problems};
use crate::lab::{Architecture, Cable, End, Host, Lab, Node, NodeKind, Port, PortRole};
use crate::platform::{Platform, Roles};
use crate::spec::LabSpec;

/// Cables that carry the shim of 16 bytes, with room for a full inner frame.
const SHIM_MTU: u16 = 1_600;
/// IFNAMSIZ less the final zero.
const LONGEST_INTERFACE: usize = 15;

/// Adds nodes and cables to the lab.
pub(super) fn cabling(spec: &LabSpec, platform: &Platform, cabled: Cabled, lab: &mut Lab, problems: &mut Problems<'_>) {
    let roles = platform.roles.unwrap_or(super::NO_ROLES);
    let mut builder = Builder { spec, lab, roles, macs: 0, problems, blamed: Vec::new() };
    let rig = builder.rig(cabled);
    match spec.architecture {
        Architecture::Maestro => builder.maestro(&rig, platform),
        Architecture::ElasticXl => rig.members.iter().for_each(|&member| builder.member(&rig, member)),
    }
    builder.stations(&rig);
    // Behind everything: no index, port or MAC of what is there without room changes.
    for member in cabled.room() {
        let node = builder.member_node(member);
        builder.member(&rig, (member, node));
    }
}

/// Indices of the nodes, by what they are.
struct Rig {
    mhos: Vec<(MhoId, u16)>,
    members: Vec<(MemberId, u16)>,
    /// In order of networks.
    switches: Vec<u16>,
    sync: Option<u16>,
    /// By network: hosts.
    hosts: Vec<Vec<u16>>,
    generator: u16,
}

/// One end of a cable to be: the node and what its port will be.
struct Plug {
    node: u16,
    name: String,
    role: PortRole,
    mac: Mac,
}

struct Builder<'a, 'b> {
    spec: &'a LabSpec,
    lab: &'a mut Lab,
    roles: Roles,
    /// MACs of the lab's own numbering, so far.
    macs: u32,
    problems: &'a mut Problems<'b>,
    /// Names of the file that were found too long: each is said once.
    blamed: Vec<Place>,
}

impl Builder<'_, '_> {
    fn node(&mut self, name: String, kind: NodeKind) -> u16 {
        self.lab.nodes.push(Node { name, kind, ports: Vec::new() });
        index(self.lab.nodes.len() - 1)
    }

    fn member_node(&mut self, member: MemberId) -> u16 {
        let prefix = if self.spec.architecture == Architecture::ElasticXl { "member" } else { "sgm" };
        self.node(format!("{prefix}-{}-{:02}", member.site, member.number), NodeKind::Member(member))
    }

    fn rig(&mut self, cabled: Cabled) -> Rig {
        let spec = self.spec;
        let elasticxl = spec.architecture == Architecture::ElasticXl;
        let mhos = orchestrators(spec).map(|mho| (mho, self.node(mho.to_string(), NodeKind::Mho(mho)))).collect();
        let members = cabled.first().map(|member| (member, self.member_node(member))).collect();
        let switch = |(index, network): (usize, &crate::spec::NetworkSpec)| {
            self.node(format!("sw-{}", network.name.value), NodeKind::Switch(network_id(index)))
        };
        let switches = spec.networks.iter().enumerate().map(switch).collect();
        let sync = elasticxl.then(|| self.node("sw-sync".to_owned(), NodeKind::Switch(NetworkId::SYNC)));
        let mut hosts = Vec::new();
        for (at, network) in spec.networks.iter().enumerate() {
            let host = |(number, address): (usize, IpAddr)| {
                let name = format!("{}-{}", network.name.value, number + 1);
                let address6 = network.hosts6.get(number).map(|at| super::v6(at.value));
                let host = Host { network: network_id(at), address: super::v4(address), address6 };
                self.node(name, NodeKind::Host(host))
            };
            hosts.push(network.hosts.iter().map(|host| host.value).enumerate().map(host).collect());
        }
        let generator = self.node("generator".to_owned(), NodeKind::Generator);
        Rig { mhos, members, switches, sync, hosts, generator }
    }

    fn maestro(&mut self, rig: &Rig, platform: &Platform) {
        for (at, port) in uplinks(self.spec, platform).into_iter().enumerate() {
            for &(mho, node) in &rig.mhos {
                let mac = self.mac();
                let uplink = Plug { node, name: panel(mho, port), role: PortRole::Uplink(network_id(at)), mac };
                let leg = self.switch_port(rig.switches[at], node, PortRole::BondLeg);
                self.connect(uplink, leg, self.spec.networks[at].mtu);
            }
        }
        rig.members.iter().for_each(|&member| self.member(rig, member));
        if let [(one, a), (two, b)] = rig.mhos[..] {
            let plug = |mho, node| {
                let name = panel(mho, self.roles.pair.0);
                Plug { node, name, role: PortRole::Pair, mac: mac::orchestrator_mac(mho) }
            };
            self.connect(plug(one, a), plug(two, b), SHIM_MTU);
        }
    }

    /// The cables of a member: a downlink an orchestrator, or a port on every network.
    fn member(&mut self, rig: &Rig, member: (MemberId, u16)) {
        match self.spec.architecture {
            Architecture::Maestro => self.downlinks(rig, member),
            Architecture::ElasticXl => self.data_ports(rig, member),
        }
    }

    fn downlinks(&mut self, rig: &Rig, (member, node): (MemberId, u16)) {
        for &(mho, orchestrator) in &rig.mhos {
            let name = panel(mho, self.roles.downlink.0 + u16::from(member.number) - 1);
            let role = PortRole::DownlinkTo(member);
            let down = Plug { node: orchestrator, name, role, mac: mac::orchestrator_mac(mho) };
            let mac = mac::bmac(self.lab.group.id, member, mho.0 - 1);
            let up = Plug { node, name: format!("down-{mho}"), role: PortRole::Downlink(mho), mac };
            self.connect(down, up, SHIM_MTU);
        }
    }

    fn data_ports(&mut self, rig: &Rig, (member, node): (MemberId, u16)) {
        let group = self.lab.group.id;
        let networks: Vec<_> = self.spec.networks.iter().enumerate().collect();
        let (management, data): (Vec<_>, Vec<_>) =
            networks.into_iter().partition(|(_, network)| super::check::is_management(network));
        let port = |(at, network): &(usize, &crate::spec::NetworkSpec)| {
            let id = network_id(*at);
            let name = if super::check::is_management(network) { "Mgmt" } else { network.name.value.as_str() };
            let mac = mac::member_mac(group, member, id);
            (rig.switches[*at], Plug { node, name: name.to_owned(), role: PortRole::Data(id), mac }, network.mtu)
        };
        let sync = rig.sync.map(|switch| {
            let mac = mac::smac(group, member);
            (switch, Plug { node, name: "Sync".to_owned(), role: PortRole::Sync, mac }, SHIM_MTU)
        });
        let ports = management.iter().map(port).chain(sync).chain(data.iter().map(port));
        for (switch, plug, mtu) in ports.collect::<Vec<_>>() {
            let access = self.switch_port(switch, node, PortRole::Access);
            self.connect(plug, access, mtu);
        }
    }

    /// Hosts and the generator.
    fn stations(&mut self, rig: &Rig) {
        for (at, hosts) in rig.hosts.iter().enumerate() {
            for &node in hosts {
                self.station(node, "eth0".to_owned(), network_id(at), rig.switches[at]);
            }
        }
        for side in self.lab.generator.clone() {
            let at = usize::from(side.network.0) - 1;
            self.station(rig.generator, self.spec.networks[at].name.value.clone(), side.network, rig.switches[at]);
        }
    }

    fn station(&mut self, node: u16, name: String, network: NetworkId, switch: u16) {
        let mac = self.mac();
        let access = self.switch_port(switch, node, PortRole::Access);
        let mtu = self.spec.networks[usize::from(network.0) - 1].mtu;
        self.connect(Plug { node, name, role: PortRole::Station(network), mac }, access, mtu);
    }

    /// A switch names its ports after whom they lead to.
    fn switch_port(&mut self, switch: u16, peer: u16, role: PortRole) -> Plug {
        let name = self.lab.nodes[usize::from(peer)].name.clone();
        Plug { node: switch, name, role, mac: self.mac() }
    }

    fn mac(&mut self) -> Mac {
        self.macs += 1;
        Mac::host(self.macs)
    }

    fn connect(&mut self, a: Plug, b: Plug, mtu: u16) {
        let cable = index(self.lab.cables.len());
        let name = format!("{}--{}", self.name_of(a.node), self.name_of(b.node));
        let (a, b) = (self.port(a, mtu, cable, &name), self.port(b, mtu, cable, &name));
        self.lab.cables.push(Cable { name, a, b });
    }

    fn name_of(&self, node: u16) -> &str {
        &self.lab.nodes[usize::from(node)].name
    }

    fn port(&mut self, plug: Plug, mtu: u16, cable: u16, cable_name: &str) -> End {
        let place = self.blame(&plug);
        if plug.name.len() > LONGEST_INTERFACE && !self.blamed.contains(&place) {
            let what = format!(
                "node `{}`, cable `{cable_name}`: interface name `{}` has {} characters",
                self.name_of(plug.node),
                plug.name,
                plug.name.len()
            );
            self.blamed.push(place);
            self.problems.add(place, what, format!("shorten the network's name: at most {LONGEST_INTERFACE} fit"));
        }
        let node = &mut self.lab.nodes[usize::from(plug.node)];
        node.ports.push(Port { name: plug.name, role: plug.role, mac: plug.mac, mtu, cable });
        End { node: plug.node, port: index(node.ports.len() - 1) }
    }

    /// Where the file says the name that a port's name is made of: that of its network.
    fn blame(&self, plug: &Plug) -> Place {
        let of_node = match self.lab.nodes[usize::from(plug.node)].kind {
            NodeKind::Switch(id) => Some(id),
            NodeKind::Mho(_) | NodeKind::Member(_) | NodeKind::Host(_) | NodeKind::Generator => None,
        };
        let of_port = match plug.role {
            PortRole::Data(id) | PortRole::Station(id) | PortRole::Uplink(id) => Some(id),
            _ => None,
        };
        let network = of_node.or(of_port).and_then(|id| self.spec.networks.get(usize::from(id.0).wrapping_sub(1)));
        network.map_or(self.spec.networks_at, |network| network.name.place)
    }
}

/// The front-panel name of an orchestrator's port, as operators know it: `eth1-05`.
fn panel(mho: MhoId, port: u16) -> String {
    format!("eth{}-{port:02}", mho.0)
}

/// Labs have far fewer nodes than this: the file's budget of values bounds them.
fn index(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
