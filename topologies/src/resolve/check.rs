//! What values of a lab mean together: limits, roles, addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::error::{Place, Problems, suggestion};
use crate::lab::{Architecture, NetworkRole, Prefix};
use crate::platform::Platform;
use crate::reader::At;
use crate::spec::{LabSpec, NetworkSpec};

/// The members' own sync network, 192.0.2.0/24 (RFC 5737 TEST-NET-1; the vendor's default).
const SYNC: Prefix = Prefix { address: Ipv4Addr::new(192, 0, 2, 0), length: 24 };
/// Most networks of a lab: a member's MAC has 5 bits for one.
const MAX_NETWORKS: usize = 31;

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
    for (index, network) in spec.networks.iter().enumerate() {
        let subnet = network.subnet;
        if !(8..=28).contains(&subnet.value.length) {
            problems.add(subnet.place, format!("subnet `{}` has no fit size", subnet.value), "write /8 to /28");
        }
        if subnet.value.overlaps(&SYNC) {
            let what = format!("subnet `{}` overlaps the members' own {SYNC}", subnet.value);
            problems.add(subnet.place, what, "choose another, as in 198.18.0.0/24");
        }
        for other in spec.networks.iter().take(index).filter(|other| other.subnet.value.overlaps(&subnet.value)) {
            let what = format!("subnet `{}` overlaps that of `{}`", subnet.value, other.name.value);
            problems.add(subnet.place, what, "choose another");
        }
    }
}

/// Every address lies in its subnet, and nobody else has it.
fn addresses(spec: &LabSpec, problems: &mut Problems<'_>) {
    let mut taken: BTreeMap<Ipv4Addr, (String, usize)> = BTreeMap::new();
    for network in &spec.networks {
        let mut claim = |address: At<Ipv4Addr>, who: String, problems: &mut Problems<'_>| {
            in_subnet(address, network.subnet.value, problems);
            if let Some((other, line)) = taken.insert(address.value, (who, address.place.line)) {
                let what = format!("{} is already the address of {other} (line {line})", address.value);
                problems.add(address.place, what, "choose another");
            }
        };
        claim(network.cluster, format!("the cluster on {}", network.name.value), problems);
        for (index, host) in network.hosts.iter().enumerate() {
            claim(*host, format!("{}-{}", network.name.value, index + 1), problems);
        }
        for side in spec.generator.iter().filter(|side| side.network.value == network.name.value) {
            claim(side.next_hop, "the generator's next hop".to_owned(), problems);
        }
    }
    for side in &spec.generator {
        let inside = |address: &&Ipv4Addr| side.on_link.value.contains(**address);
        if let Some((other, _)) = taken.keys().find(inside).and_then(|address| taken.get(address)) {
            let what = format!("`{}` holds the address of {other}", side.on_link.value);
            problems.add(side.on_link.place, what, "choose a free block");
        }
    }
}

fn in_subnet(address: At<Ipv4Addr>, subnet: Prefix, problems: &mut Problems<'_>) {
    let At { value, place } = address;
    if !subnet.contains(value) {
        problems.add(place, format!("{value} is not in {subnet}"), format!("write an address of {subnet}"));
    } else if value == subnet.address || value == subnet.last() {
        let what = format!("{value} is the network or broadcast address of {subnet}");
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
            in_subnet(*via, network.subnet.value, problems);
            if via.value == network.cluster.value {
                problems.add(via.place, "a route through the cluster itself", "write the next hop's address");
            }
            let on_link = spec.networks.iter().map(|network| network.subnet.value).find(|s| s.overlaps(&to.value));
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
        let on_link = side.on_link;
        if !(26..=31).contains(&on_link.value.length) {
            let what = format!("`{}` is not 2 to 64 addresses", on_link.value);
            problems.add(on_link.place, what, "write /26 to /31; /28 makes 16");
        }
        let subnet = network.subnet.value;
        let whole = |prefix: Prefix| subnet.contains(prefix.address) && subnet.contains(prefix.last());
        if !whole(on_link.value) {
            let what = format!("`{}` is not within {subnet}", on_link.value);
            problems.add(on_link.place, what, format!("write a block of {subnet}"));
        } else if on_link.value.contains(subnet.address) || on_link.value.contains(subnet.last()) {
            let what = format!("`{}` holds the network or broadcast address of {subnet}", on_link.value);
            problems.add(on_link.place, what, "choose another block");
        }
        if !network.routes.iter().any(|(_, via)| via.value == side.next_hop.value) {
            let what = format!("no route of `{}` goes through {}", name.value, side.next_hop.value);
            problems.add(side.next_hop.place, what, format!("add `routes: {{PREFIX: {}}}` there", side.next_hop.value));
        }
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
        let ports = nat.ports.value.1 - nat.ports.value.0;
        if u32::from(ports) + 1 < 64 * u32::from(spec.members.value) {
            let what = format!("{} NAT ports for {} members", u32::from(ports) + 1, spec.members.value);
            problems.add(nat.ports.place, what, "write a range of at least 64 ports a member");
        }
    }
}
