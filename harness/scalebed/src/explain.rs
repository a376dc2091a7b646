//! `scalebed explain`: which member gets a flow, which gets its answers, and why (`asg_dxl calc` of the vendor's guides).

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use scalebed_distribution::{Explanation, Facing, Policy, explain, matrix};
use scalebed_frame::control::{Admitted, Matrix};
use scalebed_frame::{Flow, Generation, Incarnation, MemberId, Protocol};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{Architecture, HideNat, Network, NetworkRole, Prefix, Rule, Sticky};
use serde::Serialize;

use crate::exit::{self, Failure};

/// A port that no flow is asked about: with two of them it shows whether a key depends on the port.
const SOME_PORTS: [u16; 2] = [10_001, 10_002];

/// A flow through a cluster, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// As its client sends it.
    pub flow: String,
    /// Networks of entry and exit, by name.
    pub networks: [String; 2],
    /// What the policy does: `accept` or `drop`, and by which rule; none: no rule matches, which drops.
    pub policy: (String, Option<String>),
    /// Generation of the matrix that was asked.
    pub generation: String,
    /// What decides about packets of the client.
    pub forward: Explanation,
    /// Hide NAT: the source that they leave with.
    pub translated: Option<Ipv4Addr>,
    /// What decides about the answers; none: it depends on the port that NAT takes.
    pub back: Option<Explanation>,
    /// ElasticXL: everything lands on the pivot.
    pub pivot: bool,
    /// Do answers take a detour between members? None: it depends on the port that NAT takes.
    pub corrected: Option<bool>,
}

/// The matrix that a lab boots with: every member admitted.
#[must_use]
pub fn first_matrix(lab: &Lab) -> Matrix {
    let admitted: Vec<_> =
        lab.members().into_iter().map(|member| Admitted { member, incarnation: Incarnation(1) }).collect();
    matrix::first(Generation::NONE, lab.group.buckets, &admitted, &[])
}

/// Reads `tcp:1024:80`, `udp:53`, `icmp`: protocol, source port, destination port; what is left out is any.
///
/// # Errors
/// What is wrong, and what to write.
pub fn ports(text: &str) -> Result<(Protocol, u16, u16), String> {
    let wrong = || format!("`{text}` is none of: tcp, udp, icmp, tcp:80, tcp:1024:80 (source port, destination port)");
    let mut words = text.split(':');
    let protocol = match words.next() {
        Some("tcp") => Protocol::TCP,
        Some("udp") => Protocol::UDP,
        Some("icmp") => Protocol::ICMP,
        _ => return Err(wrong()),
    };
    let numbers = words.map(|word| word.parse().map_err(|_| wrong())).collect::<Result<Vec<u16>, _>>()?;
    match (protocol, numbers.as_slice()) {
        (_, []) => Ok((protocol, 0, 0)),
        (Protocol::ICMP, [id]) => Ok((protocol, *id, *id)),
        (Protocol::ICMP, _) => Err(wrong()),
        (_, [dst]) => Ok((protocol, 0, *dst)),
        (_, [src, dst]) => Ok((protocol, *src, *dst)),
        _ => Err(wrong()),
    }
}

/// The flow between two addresses; `icmp` of IPv6 addresses is ICMPv6.
#[must_use]
pub fn flow((src, dst): (IpAddr, IpAddr), (protocol, src_port, dst_port): (Protocol, u16, u16)) -> Flow {
    let protocol = if protocol == Protocol::ICMP && src.is_ipv6() { Protocol::ICMPV6 } else { protocol };
    Flow { protocol, src, dst, src_port, dst_port }
}

