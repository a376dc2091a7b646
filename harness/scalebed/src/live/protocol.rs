//! What commands ask a keeper: one JSON line, answered by one. The answer to [`Request::Enter`] brings descriptors, and
//! that to [`Request::Events`] is followed by the events, a line each.

use std::path::PathBuf;

use scalebed_engine::Status;
use scalebed_frame::Flow;
use scalebed_topologies::fault::Kind;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How is everybody?
    Status,
    /// A way into a node's namespace.
    Enter {
        /// Name of the node.
        node: String,
    },
    /// What happened so far, and with `follow` what happens from now on.
    Events {
        /// Go on until the asker goes.
        follow: bool,
    },
    /// Break something.
    Inject {
        /// What.
        kind: Kind,
        /// Where: a node's or a cable's name.
        target: String,
    },
    /// Mend all that is broken at a target, or everything.
    Heal {
        /// Name of the node or cable.
        target: Option<String>,
    },
    /// Let members come and go as another text of the lab's file says.
    Update {
        /// The text.
        text: String,
    },
    /// What taps saw of a flow lately, by both tuples, and the matrix that is in force.
    Seen {
        /// The flow as its client sends it.
        flow: Flow,
    },
    /// Take the lab down.
    Down,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// What was asked for.
    Done(T),
    /// Why not.
    Refused {
        /// Exit code of the asking command.
        code: u8,
        /// What is wrong.
        text: String,
    },
}

impl<T> Answer<T> {
    /// As the keeper has it.
    pub fn of(outcome: Result<T, Failure>) -> Self {
        match outcome {
            Ok(value) => Self::Done(value),
            Err(Failure { code, text }) => Self::Refused { code, text },
        }
    }

    /// As the asker wants it.
    pub fn into_result(self) -> Result<T, Failure> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused { code, text } => Err(Failure { code, text }),
        }
    }
}

/// The answer to [`Request::Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabStatus {
    /// The name that it is up by.
    pub name: String,
    /// The lab.
    pub lab: String,
    /// `Maestro`, `ElasticXL`.
    pub architecture: String,
    /// When it was brought up, RFC 3339.
    pub since: String,
    /// The run directory.
    pub folder: PathBuf,
    /// Pid of its keeper.
    pub keeper: u32,
    /// What is broken, as it was injected.
    pub broken: Vec<String>,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `orchestrator`, `member`, `switch`, `host`, `generator`.
    pub kind: String,
    /// A member's id, a host's address, a switch's network.
    pub detail: String,
    /// `running`, `hung`, `dead`; none: it runs no process of ours.
    pub process: Option<String>,
    /// Its own account; none where it runs none or gives none.
    pub status: Option<Status>,
    /// The last thing it declared about its state, and when, seconds after the lab was brought up.
    pub last_change: Option<(f64, String)>,
}

/// The answer to [`Request::Seen`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SeenFlow {
    /// Generation, and each bucket's owner, backup and previous owner, as JSON of the matrix.
    pub matrix: Option<scalebed_frame::control::Matrix>,
    /// Frames by place and direction, the way there first, each in order of time: `mho1 > sgm-1-03`.
    pub places: Vec<SeenPlace>,
}

/// Frames of a flow that came out of a cable at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPlace {
    /// Name of the node that sent them.
    pub from: String,
    /// Name of the node that they came to.
    pub to: String,
    /// What the shim said they were, on internal cables.
    pub shim: Option<String>,
    /// From the server to the client?
    pub back: bool,
    /// With the address of hide NAT instead of the client's: if no port of the client was asked for, it may be of others.
    pub translated: bool,
    /// Frames.
    pub frames: u64,
    /// Stamp of the first, ns.
    pub first: u64,
}
