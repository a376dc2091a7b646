//! Spec -> Lab: checks what values mean together, then names, addresses and cables everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_frame::{GroupId, MemberId, MhoId, NetworkId, mac};

use crate::error::Problems;
use crate::lab::{
    Architecture, Bond, GeneratorSide, Group, HideNat, Ipv6Side, Lab, Limits, Network, PivotForward, Prefix, Route,
    Rule, Sticky,
};
use crate::platform::{self, Platform, Roles};
use crate::quirks::Quirks;
use crate::spec::{LabSpec, Match, RuleSpec};

mod build;
mod check;
mod emulated;

/// Where the profile gives orchestrators no port roles, these stand in; only reached by a profile that is a bug.
const NO_ROLES: Roles = Roles { management: (1, 1), uplink: (2, 2), downlink: (3, 3), pair: (4, 4) };

/// How many members are cabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cabled {
    /// So many stand where those of a file stand.
    pub(crate) first: u8,
    /// So many are there in all; the rest is room.
    pub(crate) all: u8,
}

impl Cabled {
    /// Those of the file, and no room.
    pub(crate) const fn as_written(spec: &LabSpec) -> Self {
        Self { first: spec.members.value, all: spec.members.value }
    }

    /// Those of the file, and up to `more`: as many as the limits of the platform and of the group allow. The spec is
    /// valid.
    pub(crate) fn with_room(spec: &LabSpec, more: u8) -> Self {
        let first = spec.members.value;
        let most = profile(spec, &mut Problems::of("")).map_or(first, |platform| check::most(spec, &platform));
        Self { first, all: first.saturating_add(more).min(most).max(first) }
    }

    /// Members, in order of id: one site so far.
    fn first(self) -> impl Iterator<Item = MemberId> {
        (1..=self.first).map(|number| MemberId::new(1, number))
    }

    fn room(self) -> impl Iterator<Item = MemberId> {
        (self.first + 1..=self.all).map(|number| MemberId::new(1, number))
    }
}

/// The lab that a spec describes. `None` with at least one problem noted if it describes none.
pub(crate) fn lab(spec: &LabSpec, problems: &mut Problems<'_>) -> Option<Lab> {
    let whole = problems.is_empty();
    let platform = profile(spec, problems)?;
    check::members(spec, &platform, problems);
    // A value that could not be read is missing from the spec: what seems wrong for its sake alone is not said.
    if whole {
        check::all(spec, &platform, problems);
    }
    if !problems.is_empty() {
        return None;
    }
    cabled(spec, Cabled::as_written(spec), problems)
}

/// The lab that a valid spec describes, with so many members cabled.
pub(crate) fn cabled(spec: &LabSpec, cabled: Cabled, problems: &mut Problems<'_>) -> Option<Lab> {
    let platform = profile(spec, problems)?;
    let group_id = GroupId(spec.group.id);
    let networks = networks(spec, &platform, group_id);
    let bond = spec.bond.as_ref().map(|bond| Bond { hash: bond.value.clone() });
    let mut lab = Lab {
        name: spec.name.clone(),
        architecture: spec.architecture,
        group: group(spec, &networks),
        generator: sides(spec, &networks),
        networks,
        nodes: Vec::new(),
        cables: Vec::new(),
        emulated: emulated::list(spec, &platform),
        platform: platform.name.clone(),
        bond,
        absent: Vec::new(),
        spare: Vec::new(),
        impairments: Vec::new(),
    };
    build::cabling(spec, &platform, cabled, &mut lab, problems);
    problems.is_empty().then_some(lab)
}

fn profile(spec: &LabSpec, problems: &mut Problems<'_>) -> Option<Platform> {
    let name = &spec.platform;
    let names = platform::names();
    match platform::shipped(&name.value) {
        Ok(Some(platform)) if platform.architecture == spec.architecture => Some(platform),
        Ok(Some(platform)) => {
            let what = format!("platform `{}` is for {}", name.value, platform.architecture.title());
            let fit = if spec.architecture == Architecture::Maestro { "mho-140" } else { "elasticxl" };
            problems.add(name.place, what, format!("nearest valid value: `{fit}`"));
            None
        }
        Ok(None) => {
            let what = format!("unknown platform {}", crate::error::quoted(&name.value));
            problems.add(name.place, what, crate::error::suggestion("value", &name.value, &names));
            None
        }
        Err(error) => {
            problems.add(name.place, format!("the shipped profile is broken: {error}"), "report this");
            None
        }
    }
}

/// Orchestrators of the lab.
fn orchestrators(spec: &LabSpec) -> impl Iterator<Item = MhoId> + use<> {
    (1..=spec.orchestrators.map_or(0, |count| count.value)).map(MhoId)
}

/// Port of each network's uplink on every orchestrator, in order of networks: bonds use the same port on each.
fn uplinks(spec: &LabSpec, platform: &Platform) -> Vec<u16> {
    let roles = platform.roles.unwrap_or(NO_ROLES);
    let (mut management, mut data) = (roles.management.0, roles.uplink.0);
    let mut next = |network: &crate::spec::NetworkSpec| {
        let port = if check::is_management(network) { &mut management } else { &mut data };
        *port += 1;
        *port - 1
    };
    spec.networks.iter().map(&mut next).collect()
}

