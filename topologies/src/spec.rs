//! The spec: a lab as it was written, each value with its place. Syntax, keys, types and ranges are right; what values
//! mean together is [`crate::resolve`]'s business.

use std::net::IpAddr;

use scalebed_frame::{DistributionMode, MemberId};

use crate::error::{Place, Problems};
use crate::lab::{Architecture, HashField, Lab, NetworkRole, PLAIN_MTU, PivotForward, Prefix, Redeal, Sticky};
use crate::platform;
use crate::reader::{self, At, Family, Fields, Shape, fields};
use crate::scenario::CableFault;
use crate::yaml::Node;

mod group;
pub(crate) mod scenario;
pub(crate) use group::{GroupSpec, Match, NatSpec, RuleSpec};

/// A lab file.
#[derive(Debug)]
pub(crate) struct LabSpec {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) platform: At<String>,
    pub(crate) orchestrators: Option<At<u8>>,
    pub(crate) members: At<u8>,
    pub(crate) networks: Vec<NetworkSpec>,
    pub(crate) networks_at: Place,
    pub(crate) bond: Option<At<Vec<HashField>>>,
    pub(crate) group: GroupSpec,
    pub(crate) generator: Vec<GeneratorSpec>,
    pub(crate) generator_at: Place,
}

/// A network.
#[derive(Debug)]
pub(crate) struct NetworkSpec {
    pub(crate) name: At<String>,
    pub(crate) role: At<NetworkRole>,
    pub(crate) subnet: At<Prefix>,
    pub(crate) cluster: At<IpAddr>,
    /// Subnet and the cluster's address there.
    pub(crate) ipv6: Option<(At<Prefix>, At<IpAddr>)>,
    pub(crate) hosts: Vec<At<IpAddr>>,
    /// None, or one for each of `hosts`.
    pub(crate) hosts6: Vec<At<IpAddr>>,
    pub(crate) hosts6_at: Place,
    pub(crate) mtu: u16,
    pub(crate) routes: Vec<(At<Prefix>, At<IpAddr>)>,
}

/// A side of the generator.
#[derive(Debug)]
pub(crate) struct GeneratorSpec {
    pub(crate) network: At<String>,
    pub(crate) on_link: At<Prefix>,
    pub(crate) next_hop: At<IpAddr>,
    /// The IPv6 block, and the next hop's address.
    pub(crate) ipv6: Option<(At<Prefix>, At<IpAddr>)>,
}

const LAB: Shape = Shape {
    what: "a lab",
    keys: &[
        "name",
        "architecture",
        "platform",
        "orchestrators",
        "members",
        "networks",
        "bond",
        "group",
        "generator",
        "sites",
        "absent",
        "impairments",
    ],
    later: &["groups", "cables", "static_nat", "devices", "baseline"],
};
const NETWORK: Shape = Shape {
    what: "a network",
    keys: &["role", "subnet", "cluster", "subnet6", "cluster6", "hosts", "hosts6", "routes", "mtu"],
    later: &["vlan", "vrf"],
};
const BOND: Shape = Shape { what: "a bond", keys: &["mode", "hash"], later: &["rate", "min_links"] };
const SIDE: Shape =
    Shape { what: "a side of the generator", keys: &["on_link", "next_hop", "on_link6", "next_hop6"], later: &[] };

/// Reads a lab file's tree. Everything that is wrong is in `problems`; `None` if something required is missing.
pub(crate) fn lab(root: &Node, problems: &mut Problems<'_>) -> Option<LabSpec> {
    let map = fields(root, &LAB, problems)?;
    let name = map.require("name", problems).and_then(|node| name(node, problems));
    let architecture = map.require("architecture", problems).and_then(|node| platform::architecture(node, problems));
    let platform = map.require("platform", problems).and_then(|node| owned(node, "platform", problems));
    let members = map.require("members", problems).and_then(|node| reader::number(node, "members", 1..=127, problems));
    let networks = map.require("networks", problems).map(|node| networks(node, problems));
    let group = map.require("group", problems).and_then(|node| group::group(node, problems));
    let generator = map.require("generator", problems).map(|node| generator(node, problems));
    let orchestrators = orchestrators(&map, architecture, problems);
    let bond = bond(&map, architecture, problems);
    one_site(&map, problems);
    Some(LabSpec {
        name: name?,
        architecture: architecture?,
        platform: platform?,
        orchestrators,
        members: members?,
        networks: networks?,
        networks_at: map.place("networks"),
        bond,
        group: group?,
        generator: generator?,
        generator_at: map.place("generator"),
    })
}

