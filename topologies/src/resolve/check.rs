//! What values of a lab mean together: limits, roles, addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::{Place, Problems, suggestion};
use crate::lab::{Architecture, NetworkRole, Prefix};
use crate::platform::Platform;
use crate::reader::{At, Family};
use crate::spec::{GeneratorSpec, LabSpec, NatSpec, NetworkSpec};

/// The members' own sync network, 192.0.2.0/24 (RFC 5737 TEST-NET-1; the vendor's default).
const SYNC: Prefix = Prefix { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), length: 24 };
/// Most networks of a lab: a member's MAC has 5 bits for one.
const MAX_NETWORKS: usize = 31;
/// Fewest NAT ports of a member.
const NAT_PORTS: u32 = 64;

pub(super) fn is_management(network: &NetworkSpec) -> bool {
    network.role.value == NetworkRole::Management
}

/// Everything that values say about each other.
pub(super) fn all(spec: &LabSpec, platform: &Platform, problems: &mut Problems<'_>) {
    networks(spec, platform, problems);
    addresses(spec, problems);
    routes(spec, problems);
    generator(spec, problems);
    group(spec, problems);
}

/// Limits of the platform.
pub(super) fn members(spec: &LabSpec, platform: &Platform, problems: &mut Problems<'_>) {
    let (count, limit) = (spec.members.value, platform.members);
    let ports = platform.roles.map_or(u16::MAX, |roles| roles.downlink.1 - roles.downlink.0 + 1);
    if spec.architecture == Architecture::ElasticXl && count > limit {
        let what = format!("{count} members: ElasticXL takes at most {limit} members a site ({})", platform.release);
        problems.add(spec.members.place, what, format!("write a number from 1 to {limit}"));
    } else if u16::from(count) > ports.min(u16::from(limit)) {
        let what = format!(
            "{count} members: `{}` has {ports} downlink ports an orchestrator, one a member, and {} allows {limit} \
             members a group",
            platform.name, platform.release
        );
        problems.add(spec.members.place, what, format!("write a number from 1 to {}", ports.min(u16::from(limit))));
    }
}

/// Most members with which a valid spec would still be valid.
pub(super) fn most(spec: &LabSpec, platform: &Platform) -> u8 {
    let ports = platform.roles.map_or(u16::MAX, |roles| roles.downlink.1 - roles.downlink.0 + 1);
    let of_nat = spec.group.nat.iter().map(|nat| nat_ports(nat) / NAT_PORTS);
    let limits = [u32::from(platform.members), ports.into(), spec.group.buckets.value.into()];
    let most = of_nat.chain(limits).min().unwrap_or(1);
    u8::try_from(most).unwrap_or(u8::MAX)
}

fn nat_ports(nat: &NatSpec) -> u32 {
    u32::from(nat.ports.value.1 - nat.ports.value.0) + 1
}

fn networks(spec: &LabSpec, platform: &Platform, problems: &mut Problems<'_>) {
    for (role, word) in
        [(NetworkRole::Inside, "inside"), (NetworkRole::Outside, "outside"), (NetworkRole::Management, "management")]
    {
        let mut of_role = spec.networks.iter().filter(|network| network.role.value == role);
        if of_role.next().is_none() {
            problems.add(spec.networks_at, format!("no network has `role: {word}`"), "add one");
        }
        for second in of_role {
            let what = format!("a second network of `role: {word}` is not supported yet");
            problems.add(second.role.place, what, "write one network a role");
        }
    }
    let ports = platform.roles.map_or(MAX_NETWORKS, |roles| usize::from(roles.uplink.1 - roles.uplink.0 + 1));
    if let Some(beyond) = spec.networks.get(MAX_NETWORKS.min(ports)) {
        let what = format!("{} networks", spec.networks.len());
        problems.add(beyond.name.place, what, format!("`{}` takes at most {}", platform.name, MAX_NETWORKS.min(ports)));
    }
    let mut seen: Vec<(Prefix, &str)> = Vec::new();
    for network in &spec.networks {
        for subnet in subnets(network) {
            size(subnet, problems);
            if subnet.value.overlaps(&SYNC) {
                let what = format!("subnet `{}` overlaps the members' own {SYNC}", subnet.value);
                problems.add(subnet.place, what, "choose another, as in 198.18.0.0/24");
            }
            for (_, other) in seen.iter().filter(|(other, _)| other.overlaps(&subnet.value)) {
                let what = format!("subnet `{}` overlaps that of `{other}`", subnet.value);
                problems.add(subnet.place, what, "choose another");
            }
            seen.push((subnet.value, &network.name.value));
        }
    }
}

