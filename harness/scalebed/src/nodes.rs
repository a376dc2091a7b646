//! Lab -> configuration of each node's process. The only place that knows both the lab and what nodes take.

use scalebed_cluster::{Ablations, LIVES_A_START, NodeConfig};
use scalebed_engine::Engine;
use scalebed_frame::{Incarnation, MemberId, NodeId};
use scalebed_gateway::Gateway;
use scalebed_orchestrator::Orchestrator;
use scalebed_pivot::Pivot;
use scalebed_switch::Switch;
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{Architecture, Node, NodeKind};

/// What a node is told, by what runs in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// `mho`.
    Mho(Box<NodeConfig>),
    /// `sgm`.
    Sgm(Box<NodeConfig>),
    /// `pivot`.
    Pivot(Box<NodeConfig>),
    /// `switch`.
    Switch(scalebed_switch::Config),
}

impl Config {
    /// The program that takes it.
    #[must_use]
    pub const fn program(&self) -> &'static str {
        match self {
            Self::Mho(_) => "mho",
            Self::Sgm(_) => "sgm",
            Self::Pivot(_) => "pivot",
            Self::Switch(_) => "switch",
        }
    }

    /// What a program was told, read back from its file; none: there is no such program.
    ///
    /// # Errors
    /// The text is not its configuration.
    pub fn from_json(program: &str, json: &str) -> serde_json::Result<Option<Self>> {
        Ok(Some(match program {
            "mho" => Self::Mho(serde_json::from_str(json)?),
            "sgm" => Self::Sgm(serde_json::from_str(json)?),
            "pivot" => Self::Pivot(serde_json::from_str(json)?),
            "switch" => Self::Switch(serde_json::from_str(json)?),
            _ => return Ok(None),
        }))
    }

    /// The engine that its process runs.
    #[must_use]
    pub fn engine(&self) -> Box<dyn Engine> {
        match self {
            Self::Mho(config) => Box::new(Orchestrator::new((**config).clone())),
            Self::Sgm(config) => Box::new(Gateway::new((**config).clone())),
            Self::Pivot(config) => Box::new(Pivot::new((**config).clone())),
            Self::Switch(config) => Box::new(Switch::new(config.clone())),
        }
    }

    /// The file that it reads.
    ///
    /// # Errors
    /// Serialisation fails (a bug).
    pub fn to_json(&self) -> serde_json::Result<String> {
        match self {
            Self::Mho(config) | Self::Sgm(config) | Self::Pivot(config) => serde_json::to_string_pretty(config),
            Self::Switch(config) => serde_json::to_string_pretty(config),
        }
    }
}

/// The configuration of a node for its `start`-th start (from 1); `None`: the node runs no process of ours.
#[must_use]
pub fn config(lab: &Lab, absent: &[MemberId], node: &Node, start: u32, ablations: Ablations) -> Option<Config> {
    let cluster = |id: NodeId| {
        Box::new(NodeConfig {
            name: node.name.clone(),
            id,
            incarnation: Incarnation(start * LIVES_A_START),
            architecture: lab.architecture,
            group: lab.group.clone(),
            config_digest: config_digest(lab),
            networks: lab.networks.clone(),
            ports: node.ports.clone(),
            members: lab.members(),
            starters: lab.members().into_iter().filter(|member| !absent.contains(member)).collect(),
            orchestrators: lab.orchestrators(),
            ablations,
        })
    };
    match (&node.kind, lab.architecture) {
        (NodeKind::Mho(mho), _) => Some(Config::Mho(cluster((*mho).into()))),
        (NodeKind::Member(member), Architecture::Maestro) => Some(Config::Sgm(cluster((*member).into()))),
        (NodeKind::Member(member), Architecture::ElasticXl) => Some(Config::Pivot(cluster((*member).into()))),
        (NodeKind::Switch(_), _) => {
            Some(Config::Switch(scalebed_switch::Config { name: node.name.clone(), ports: node.ports.clone() }))
        }
        (NodeKind::Host(_) | NodeKind::Generator, _) => None,
    }
}

/// Digest of what all members must agree on: policy, NAT, networks.
fn config_digest(lab: &Lab) -> u64 {
    let text = serde_json::to_string(&(&lab.group, &lab.networks)).unwrap_or_default();
    crate::files::hash64(text.as_bytes())
}