/// The members that a lab's tree says do not run from the start. What else is wrong there was said by [`lab`].
pub(crate) fn absent(root: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Vec<MemberId> {
    let Some(map) = fields(root, &LAB, &mut Problems::of("")) else { return Vec::new() };
    map.get("absent").map_or_else(Vec::new, |node| scenario::absent(node, lab, problems))
}

/// The cables that a lab's tree says are impaired from the start. What else is wrong there was said by [`lab`].
pub(crate) fn impairments(root: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Vec<CableFault> {
    let Some(map) = fields(root, &LAB, &mut Problems::of("")) else { return Vec::new() };
    let Some(node) = map.get("impairments") else { return Vec::new() };
    let items = reader::list(node, "impairments", problems);
    items.iter().filter_map(|item| scenario::cables::standing(item, lab, problems)).collect()
}

pub(crate) fn name(node: &Node, problems: &mut Problems<'_>) -> Option<String> {
    let at = reader::scalar(node, "name", problems)?;
    reader::name(at.value, at.place, problems).map(|at| at.value)
}

pub(crate) fn owned(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<At<String>> {
    reader::scalar(node, what, problems).map(|at| At { value: at.value.to_owned(), place: at.place })
}

/// A key that only one architecture knows.
fn only<'a>(
    map: &Fields<'a>,
    key: &str,
    of: Architecture,
    architecture: Option<Architecture>,
    problems: &mut Problems<'_>,
) -> Option<&'a Node> {
    let node = map.get(key)?;
    if architecture.is_some_and(|architecture| architecture != of) {
        let what = format!("`{key}` means nothing in {}", of.other().title());
        problems.add(map.place(key), what, format!("remove it: it belongs to {}", of.title()));
        return None;
    }
    Some(node)
}

fn orchestrators(map: &Fields<'_>, architecture: Option<Architecture>, problems: &mut Problems<'_>) -> Option<At<u8>> {
    let node = match only(map, "orchestrators", Architecture::Maestro, architecture, problems) {
        Some(node) => node,
        None if architecture == Some(Architecture::Maestro) => map.require("orchestrators", problems)?,
        None => return None,
    };
    let count = reader::number(node, "orchestrators", 1..=4, problems)?;
    if count.value > 2 {
        problems.add(count.place, "more than 2 orchestrators are not supported yet", "write 1 or 2: one site");
        return None;
    }
    Some(count)
}

fn bond(
    map: &Fields<'_>,
    architecture: Option<Architecture>,
    problems: &mut Problems<'_>,
) -> Option<At<Vec<HashField>>> {
    let node = match only(map, "bond", Architecture::Maestro, architecture, problems) {
        Some(node) => node,
        None if architecture == Some(Architecture::Maestro) => map.require("bond", problems)?,
        None => return None,
    };
    let map = fields(node, &BOND, problems)?;
    if let Some(mode) = map.require("mode", problems) {
        let later = ["lacp", "802.3ad", "active-backup", "round-robin"];
        reader::choice(mode, "mode", &[("xor", ())], &later, problems);
    }
    let words = [
        ("src-mac", HashField::SrcMac),
        ("dst-mac", HashField::DstMac),
        ("src-ip", HashField::SrcIp),
        ("dst-ip", HashField::DstIp),
    ];
    let hash = map.require("hash", problems)?;
    let mut found = Vec::new();
    for item in reader::list(hash, "hash", problems) {
        let field = reader::choice(item, "hash", &words, &["src-port", "dst-port", "vlan"], problems);
        found.extend(field.map(|at| at.value));
    }
    let all: Vec<_> = words.iter().map(|(_, field)| *field).collect();
    if problems.is_empty() && found != all {
        let what = "another field list than the four of layer 2 and 3 is not supported yet";
        problems.add(hash.place, what, "write `[src-mac, dst-mac, src-ip, dst-ip]`");
    }
    Some(At { value: found, place: hash.place })
}

fn one_site(map: &Fields<'_>, problems: &mut Problems<'_>) {
    let Some(sites) = map.get("sites").and_then(|node| reader::number(node, "sites", 1..=2u8, problems)) else {
        return;
    };
    if sites.value != 1 {
        problems.add(sites.place, "a dual site is not supported yet", "write `sites: 1`, or remove the key");
    }
}

fn networks(node: &Node, problems: &mut Problems<'_>) -> Vec<NetworkSpec> {
    let mut found = Vec::new();
    for (key, node) in reader::named(node, "`networks`", problems) {
        if problems.is_full() {
            break;
        }
        let name = reader::name(&key.text, key.place, problems);
        found.extend(name.and_then(|name| network(name, node, problems)));
    }
    found
}

fn network(name: At<String>, node: &Node, problems: &mut Problems<'_>) -> Option<NetworkSpec> {
    let map = fields(node, &NETWORK, problems)?;
    let roles =
        [("inside", NetworkRole::Inside), ("outside", NetworkRole::Outside), ("management", NetworkRole::Management)];
    let role = map.require("role", problems).and_then(|node| reader::choice(node, "role", &roles, &["dmz"], problems));
    let subnet = map.require("subnet", problems).and_then(|node| block(node, "subnet", Family::V4, problems));
    let cluster =
        map.require("cluster", problems).and_then(|node| reader::address(node, "cluster", Family::V4, problems));
    let ipv6 = both(&map, ["subnet6", "cluster6"], problems);
    let mut hosts = |key, family| -> Vec<At<IpAddr>> {
        let nodes = map.get(key).map_or(&[][..], |node| reader::list(node, key, problems));
        nodes.iter().filter_map(|node| reader::address(node, key, family, problems)).collect()
    };
    let (hosts, hosts6) = (hosts("hosts", Family::V4), hosts("hosts6", Family::V6));
    let routes = map.get("routes").map_or(&[][..], |node| reader::named(node, "`routes`", problems));
    let routes = routes
        .iter()
        .filter_map(|(key, node)| {
            let prefix = reader::prefix(&key.text, key.place, None, problems)?;
            let via = reader::address(node, "routes", Family::of(prefix.value.address), problems)?;
            Some((prefix, via))
        })
        .collect();
    let hosts6_at = map.place("hosts6");
    // RFC 8200 section 5 and RFC 791 (every host takes 576): what links must carry.
    let least = if map.get("subnet6").is_some() { 1_280 } else { 576 };
    let mtu = map
        .get("mtu")
        .map_or(Some(PLAIN_MTU), |node| reader::number(node, "mtu", least..=PLAIN_MTU, problems).map(|at| at.value));
    Some(NetworkSpec {
        name,
        role: role?,
        subnet: subnet?,
        cluster: cluster?,
        ipv6,
        hosts,
        hosts6,
        hosts6_at,
        mtu: mtu?,
        routes,
    })
}

fn block(node: &Node, what: &str, family: Family, problems: &mut Problems<'_>) -> Option<At<Prefix>> {
    let at = reader::scalar(node, what, problems)?;
    reader::prefix(at.value, at.place, Some(family), problems)
}

/// An IPv6 prefix and an address of it: both keys, or none.
fn both(
    map: &Fields<'_>,
    [block_key, address_key]: [&'static str; 2],
    problems: &mut Problems<'_>,
) -> Option<(At<Prefix>, At<IpAddr>)> {
    let (written, address) = match (map.get(block_key), map.get(address_key)) {
        (None, None) => return None,
        (Some(_), None) => (None, map.require(address_key, problems)),
        (None, Some(_)) => (map.require(block_key, problems), None),
        (written, address) => (written, address),
    };
    let written = written.and_then(|node| block(node, block_key, Family::V6, problems));
    let address = address.and_then(|node| reader::address(node, address_key, Family::V6, problems));
    Some((written?, address?))
}

fn generator(node: &Node, problems: &mut Problems<'_>) -> Vec<GeneratorSpec> {
    let mut sides = Vec::new();
    for (key, node) in reader::named(node, "`generator`", problems) {
        let network = At { value: key.text.clone(), place: key.place };
        sides.extend(side(network, node, problems));
    }
    sides
}

fn side(network: At<String>, node: &Node, problems: &mut Problems<'_>) -> Option<GeneratorSpec> {
    let map = fields(node, &SIDE, problems)?;
    let on_link = map.require("on_link", problems).and_then(|node| block(node, "on_link", Family::V4, problems));
    let next_hop =
        map.require("next_hop", problems).and_then(|node| reader::address(node, "next_hop", Family::V4, problems));
    let ipv6 = both(&map, ["on_link6", "next_hop6"], problems);
    Some(GeneratorSpec { network, on_link: on_link?, next_hop: next_hop?, ipv6 })
}

pub(crate) const DISTRIBUTIONS: [(&str, DistributionMode); 4] = [
    ("auto-topology", DistributionMode::AutoTopology),
    ("general", DistributionMode::General),
    ("user", DistributionMode::User),
    ("network", DistributionMode::Network),
];
const REDEALS: [(&str, Redeal); 2] = [("minimal-move", Redeal::MinimalMove), ("full", Redeal::Full)];
const FORWARDS: [(&str, PivotForward); 1] = [("sync", PivotForward::Sync)];
const STICKIES: [(&str, Sticky); 2] = [("table", Sticky::Table), ("hash", Sticky::Hash)];
