//! The part of a lab file that members must agree on.

use std::net::IpAddr;

use scalebed_frame::DistributionMode;

use super::{DISTRIBUTIONS, FORWARDS, REDEALS, STICKIES, owned};
use crate::error::{Place, Problems};
use crate::lab::{PivotForward, Prefix, Redeal, Sticky};
use crate::reader::{self, At, Shape, fields};
use crate::yaml::Node;

/// Most rules of a policy, as written.
const MAX_RULES: usize = 256;

/// A Security Group.
#[derive(Debug)]
pub(crate) struct GroupSpec {
    pub(crate) id: u8,
    pub(crate) distribution: DistributionMode,
    pub(crate) l4: bool,
    pub(crate) buckets: At<u16>,
    pub(crate) redeal: Redeal,
    pub(crate) sync_delay_ms: u32,
    pub(crate) unit_ms: u32,
    pub(crate) dead_units: u32,
    pub(crate) pivot_forward: Option<At<PivotForward>>,
    pub(crate) sticky: Option<At<Sticky>>,
    pub(crate) nat: Vec<NatSpec>,
    pub(crate) rules: Vec<RuleSpec>,
}

/// Hide NAT.
#[derive(Debug)]
pub(crate) struct NatSpec {
    pub(crate) from: At<String>,
    pub(crate) to: At<String>,
    pub(crate) ports: At<(u16, u16)>,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct RuleSpec {
    pub(crate) from: Match,
    pub(crate) to: Match,
    pub(crate) protocol: Option<u8>,
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) accept: bool,
}

/// What a side of a rule matches.
#[derive(Debug)]
pub(crate) enum Match {
    /// Everything.
    Any,
    /// A prefix.
    Prefix(Prefix),
    /// The subnet of a network and all behind its routes.
    Network(At<String>),
}

impl Match {
    /// The network that it names.
    pub(crate) const fn network(&self) -> Option<&At<String>> {
        match self {
            Self::Network(name) => Some(name),
            Self::Any | Self::Prefix(_) => None,
        }
    }
}

const GROUP: Shape = Shape {
    what: "a group",
    keys: &[
        "id",
        "distribution",
        "l4",
        "buckets",
        "redeal",
        "sync_delay",
        "heartbeat",
        "pivot_forward",
        "sticky",
        "hide_nat",
        "rules",
    ],
    later: &["weights", "static_nat", "auto_clone", "site_owner", "exceptions", "spi", "port_steering", "sync_mode"],
};
const HEARTBEAT: Shape = Shape { what: "`heartbeat`", keys: &["unit", "dead_after"], later: &["flap_damping"] };
const NAT: Shape =
    Shape { what: "a hide NAT", keys: &["from", "to", "ports"], later: &["address", "pool", "steering"] };
const RULE: Shape =
    Shape { what: "a rule", keys: &["from", "to", "protocol", "ports", "action"], later: &["log", "source_ports"] };

pub(super) fn group(node: &Node, problems: &mut Problems<'_>) -> Option<GroupSpec> {
    let map = fields(node, &GROUP, problems)?;
    let id = map.get("id").map_or(Some(1), |node| reader::number(node, "id", 1..=255, problems).map(|at| at.value));
    let distribution = map
        .require("distribution", problems)
        .and_then(|node| reader::choice(node, "distribution", &DISTRIBUTIONS, &[], problems));
    let l4 = map.get("l4").map_or(Some(false), |node| reader::switch(node, "l4", problems));
    let default = At { value: 512, place: Place::default() };
    let buckets = map.get("buckets").map_or(Some(default), |node| reader::number(node, "buckets", 1..=4096, problems));
    let redeal = map.get("redeal").map_or(Some(Redeal::MinimalMove), |node| {
        reader::choice(node, "redeal", &REDEALS, &["weighted"], problems).map(|at| at.value)
    });
    let delay = map
        .get("sync_delay")
        .map_or(Some(3_000), |node| reader::millis(node, "sync_delay", 0..=60_000, problems).map(|at| at.value));
    let (unit_ms, dead_units) = map.get("heartbeat").map_or((100, 3), |node| heartbeat(node, problems));
    let pivot_forward =
        map.get("pivot_forward").and_then(|node| reader::choice(node, "pivot_forward", &FORWARDS, &["data"], problems));
    let sticky = map.get("sticky").and_then(|node| reader::choice(node, "sticky", &STICKIES, &[], problems));
    let nat = map.get("hide_nat").map_or(&[][..], |node| reader::list(node, "hide_nat", problems));
    let nat = nat.iter().filter_map(|node| hide_nat(node, problems)).collect();
    let rules = map.require("rules", problems).map_or_else(Vec::new, |node| rules(node, problems));
    Some(GroupSpec {
        id: id?,
        distribution: distribution?.value,
        l4: l4?,
        buckets: buckets?,
        redeal: redeal?,
        sync_delay_ms: delay?,
        unit_ms,
        dead_units,
        pivot_forward,
        sticky,
        nat,
        rules,
    })
}