/// Explains a flow. Ports of 0 are any.
///
/// # Errors
/// [`exit::USAGE`]: an address is on none of the lab's networks, both are on the same one, or the mode needs ports.
pub fn way(lab: &Lab, matrix: &Matrix, flow: &Flow) -> Result<Way, Failure> {
    if flow.src.is_ipv4() != flow.dst.is_ipv4() {
        return Err(usage(format!("{} and {} are of two families: no packet has both", flow.src, flow.dst)));
    }
    let (entry, exit) = (network(lab, flow.src)?, network(lab, flow.dst)?);
    if entry.id == exit.id {
        return Err(usage(format!(
            "{} and {} are both on {}: no member sees the flow",
            flow.src, flow.dst, entry.name
        )));
    }
    let (Some(facing), Some(back_facing)) = (facing(entry.role), facing(exit.role)) else {
        return Err(usage("what comes from the management network, or goes there, is the SMO's".to_owned()));
    };
    let group = &lab.group;
    let policy = Policy { mode: group.distribution, l4: group.l4, buckets: group.buckets };
    let has_ports = matches!(flow.protocol, Protocol::TCP | Protocol::UDP);
    if group.l4 && has_ports && (flow.src_port == 0 || flow.dst_port == 0) {
        let text = "ports take part in this group's key: write them, as in tcp:1024:80".to_owned();
        return Err(usage(text));
    }
    let forward = explain(&policy, flow, has_ports, facing, matrix);
    let hides = |nat: &&HideNat| flow.is_ipv4() && (nat.from, nat.to) == (entry.id, exit.id);
    let nat = group.nat.iter().find(hides);
    let answers = |nat_port: u16| {
        let seen = nat.map_or(*flow, |nat| Flow { src: nat.address.into(), src_port: nat_port, ..*flow });
        explain(&policy, &seen.reversed(), has_ports, back_facing, matrix)
    };
    let [one, other] = SOME_PORTS.map(answers);
    let back = (one.key == other.key).then_some(one);
    let pivot = lab.architecture == Architecture::ElasticXl;
    let corrected = match (&back, pivot, group.sticky) {
        // The pivot knows whose connection it is.
        (_, true, Sticky::Table) => Some(false),
        (Some(back), ..) => Some(back.owner != forward.owner),
        (None, ..) => None,
    };
    Ok(Way {
        flow: flow.to_string(),
        networks: [entry.name.clone(), exit.name.clone()],
        policy: ruled(lab, flow),
        generation: matrix.generation.to_string(),
        forward,
        translated: nat.map(|nat| nat.address),
        back,
        pivot,
        corrected,
    })
}

fn usage(text: String) -> Failure {
    Failure::new(exit::USAGE, text)
}

fn network(lab: &Lab, address: IpAddr) -> Result<&Network, Failure> {
    let unknown = || {
        let on = |network: &Network| {
            let subnets = network.subnets().filter(|subnet| subnet.is_like(address));
            subnets.map(|subnet| format!("{} {subnet}", network.name)).collect::<Vec<_>>()
        };
        let names: Vec<_> = lab.networks.iter().flat_map(on).collect();
        usage(format!("{address} is on no network of {}, nor behind one: {}", lab.name, names.join(", ")))
    };
    let on = lab.networks.iter().find(|network| network.is_on_link(address));
    let behind = || lab.networks.iter().find(|network| network.prefixes().any(|prefix| prefix.contains(address)));
    on.or_else(behind).ok_or_else(unknown)
}

const fn facing(role: NetworkRole) -> Option<Facing> {
    match role {
        NetworkRole::Inside => Some(Facing::Internal),
        NetworkRole::Outside => Some(Facing::External),
        NetworkRole::Management => None,
    }
}

fn ruled(lab: &Lab, flow: &Flow) -> (String, Option<String>) {
    let found = lab.group.rules.iter().find(|rule| rule.matches(flow));
    let word = if found.is_some_and(|rule| rule.accept) { "accept" } else { "drop" };
    (word.to_owned(), found.map(rule))
}

/// A rule in words; its networks stand in it as prefixes.
fn rule(rule: &Rule) -> String {
    let prefix = |prefix: Option<Prefix>| prefix.map_or("any".to_owned(), |prefix| prefix.to_string());
    let mut text = format!("from {} to {}", prefix(rule.src), prefix(rule.dst));
    let what = rule.protocol.map(|protocol| format!(", {}", Protocol(protocol)));
    let ports =
        rule.dst_ports.map(|(low, high)| if low == high { format!(" {low}") } else { format!(" {low}-{high}") });
    what.into_iter().chain(ports).for_each(|word| text.push_str(&word));
    text
}

fn member(member: Option<MemberId>) -> String {
    member.map_or("nobody".to_owned(), |member| member.to_string())
}