/// Its subnets, IPv4 first.
fn subnets(network: &NetworkSpec) -> impl Iterator<Item = At<Prefix>> + use<> {
    std::iter::once(network.subnet).chain(network.ipv6.map(|(subnet, _)| subnet))
}

/// Room for stations, and of IPv6 global unicast addresses alone: others are nobody's to route (RFC 4291).
fn size(subnet: At<Prefix>, problems: &mut Problems<'_>) {
    let At { value, place } = subnet;
    let (fits, instead) = match value.address {
        IpAddr::V4(_) => ((8..=28).contains(&value.length), "write /8 to /28"),
        IpAddr::V6(_) => ((32..=124).contains(&value.length), "write /32 to /124; /64 is usual"),
    };
    if !fits {
        problems.add(place, format!("subnet `{value}` has no fit size"), instead);
    }
    if let IpAddr::V6(address) = value.address {
        let special = address.is_multicast() || address.is_unicast_link_local() || address.to_bits() >> 96 == 0;
        if special {
            let what = format!("subnet `{value}` is not of global unicast addresses");
            problems.add(place, what, "choose another, as in 2001:2::/64");
        }
    }
}

/// Every address lies in its subnet, and nobody else has it.
fn addresses(spec: &LabSpec, problems: &mut Problems<'_>) {
    let mut taken: BTreeMap<IpAddr, (String, usize)> = BTreeMap::new();
    for network in &spec.networks {
        let mut claim = |address: At<IpAddr>, who: String, problems: &mut Problems<'_>| {
            in_subnet(address, network, problems);
            if let Some((other, line)) = taken.insert(address.value, (who, address.place.line)) {
                let what = format!("{} is already the address of {other} (line {line})", address.value);
                problems.add(address.place, what, "choose another");
            }
        };
        for cluster in std::iter::once(network.cluster).chain(network.ipv6.map(|(_, cluster)| cluster)) {
            claim(cluster, format!("the cluster on {}", network.name.value), problems);
        }
        for hosts in [&network.hosts, &network.hosts6] {
            for (index, host) in hosts.iter().enumerate() {
                claim(*host, format!("{}-{}", network.name.value, index + 1), problems);
            }
        }
        for side in spec.generator.iter().filter(|side| side.network.value == network.name.value) {
            for hop in std::iter::once(side.next_hop).chain(side.ipv6.map(|(_, hop)| hop)) {
                claim(hop, "the generator's next hop".to_owned(), problems);
            }
        }
        hosts6(network, problems);
    }
    for block in spec.generator.iter().flat_map(blocks) {
        let inside = |address: &&IpAddr| block.value.contains(**address);
        if let Some((other, _)) = taken.keys().find(inside).and_then(|address| taken.get(address)) {
            let what = format!("`{}` holds the address of {other}", block.value);
            problems.add(block.place, what, "choose a free block");
        }
    }
}

/// The generator's blocks on link, IPv4 first.
fn blocks(side: &GeneratorSpec) -> impl Iterator<Item = At<Prefix>> + use<> {
    std::iter::once(side.on_link).chain(side.ipv6.map(|(block, _)| block))
}

