//! The history: everything that was done or declared, on one clock.

use scalebed_frame::control::{Admitted, Matrix};
use scalebed_frame::{Generation, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::traffic::{GeneratorReport, Schedule};

/// A run's history, in order of time. Written as JSON lines, one [`Entry`] a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Every entry.
    pub entries: Vec<Entry>,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, ns of CLOCK_MONOTONIC (virtual time on the fabric).
    pub at: u64,
    /// What.
    pub fact: Fact,
}

/// Something that was done, declared or read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// A phase of the run began.
    Phase(String),
    /// The traffic that will be offered.
    Schedule(Schedule),
    /// An operation was done to the lab, between `before` and `after`.
    Operation {
        /// Index of the scenario's event; `None` for the return half of a hang.
        event: Option<u32>,
        /// In words: `kill sgm-1-03`.
        text: String,
        /// The node it was done to, as in the lab.
        node: String,
        /// Clock before the injecting call.
        before: u64,
        /// Clock after it.
        after: u64,
        /// How it was proved in force: `pidfd readable`, `carrier down at mho1`, ...
        proof: String,
    },
    /// A node declared something (class D evidence).
    Declared {
        /// The node's name.
        node: String,
        /// The node's own event, as text for people.
        text: String,
        /// The part that checkers and reports use.
        what: Declared,
    },
    /// A control frame that a tap saw, reduced (class T evidence).
    Heard(Heard),
    /// A cable's counters, read over netlink, at the end: frames that each end put in, and what the tap at the other end
    /// got out.
    Ledger {
        /// The cable's index in the lab.
        cable: u16,
        /// `tx_packets` of end a since the taps were opened.
        put_in_a: u64,
        /// Frames at the tap of end b.
        got_out_b: u64,
        /// `tx_packets` of end b.
        put_in_b: u64,
        /// Frames at the tap of end a.
        got_out_a: u64,
    },
    /// Frames that a cable's rules took, and those that they made two of, by whoever carries the rules out.
    Taken {
        /// The cable's index in the lab.
        cable: u16,
        /// Taken from end a to end b.
        a_to_b: u64,
        /// Taken from end b to end a.
        b_to_a: u64,
        /// Doubled from end a to end b.
        #[serde(default)]
        doubled_a_to_b: u64,
        /// Doubled from end b to end a.
        #[serde(default)]
        doubled_b_to_a: u64,
    },
    /// What an impaired cable was to do to frames one way, and whether taps saw just that.
    Decided(Decided),
    /// Frames that a tap's socket dropped: the run can't be judged if there are any.
    TapDrops {
        /// How many.
        frames: u64,
    },
    /// A loop of a node or of the harness ran late.
    Stall {
        /// Whose.
        who: String,
        /// By how much, ns.
        late: u64,
    },
    /// The generator's account.
    Generator(GeneratorReport),
    /// A real kernel TCP transfer through the cluster.
    Transfer {
        /// From.
        from: String,
        /// To.
        to: String,
        /// Over IPv6.
        #[serde(default)]
        ipv6: bool,
        /// Bytes asked for.
        bytes: u64,
        /// Did exactly the right bytes arrive?
        intact: bool,
        /// How long it took, ns.
        took: u64,
        /// If it failed, how.
        error: Option<String>,
    },
    /// What a host did through the cluster while the scenario ran.
    Host(HostRun),
    /// A node's own account of itself at the end: annotates, never proves.
    Counters {
        /// The node's name.
        node: String,
        /// Drops by reason.
        drops: std::collections::BTreeMap<String, u64>,
        /// Everything else that it counts.
        counters: std::collections::BTreeMap<String, u64>,
    },
    /// A remark for the report.
    Note(String),
}