fn line(explanation: &Explanation) -> String {
    let Explanation { key, bucket, owner, backup, previous, .. } = explanation;
    let mut text = format!("key {key}, bucket {}, owner {}", bucket.0, member(*owner));
    for (what, who) in [("backup", backup), ("previous owner", previous)] {
        if let Some(who) = who {
            let _infallible = write!(text, ", {what} {who}");
        }
    }
    text
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l4 = if self.forward.l4 { "on" } else { "off" };
        let mode = serde_json::to_value(self.forward.mode).unwrap_or_default();
        writeln!(f, "flow       {}", self.flow)?;
        writeln!(f, "networks   {} -> {}", self.networks[0], self.networks[1])?;
        let (verdict, rule) = &self.policy;
        let rule = rule.as_deref().unwrap_or("no rule matches");
        writeln!(f, "policy     {verdict} ({rule})")?;
        writeln!(f, "mode       {}, L4 {l4}, generation {}", mode.as_str().unwrap_or("?"), self.generation)?;
        if self.pivot {
            writeln!(f, "lands on   the pivot, which hands over to the owner")?;
        }
        writeln!(f, "forward    {}", line(&self.forward))?;
        if let Some(address) = self.translated {
            writeln!(f, "NAT        leaves as {address}, a port of the range of {}", member(self.forward.owner))?;
        }
        match &self.back {
            Some(back) => writeln!(f, "return     {}", line(back))?,
            None => writeln!(f, "return     depends on the port that NAT takes")?,
        }
        let owner = member(self.forward.owner);
        match (self.corrected, self.pivot, &self.back) {
            (Some(false), true, _) => writeln!(f, "corrected  no: the pivot hands answers over to {owner}"),
            (Some(false), false, _) => writeln!(f, "corrected  no: both ways land on {owner}"),
            (Some(true), _, Some(back)) => {
                writeln!(f, "corrected  yes: answers land on {}, which passes them to {owner}", member(back.owner))
            }
            _ => writeln!(f, "corrected  depends on the port that NAT takes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use scalebed_frame::{DistributionMode, Flow, Protocol};
    use scalebed_topologies::scenario::Overrides;

    use super::{first_matrix, ports, way};
    use crate::{exit, files};

    fn flow(src: &str, dst: &str, protocol: Protocol, src_port: u16, dst_port: u16) -> Flow {
        Flow {
            protocol,
            src: src.parse().expect("an address"),
            dst: dst.parse().expect("an address"),
            src_port,
            dst_port,
        }
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(ports("tcp"), Ok((Protocol::TCP, 0, 0)));
        assert_eq!(ports("udp:53"), Ok((Protocol::UDP, 0, 53)));
        assert_eq!(ports("tcp:1024:80"), Ok((Protocol::TCP, 1024, 80)));
        assert_eq!(ports("icmp:7"), Ok((Protocol::ICMP, 7, 7)));
        for text in ["", "sctp", "tcp:http", "tcp:1:2:3", "icmp:1:2", "tcp:70000"] {
            assert!(ports(text).expect_err("no ports").contains("tcp:1024:80"), "{text}");
        }
    }

    #[test]
    fn both_ways_are_told() {
        let (maestro, _) = files::lab("maestro-single-site").expect("a shipped lab");
        let (elasticxl, _) = files::lab("elasticxl-single-site").expect("a shipped lab");
        let general = maestro.with(&Overrides {
            distribution: Some(DistributionMode::General),
            l4: Some(true),
            ..Overrides::default()
        });
        let plain = general.with(&Overrides { hide_nat: Some(false), ..Overrides::default() });
        let web = flow("198.18.0.101", "198.18.1.101", Protocol::TCP, 1024, 80);
        let (client6, server6) = ("2001:2:0:40::5", "2001:2:0:1::101");
        let web6 = flow(client6, server6, Protocol::TCP, 1024, 80);
        let telnet = flow("198.18.0.101", "198.18.1.101", Protocol::TCP, 1024, 23);
        let mut text = String::new();
        for (lab, flow) in [(&maestro, web), (&general, web), (&plain, web), (&elasticxl, telnet), (&maestro, web6)] {
            text += &format!("{}\n", way(lab, &first_matrix(lab), &flow).expect("explained"));
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_cannot_be_explained_says_why() {
        let (lab, _) = files::lab("maestro-single-site").expect("a shipped lab");
        let l4 = lab.with(&Overrides { l4: Some(true), ..Overrides::default() });
        for (lab, src, dst, words) in [
            (&lab, "198.18.0.101", "8.8.8.8", "inside 198.18.0.0/24"),
            (&lab, "198.18.0.101", "198.18.0.102", "both on inside"),
            (&lab, "198.18.2.101", "198.18.1.101", "the SMO's"),
            (&lab, "2001:2::101", "198.18.1.101", "two families"),
            (&lab, "2001:2::101", "2001:db8::1", "outside 2001:2:0:1::/64"),
            (&lab, "2001:2::101", "2001:2:0:40::9", "both on inside"),
            (&l4, "198.18.0.101", "198.18.1.101", "tcp:1024:80"),
        ] {
            let failure = way(lab, &first_matrix(lab), &flow(src, dst, Protocol::TCP, 0, 80)).expect_err("refused");
            assert_eq!(failure.code, exit::USAGE);
            assert!(failure.text.contains(words), "{failure}");
        }
    }
}