/// Every host has an IPv6 address, or none has.
fn hosts6(network: &NetworkSpec, problems: &mut Problems<'_>) {
    let (four, six) = (network.hosts.len(), network.hosts6.len());
    if six > 0 && six != four {
        let what = format!("{six} IPv6 addresses for {four} hosts");
        problems.add(network.hosts6_at, what, "write one a host, in the order of `hosts`");
    }
}

fn in_subnet(address: At<IpAddr>, network: &NetworkSpec, problems: &mut Problems<'_>) {
    let At { value, place } = address;
    let Some(At { value: subnet, .. }) = subnets(network).find(|subnet| subnet.value.is_like(value)) else {
        let what = format!("{value}, and `{}` has no IPv6", network.name.value);
        problems.add(place, what, "add `subnet6: ...` and `cluster6: ...`");
        return;
    };
    if !subnet.contains(value) {
        problems.add(place, format!("{value} is not in {subnet}"), format!("write an address of {subnet}"));
    } else if value == subnet.address || value.is_ipv4() && value == subnet.last() {
        let what = match value {
            IpAddr::V4(_) => format!("{value} is the network or broadcast address of {subnet}"),
            // RFC 4291 section 2.6.1.
            IpAddr::V6(_) => format!("{value} is the routers' anycast address of {subnet}"),
        };
        problems.add(place, what, "write an address between the two");
    }
}

fn routes(spec: &LabSpec, problems: &mut Problems<'_>) {
    let mut seen: Vec<(Prefix, Place)> = Vec::new();
    for network in &spec.networks {
        for (to, via) in &network.routes {
            if problems.is_full() {
                return;
            }
            in_subnet(*via, network, problems);
            let cluster = network.ipv6.filter(|_| via.value.is_ipv6()).map_or(network.cluster, |(_, cluster)| cluster);
            if via.value == cluster.value {
                problems.add(via.place, "a route through the cluster itself", "write the next hop's address");
            }
            let on_link = spec.networks.iter().flat_map(subnets).map(|at| at.value).find(|s| s.overlaps(&to.value));
            if let Some(subnet) = on_link.or(to.value.overlaps(&SYNC).then_some(SYNC)) {
                problems.add(to.place, format!("route `{}` overlaps the subnet {subnet}", to.value), "narrow it");
            }
            if let Some((other, at)) = seen.iter().find(|(prefix, _)| prefix.overlaps(&to.value)) {
                let what = format!("route `{}` overlaps `{other}` (line {})", to.value, at.line);
                problems.add(to.place, what, "write disjoint prefixes");
            }
            seen.push((to.value, to.place));
        }
    }
}

fn generator(spec: &LabSpec, problems: &mut Problems<'_>) {
    for (role, word) in [(NetworkRole::Inside, "inside"), (NetworkRole::Outside, "outside")] {
        let on = |network: &&NetworkSpec| network.role.value == role;
        let Some(network) = spec.networks.iter().find(on) else { continue };
        if !spec.generator.iter().any(|side| side.network.value == network.name.value) {
            let what = format!("the generator has no port on the {word} network");
            problems.add(spec.generator_at, what, format!("add `{}: {{...}}`", network.name.value));
        }
    }
    for side in &spec.generator {
        let name = &side.network;
        let Some(network) = spec.networks.iter().find(|network| network.name.value == name.value) else {
            unknown_network(spec, name, problems);
            continue;
        };
        if is_management(network) {
            let what = "a generator on a management network is not supported yet";
            problems.add(name.place, what, "write the inside and the outside network");
            continue;
        }
        for block in blocks(side) {
            block_on_link(block, network, problems);
        }
        for hop in std::iter::once(side.next_hop).chain(side.ipv6.map(|(_, hop)| hop)) {
            if !network.routes.iter().any(|(_, via)| via.value == hop.value) {
                let what = format!("no route of `{}` goes through {}", name.value, hop.value);
                problems.add(hop.place, what, format!("add `routes: {{PREFIX: {}}}` there", hop.value));
            }
        }
    }
    let with = |side: &&GeneratorSpec| side.ipv6.is_some();
    if let (Some(_), Some(without)) = (spec.generator.iter().find(with), spec.generator.iter().find(|s| !with(s))) {
        let what = format!("the generator has IPv6 on one side, and none on {}", without.network.value);
        problems.add(without.network.place, what, "add `on_link6` and `next_hop6` there, or remove them here");
    }
}