/// Unit (10 ms to 1 s) and units until dead; the defaults where something is wrong, which is noted.
fn heartbeat(node: &Node, problems: &mut Problems<'_>) -> (u32, u32) {
    let Some(map) = fields(node, &HEARTBEAT, problems) else { return (100, 3) };
    let unit = map.get("unit").and_then(|node| reader::millis(node, "unit", 10..=1_000, problems));
    let dead = map.get("dead_after").and_then(|node| reader::number(node, "dead_after", 3..=100, problems));
    (unit.map_or(100, |at| at.value), dead.map_or(3, |at| at.value))
}

fn hide_nat(node: &Node, problems: &mut Problems<'_>) -> Option<NatSpec> {
    let map = fields(node, &NAT, problems)?;
    let from = map.require("from", problems).and_then(|node| owned(node, "from", problems));
    let to = map.require("to", problems).and_then(|node| owned(node, "to", problems));
    let ports = map.require("ports", problems).and_then(|node| reader::span(node, "ports", 1_024..=65_535, problems));
    Some(NatSpec { from: from?, to: to?, ports: ports? })
}

fn rules(node: &Node, problems: &mut Problems<'_>) -> Vec<RuleSpec> {
    let items = reader::list(node, "rules", problems);
    if let Some(beyond) = items.get(MAX_RULES) {
        problems.add(beyond.place, format!("a policy of {} rules", items.len()), format!("at most {MAX_RULES}"));
    }
    items.iter().take(MAX_RULES).filter_map(|node| rule(node, problems)).collect()
}

fn rule(node: &Node, problems: &mut Problems<'_>) -> Option<RuleSpec> {
    let map = fields(node, &RULE, problems)?;
    let from = map.require("from", problems).and_then(|node| side(node, "from", problems));
    let to = map.require("to", problems).and_then(|node| side(node, "to", problems));
    // IANA protocol numbers.
    let words = [("any", None), ("icmp", Some(1)), ("tcp", Some(6)), ("udp", Some(17)), ("icmpv6", Some(58))];
    let protocol = map.get("protocol").map_or(Some(None), |node| {
        reader::choice(node, "protocol", &words, &["esp", "gre", "sctp"], problems).map(|at| at.value)
    });
    let ports = match map.get("ports") {
        Some(node) => reader::span(node, "ports", 1..=65_535, problems).map(|at| Some(at.value)),
        None => Some(None),
    };
    let action = map.require("action", problems).and_then(|node| {
        reader::choice(node, "action", &[("accept", true), ("drop", false)], &["reject", "log"], problems)
    });
    if matches!((protocol, ports), (Some(None | Some(1 | 58)), Some(Some(_)))) {
        problems.add(map.place("ports"), "ports without a protocol that has them", "add `protocol: tcp` or `udp`");
    }
    if let (Some(Match::Prefix(src)), Some(Match::Prefix(dst))) = (&from, &to)
        && !src.is_like(dst.address)
    {
        problems.add(map.place("to"), format!("no packet goes from {src} to {dst}"), "write two of one family");
    }
    Some(RuleSpec { from: from?, to: to?, protocol: protocol?, ports: ports?, accept: action?.value })
}

fn side(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<Match> {
    let At { value: text, place } = reader::scalar(node, what, problems)?;
    if text == "any" {
        Some(Match::Any)
    } else if text.contains('/') {
        reader::prefix(text, place, None, problems).map(|at| Match::Prefix(at.value))
    } else if let Ok(address) = text.parse::<IpAddr>() {
        Some(Match::Prefix(Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } }))
    } else {
        Some(Match::Network(At { value: text.to_owned(), place }))
    }
}