/// What the rules of an impaired cable were to do one way, recomputed from the frames that were put in, and what differs
/// from it in what taps saw come out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decided {
    /// The cable's index in the lab.
    pub cable: u16,
    /// From end a to end b?
    pub to_b: bool,
    /// Frames that were put in, as whoever carries the rules out was given them.
    pub put_in: u64,
    /// To be lost, for whatever reason of the rules.
    pub lost: u64,
    /// To come out twice.
    pub doubled: u64,
    /// To come out with a flipped bit.
    pub altered: u64,
    /// To come out cut short.
    pub truncated: u64,
    /// Of the altered ones, those whose bit lies where taps keep nothing: whether that was done they cannot see.
    pub hidden: u64,
    /// Each time that a share of frames was to be held back.
    #[serde(default)]
    pub reordered: Vec<Reordered>,
    /// Did not come out because there was no carrier.
    pub no_carrier: u64,
    /// Came out so long after their time, ns: the 99th of a hundred, and the last.
    pub late: [u64; 2],
    /// Frames that came out and were not to, or were to and did not, or came too early.
    pub deviates: u64,
    /// The first of these, in words.
    pub first: Vec<String>,
}

impl Decided {
    /// Frames that were to be held back.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.reordered.iter().map(|time| time.held_back).sum()
    }
}

/// A time in which a share of frames was to be held back, without another in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reordered {
    /// So many of a million.
    pub per_million: u32,
    /// When the first and the last frame under it were put in, ns of the run's clock.
    pub times: (u64, u64),
    /// Frames that passed.
    pub passed: u64,
    /// Those of them that were held back.
    pub held_back: u64,
}

/// A TCP conversation of two hosts. Times in ns of the run's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostRun {
    /// `download`, `requests` or `session`.
    pub task: String,
    /// The server's name.
    pub from: String,
    /// The client's name.
    pub to: String,
    /// Over IPv6.
    #[serde(default)]
    pub ipv6: bool,
    /// The server's port.
    pub port: u16,
    /// When the client began.
    pub began: u64,
    /// When the last byte came.
    pub ended: u64,
    /// Bytes that the client got.
    pub bytes: u64,
    /// All bytes came, each the right one.
    pub intact: bool,
    /// The longest time in which nothing came.
    pub gap: u64,
    /// If it failed, how.
    pub error: Option<String>,
}

/// What a node declared, without node code: the judge's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Declared {
    /// Its configuration is taken and its ports are known.
    Ready,
    /// Its state.
    State(String),
    /// Took (true) or gave up the SMO / pivot role.
    Smo(bool),
    /// Accepted a matrix.
    Accepted {
        /// Generation.
        generation: Generation,
        /// Digest.
        digest: u64,
        /// Who is admitted.
        admitted: Vec<Admitted>,
    },
    /// Its barrier ended.
    Activated(Generation),
    /// As author: sent the first Prepare.
    Prepared(Generation),
    /// Declared a node dead.
    Dead(NodeId),
    /// Fenced itself.
    Fenced(String),
    /// Announced addresses.
    Announced,
    /// A planned move ended at its new owner, with so many entries.
    Moved {
        /// The generation.
        generation: Generation,
        /// Entries.
        entries: u32,
    },
    /// Anything else.
    Other,
}

/// A control frame, reduced to what invariants need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heard {
    /// A heartbeat: each one that was sent, once, however many taps saw it.
    Heartbeat {
        /// Who.
        from: NodeId,
        /// In which life.
        incarnation: Incarnation,
        /// When it was sent, by the sender's clock, ns.
        sent: u64,
        /// Accepted generation.
        accepted: Generation,
        /// Activated generation.
        activated: Generation,
        /// Digest.
        digest: u64,
        /// State.
        state: String,
        /// Claims the SMO role.
        smo: bool,
    },
    /// A member asked others for a connection that it did not know.
    Asked {
        /// Who.
        from: NodeId,
        /// The connection, as its packet showed it.
        flow: scalebed_frame::Flow,
    },
    /// A synced entry that somebody else than its owner told of.
    Echo {
        /// Who.
        from: NodeId,
        /// Whose it is.
        owner: NodeId,
        /// In which life.
        life: Incarnation,
        /// The connection.
        flow: scalebed_frame::Flow,
    },
    /// A matrix on the wire, the first time.
    Matrix(Matrix),
}