/// A block that the generator's stations answer for.
fn block_on_link(block: At<Prefix>, network: &NetworkSpec, problems: &mut Problems<'_>) {
    let At { value, place } = block;
    let (fits, instead) = match value.address {
        IpAddr::V4(_) => ((26..=31).contains(&value.length), "write /26 to /31; /28 makes 16"),
        IpAddr::V6(_) => ((122..=127).contains(&value.length), "write /122 to /127; /124 makes 16"),
    };
    if !fits {
        problems.add(place, format!("`{value}` is not 2 to 64 addresses"), instead);
    }
    let Some(At { value: subnet, .. }) = subnets(network).find(|subnet| subnet.value.is_like(value.address)) else {
        let what = format!("`{value}`, and `{}` has no {}", network.name.value, Family::of(value.address).word());
        problems.add(place, what, "add `subnet6: ...` and `cluster6: ...` to the network");
        return;
    };
    if !(subnet.contains(value.address) && subnet.contains(value.last())) {
        problems.add(place, format!("`{value}` is not within {subnet}"), format!("write a block of {subnet}"));
    } else if value.contains(subnet.address) || value.contains(subnet.last()) {
        let what = format!("`{value}` holds the network or broadcast address of {subnet}");
        problems.add(place, what, "choose another block");
    }
}

fn unknown_network(spec: &LabSpec, name: &At<String>, problems: &mut Problems<'_>) {
    let names: Vec<&str> = spec.networks.iter().map(|network| network.name.value.as_str()).collect();
    let what = format!("no network is named {}", crate::error::quoted(&name.value));
    problems.add(name.place, what, suggestion("value", &name.value, &names));
}

fn group(spec: &LabSpec, problems: &mut Problems<'_>) {
    let group = &spec.group;
    if u32::from(group.buckets.value) < u32::from(spec.members.value) {
        let what = format!("{} buckets for {} members", group.buckets.value, spec.members.value);
        problems.add(group.buckets.place, what, "write at least a bucket a member; 512 is usual");
    }
    if spec.architecture == Architecture::Maestro {
        let keys =
            [("pivot_forward", group.pivot_forward.map(|at| at.place)), ("sticky", group.sticky.map(|at| at.place))];
        for (key, place) in keys {
            if let Some(place) = place {
                problems.add(place, format!("`{key}` means nothing in Maestro"), "remove it: it belongs to ElasticXL");
            }
        }
    }
    let known = |name: &At<String>| spec.networks.iter().any(|network| network.name.value == name.value);
    let of_rules = group.rules.iter().flat_map(|rule| [rule.from.network(), rule.to.network()]).flatten();
    let of_nat = group.nat.iter().flat_map(|nat| [&nat.from, &nat.to]);
    for name in of_rules.chain(of_nat).filter(|name| !known(name)) {
        unknown_network(spec, name, problems);
    }
    for (index, nat) in group.nat.iter().enumerate() {
        if nat.from.value == nat.to.value {
            problems.add(nat.to.place, "a hide NAT from a network to itself", "write another network");
        }
        if group.nat.iter().take(index).any(|other| other.to.value == nat.to.value) {
            let what = format!("a second hide NAT to `{}` is not supported yet", nat.to.value);
            problems.add(nat.to.place, what, "write one a network");
        }
        let ports = nat_ports(nat);
        if ports < NAT_PORTS * u32::from(spec.members.value) {
            let what = format!("{ports} NAT ports for {} members", spec.members.value);
            let instead = format!("write a range of at least {NAT_PORTS} ports a member");
            problems.add(nat.ports.place, what, instead);
        }
    }
}
