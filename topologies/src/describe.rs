//! A lab as text for people: every node, port, MAC and cable, and what it warns of.

use std::fmt::Write as _;

use crate::lab::{Architecture, Bond, HashField, Host, Lab, NetworkRole, NodeKind, PLAIN_MTU, Port, PortRole};

impl Lab {
    /// The whole lab as compact text: what `plan` prints and snapshots hold.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let group = &self.group;
        writeln!(out, "{}: {} on {}", self.name, self.architecture.title(), self.platform)?;
        writeln!(
            out,
            "group {}: {:?}, l4 {}, {} buckets, {:?}, sync after {} ms, dead after {} x {} ms",
            group.id.0,
            group.distribution,
            if group.l4 { "on" } else { "off" },
            group.buckets,
            group.redeal,
            group.sync_delay_ms,
            group.dead_units,
            group.unit_ms
        )?;
        if self.architecture == Architecture::ElasticXl {
            writeln!(out, "pivot forwards over {:?}, sticky {:?}", group.pivot_forward, group.sticky)?;
        }
        if let Some(Bond { hash }) = &self.bond {
            let fields: Vec<_> = hash.iter().map(|field| word(*field)).collect();
            writeln!(out, "bonds: static, xor over {}", fields.join(" "))?;
        }
        for rule in &group.rules {
            let side = |prefix: Option<crate::lab::Prefix>| prefix.map_or("any".to_owned(), |p| p.to_string());
            let protocol = rule.protocol.map_or(String::new(), |protocol| format!(" protocol {protocol}"));
            let ports = rule.dst_ports.map_or(String::new(), |(low, high)| format!(" ports {low}-{high}"));
            let action = if rule.accept { "accept" } else { "drop" };
            writeln!(out, "rule {} -> {}{protocol}{ports}: {action}", side(rule.src), side(rule.dst))?;
        }
        for nat in &group.nat {
            let (from, to) = (self.name_of(nat.from), self.name_of(nat.to));
            writeln!(out, "hide {from} -> {to} behind {} ports {}-{}", nat.address, nat.ports.0, nat.ports.1)?;
        }
        self.write_networks(out)?;
        for node in &self.nodes {
            let detail = match &node.kind {
                NodeKind::Mho(mho) => format!("orchestrator {mho}"),
                NodeKind::Member(member) => format!("member {member}"),
                NodeKind::Switch(network) => format!("switch of {}", self.name_of(*network)),
                NodeKind::Host(Host { address, address6: Some(address6), .. }) => format!("host {address} {address6}"),
                NodeKind::Host(host) => format!("host {}", host.address),
                NodeKind::Generator => "generator".to_owned(),
            };
            writeln!(out, "{} ({detail})", node.name)?;
            for (index, port) in node.ports.iter().enumerate() {
                let Port { name, mac, mtu, cable, .. } = port;
                writeln!(out, "  {index} {name:<11} {mac} mtu {mtu} cable {cable} {}", self.role_text(port.role))?;
            }
        }
        for (index, cable) in self.cables.iter().enumerate() {
            writeln!(out, "cable {index} {}", cable.name)?;
        }
        Ok(())
    }

    /// Networks, and what the generator plays on them.
    fn write_networks(&self, out: &mut String) -> std::fmt::Result {
        for network in &self.networks {
            let (id, role) = (network.id.0, network.role);
            write!(out, "network {id} {} ({role:?}) {} cluster {}", network.name, network.subnet, network.cluster_ip)?;
            if let Some(side) = network.ipv6 {
                write!(out, ", {} cluster {}", side.subnet, side.cluster_ip)?;
            }
            if network.mtu != PLAIN_MTU {
                write!(out, ", MTU {}", network.mtu)?;
            }
            write!(out, " {}", network.cluster_mac)?;
            network.routes.iter().try_for_each(|route| write!(out, ", {} via {}", route.prefix, route.via))?;
            writeln!(out)?;
        }
        for side in &self.generator {
            write!(out, "generator on {}:", self.name_of(side.network))?;
            for v4 in [true, false] {
                let mut own = side.on_link.iter().filter(|address| address.is_ipv4() == v4);
                if let (Some(first), last) = (own.next(), own.next_back()) {
                    write!(out, " {first}..{} and", last.unwrap_or(first))?;
                }
            }
            write!(out, " next hop {}", side.next_hop)?;
            side.next_hop6.iter().try_for_each(|hop| write!(out, " {hop}"))?;
            side.behind.iter().try_for_each(|prefix| write!(out, ", {prefix} behind it"))?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn name_of(&self, id: scalebed_frame::NetworkId) -> &str {
        self.network(id).map_or("sync", |network| network.name.as_str())
    }

    fn role_text(&self, role: PortRole) -> String {
        match role {
            PortRole::Uplink(network) => format!("uplink of {}", self.name_of(network)),
            PortRole::DownlinkTo(member) => format!("downlink to {member}"),
            PortRole::Pair => "pair".to_owned(),
            PortRole::Downlink(mho) => format!("downlink to {mho}"),
            PortRole::Data(network) => format!("data on {}", self.name_of(network)),
            PortRole::Sync => "sync".to_owned(),
            PortRole::BondLeg => "bond leg".to_owned(),
            PortRole::Access => "access".to_owned(),
            PortRole::Station(network) => format!("station on {}", self.name_of(network)),
        }
    }

    /// What a reader of this lab's results should know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let members = self.members().len();
        if members == 1 {
            warnings.push("one member: there is nobody to fail over to".to_owned());
        }
        match self.architecture {
            Architecture::Maestro if self.orchestrators().len() == 1 => {
                warnings.push("one orchestrator: its loss is the loss of the group".to_owned());
            }
            Architecture::Maestro => warnings.push(
                "static bonds: an orchestrator whose process dies or hangs keeps carrier, so its legs become a black \
                 hole; only a power off is survivable without LACP"
                    .to_owned(),
            ),
            Architecture::ElasticXl => warnings.push(
                "the last frames of a fenced member that are already in the kernel cannot be recalled".to_owned(),
            ),
        }
        if self.role(NetworkRole::Inside).is_some() && self.group.rules.iter().all(|rule| !rule.accept) {
            warnings.push("no rule accepts anything: every packet is dropped".to_owned());
        }
        warnings
    }
}

const fn word(field: HashField) -> &'static str {
    match field {
        HashField::SrcMac => "src-mac",
        HashField::DstMac => "dst-mac",
        HashField::SrcIp => "src-ip",
        HashField::DstIp => "dst-ip",
    }
}