fn network_id(index: usize) -> NetworkId {
    NetworkId(u8::try_from(index + 1).unwrap_or(u8::MAX))
}

fn by_name(spec: &LabSpec, name: &str) -> Option<NetworkId> {
    spec.networks.iter().position(|network| network.name.value == name).map(network_id)
}

fn networks(spec: &LabSpec, platform: &Platform, group: GroupId) -> Vec<Network> {
    let uplinks = uplinks(spec, platform);
    let network = |(index, network): (usize, &crate::spec::NetworkSpec)| {
        let id = network_id(index);
        let cluster_mac = match spec.architecture {
            // Of a bond the lowest leg names the VMAC: the first orchestrator's port.
            Architecture::Maestro => mac::vmac(group, 1, MhoId(1), u8::try_from(uplinks[index]).unwrap_or(u8::MAX)),
            Architecture::ElasticXl => mac::vmac(group, 1, MhoId(0), id.0),
        };
        let routes = network.routes.iter().map(|(to, via)| Route { prefix: to.value, via: via.value }).collect();
        Network {
            id,
            name: network.name.value.clone(),
            role: network.role.value,
            subnet: network.subnet.value,
            cluster_ip: v4(network.cluster.value),
            ipv6: network
                .ipv6
                .map(|(subnet, cluster)| Ipv6Side { subnet: subnet.value, cluster_ip: v6(cluster.value) }),
            mtu: network.mtu,
            cluster_mac,
            routes,
        }
    };
    spec.networks.iter().enumerate().map(network).collect()
}

/// Of a key that takes IPv4 alone; reading made sure.
pub(super) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Of a key that takes IPv6 alone; reading made sure.
pub(super) fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    }
}

fn group(spec: &LabSpec, networks: &[Network]) -> Group {
    let written = &spec.group;
    let nat = |nat: &crate::spec::NatSpec| {
        let to = by_name(spec, &nat.to.value)?;
        let address = networks.iter().find(|network| network.id == to)?.cluster_ip;
        Some(HideNat { from: by_name(spec, &nat.from.value)?, to, address, ports: nat.ports.value })
    };
    Group {
        id: GroupId(written.id),
        distribution: written.distribution,
        l4: written.l4,
        buckets: written.buckets.value,
        redeal: written.redeal,
        sync_delay_ms: written.sync_delay_ms,
        unit_ms: written.unit_ms,
        dead_units: written.dead_units,
        rules: written.rules.iter().flat_map(|rule| expand(rule, networks)).collect(),
        nat: written.nat.iter().filter_map(nat).collect(),
        pivot_forward: written.pivot_forward.map_or(PivotForward::Sync, |at| at.value),
        sticky: written.sticky.map_or(Sticky::Table, |at| at.value),
        limits: Limits::DEFAULT,
        quirks: Quirks::NONE,
    }
}

/// A rule that names networks stands for one rule a pair of prefixes of one family: neighbours in the policy with the same
/// action, so that their order among themselves changes nothing.
fn expand(rule: &RuleSpec, networks: &[Network]) -> Vec<Rule> {
    let prefixes = |side: &Match| match side {
        Match::Any => vec![None],
        Match::Prefix(prefix) => vec![Some(*prefix)],
        Match::Network(name) => {
            let network = networks.iter().find(|network| network.name == name.value);
            network.map_or_else(Vec::new, |network| network.prefixes().map(Some).collect())
        }
    };
    let to = prefixes(&rule.to);
    let one = |src, dst| Rule { src, dst, protocol: rule.protocol, dst_ports: rule.ports, accept: rule.accept };
    let meet =
        |src: Option<Prefix>, dst: Option<Prefix>| src.zip(dst).is_none_or(|(src, dst)| src.is_like(dst.address));
    let pairs = prefixes(&rule.from).into_iter().flat_map(|src| to.iter().map(move |dst| (src, *dst)));
    pairs.filter(|(src, dst)| meet(*src, *dst)).map(|(src, dst)| one(src, dst)).collect()
}

/// The generator's sides, the inside first.
fn sides(spec: &LabSpec, networks: &[Network]) -> Vec<GeneratorSide> {
    let mut sides = Vec::new();
    for side in &spec.generator {
        let Some(network) = networks.iter().find(|network| network.name == side.network.value) else { continue };
        let block = |block: Prefix| (0..block.addresses()).map(move |number| block.host(number));
        let on_link = block(side.on_link.value).chain(side.ipv6.iter().flat_map(|(written, _)| block(written.value)));
        let next_hop6 = side.ipv6.map(|(_, address)| address.value);
        let through = |route: &&Route| route.via == side.next_hop.value || Some(route.via) == next_hop6;
        sides.push((
            network.role,
            GeneratorSide {
                network: network.id,
                on_link: on_link.collect(),
                next_hop: v4(side.next_hop.value),
                next_hop6: next_hop6.map(v6),
                behind: network.routes.iter().filter(through).map(|route| route.prefix).collect(),
            },
        ));
    }
    sides.sort_by_key(|(role, _)| *role);
    sides.into_iter().map(|(_, side)| side).collect()
}
