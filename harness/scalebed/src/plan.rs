//! Lab -> Plan: one step, one kernel effect, in the order in which they are done. Pure; printable; `apply` decides
//! nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scalebed_frame::Mac;
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{End, NodeKind, PortRole, Prefix};

use crate::driver;

/// The namespace of the wire process.
pub const WIRES: &str = "wires";

/// Everything that building a lab does to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
}

/// One end of a cable as it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEnd {
    /// Index of the lab's nodes.
    pub node: usize,
    /// Node name.
    pub name: String,
    /// Interface name.
    pub interface: String,
    /// MAC.
    pub mac: Mac,
    /// MTU.
    pub mtu: u16,
}

/// One kernel effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A namespace for a node. Only kernel hosts keep an IP stack behind their ports.
    Namespace {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
    },
    /// A veth pair, both ends created in place.
    Cable {
        /// Index of the lab's cables.
        cable: usize,
        /// One end.
        a: PlannedEnd,
        /// The other.
        b: PlannedEnd,
    },
    /// No ARP, no addresses: the kernel's stack is cut off behind a node's port.
    Bare {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// Interface name.
        interface: String,
    },
    /// GSO, TSO, GRO and checksum offload off: taps see what a cable would carry.
    OffloadsOff {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// Interface name.
        interface: String,
    },
    /// An interface up. An orchestrator's uplinks are left to the orchestrator.
    Up {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// Interface name.
        interface: String,
    },
    /// IPv6 on an interface of a kernel host, without addresses that nobody gave it.
    Ipv6 {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// Interface name.
        interface: String,
    },
    /// An address of a kernel host.
    Address {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// Interface name.
        interface: String,
        /// Address.
        address: IpAddr,
        /// Prefix length.
        length: u8,
    },
    /// A route of a kernel host.
    Route {
        /// Index of the lab's nodes.
        node: usize,
        /// Its name.
        name: String,
        /// To where.
        prefix: Prefix,
        /// Through whom.
        via: IpAddr,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { name, .. } => write!(f, "namespace {name}"),
            Self::Cable { cable, a, b } => write!(
                f,
                "cable {cable}: {}/{} {} -- {}/{} {} mtu {}",
                a.name, a.interface, a.mac, b.name, b.interface, b.mac, a.mtu
            ),
            Self::Bare { name, interface, .. } => write!(f, "no stack behind {name}/{interface}"),
            Self::OffloadsOff { name, interface, .. } => write!(f, "offloads off {name}/{interface}"),
            Self::Ipv6 { name, interface, .. } => write!(f, "ipv6 {name}/{interface}"),
            Self::Up { name, interface, .. } => write!(f, "up {name}/{interface}"),
            Self::Address { name, interface, address, length, .. } => {
                write!(f, "address {name}/{interface} {address}/{length}")
            }
            Self::Route { name, prefix, via, .. } => {
                write!(f, "route {name} {prefix} via {via}")
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl Plan {
    /// The plan of a lab as its file has it: only cables that it impairs itself go through a wire process.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        Self::with_wires(lab, &driver::bent_by(lab, &[]))
    }

    /// The plan of a lab with some cables that can be impaired, by their indexes: each is two pairs, and their inner ends
    /// are in a namespace of their own, whose index is one more than that of the last node.
    #[must_use]
    pub fn with_wires(lab: &Lab, bent: &BTreeSet<usize>) -> Self {
        let mut steps = Vec::new();
        for (node, spec) in lab.nodes.iter().enumerate() {
            steps.push(Step::Namespace { node, name: spec.name.clone() });
        }
        if !bent.is_empty() {
            steps.push(Step::Namespace { node: lab.nodes.len(), name: WIRES.to_owned() });
        }
        for (cable, spec) in lab.cables.iter().enumerate() {
            let [a, b] = [spec.a, spec.b].map(|end| planned(lab, end));
            if bent.contains(&cable) {
                let inner = [inner(lab, cable, false, a.mtu), inner(lab, cable, true, b.mtu)];
                let interfaces = inner.clone().map(|end| end.interface);
                let [to_a, to_b] = inner;
                steps.push(Step::Cable { cable, a, b: to_a });
                steps.push(Step::Cable { cable, a: to_b, b });
                for interface in interfaces {
                    let (node, name) = (lab.nodes.len(), WIRES.to_owned());
                    steps.push(Step::Bare { node, name: name.clone(), interface: interface.clone() });
                    steps.push(Step::Up { node, name, interface });
                }
            } else {
                steps.push(Step::Cable { cable, a, b });
            }
        }
        for (node, spec) in lab.nodes.iter().enumerate() {
            for port in &spec.ports {
                let (name, interface) = (spec.name.clone(), port.name.clone());
                if let NodeKind::Host(host) = &spec.kind {
                    if host.address6.is_some() {
                        steps.push(Step::Ipv6 { node, name: name.clone(), interface: interface.clone() });
                    }
                    steps.push(Step::OffloadsOff { node, name, interface });
                } else {
                    steps.push(Step::Bare { node, name, interface });
                }
            }
        }
        for (node, spec) in lab.nodes.iter().enumerate() {
            for port in spec.ports.iter().filter(|port| !matches!(port.role, PortRole::Uplink(_))) {
                steps.push(Step::Up { node, name: spec.name.clone(), interface: port.name.clone() });
            }
        }
        for (node, spec) in lab.nodes.iter().enumerate() {
            host_steps(lab, node, &spec.name, &mut steps);
        }
        Self { steps }
    }
}

/// The interface of the wire process towards an end of a cable.
#[must_use]
pub fn inner_name(cable: usize, to_b: bool) -> String {
    format!("c{cable}{}", if to_b { 'b' } else { 'a' })
}

fn inner(lab: &Lab, cable: usize, to_b: bool, mtu: u16) -> PlannedEnd {
    // No frame is ever from it or to it; the kernel wants one.
    let number = u32::try_from(cable * 2 + usize::from(to_b)).unwrap_or(0);
    PlannedEnd {
        node: lab.nodes.len(),
        name: WIRES.to_owned(),
        interface: inner_name(cable, to_b),
        mac: Mac::host(0xff00_0000 | number),
        mtu,
    }
}

fn planned(lab: &Lab, end: End) -> PlannedEnd {
    let node = &lab.nodes[usize::from(end.node)];
    let port = &node.ports[usize::from(end.port)];
    PlannedEnd {
        node: usize::from(end.node),
        name: node.name.clone(),
        interface: port.name.clone(),
        mac: port.mac,
        mtu: port.mtu,
    }
}

/// Addresses and default routes (the cluster) of a kernel host.
fn host_steps(lab: &Lab, node: usize, name: &str, steps: &mut Vec<Step>) {
    let NodeKind::Host(host) = &lab.nodes[node].kind else { return };
    let (Some(network), Some(port)) = (lab.network(host.network), lab.nodes[node].ports.first()) else { return };
    let address = |address: IpAddr, length| {
        let (name, interface) = (name.to_owned(), port.name.clone());
        Step::Address { node, name, interface, address, length }
    };
    let default = |any: IpAddr, via: IpAddr| Step::Route {
        node,
        name: name.to_owned(),
        prefix: Prefix { address: any, length: 0 },
        via,
    };
    steps.push(address(host.address.into(), network.subnet.length));
    steps.push(default(Ipv4Addr::UNSPECIFIED.into(), network.cluster_ip.into()));
    if let Some((own, side)) = host.address6.zip(network.ipv6) {
        steps.push(address(own.into(), side.subnet.length));
        steps.push(default(Ipv6Addr::UNSPECIFIED.into(), side.cluster_ip.into()));
    }
}
