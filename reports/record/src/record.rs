//! The record: everything a report shows, as data with units in the names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::verdict::{Outcome, Verdict};

/// Version of the JSON schema of [`Record`].
pub const SCHEMA: u32 = 1;

/// One run, judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// One sentence about it.
    pub about: String,
    /// The lab's name.
    pub lab: String,
    /// `maestro` or `elasticxl`.
    pub architecture: String,
    /// `netns` or `sim`.
    pub world: String,
    /// Seed.
    pub seed: u64,
    /// Start, RFC 3339 UTC; empty in the simulated world.
    pub started: String,
    /// The command that repeats the run.
    pub command: String,
    /// The journals that the run left, if it left any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Every verdict.
    pub verdicts: Vec<Verdict>,
    /// Kernel, CPUs, versions, hashes, capabilities: shown as they are.
    pub environment: BTreeMap<String, String>,
    /// The lab, drawn.
    pub topology: Topology,
    /// Every event of the timeline, in order; times count from the schedule's start.
    pub timeline: Vec<TimelineEvent>,
    /// Throughput by member.
    pub throughput: Throughput,
    /// Outages: one row a flow that lost something.
    pub outages: Vec<Outage>,
    /// Per member numbers.
    pub members: Vec<MemberRow>,
    /// Each injected event, measured.
    pub faults: Vec<FaultRow>,
    /// Symmetry by epoch.
    pub symmetry: Vec<SymmetryRow>,
    /// Connection survival.
    pub survival: Vec<SurvivalRow>,
    /// Who owned which flow, before each event and at the end.
    #[serde(default)]
    pub owners: Vec<OwnersRow>,
    /// Corrections and handovers.
    pub shares: Shares,
    /// The ledger, cable by cable.
    pub ledger: Vec<LedgerRow>,
    /// One-way delay percentiles, microseconds, by name (`forward p50`, ...).
    pub latency_us: BTreeMap<String, f64>,
    /// `emulated:` choices and other remarks.
    pub notes: Vec<String>,
}

/// What every node of a failed run was told, kept for replaying it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The command that replays all of them.
    pub command: String,
    /// Each journal: its path in the run directory, and its bytes.
    pub journals: Vec<(String, u64)>,
}

/// The lab as a drawing needs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Nodes: name and kind (`mho`, `member`, `switch`, `host`, `generator`), with a remark.
    pub nodes: Vec<TopologyNode>,
    /// Cables, as pairs of indices into `nodes`.
    pub cables: Vec<(usize, usize)>,
}

/// A node of the drawing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Second line: role at start, addresses.
    pub detail: String,
}

/// An event of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Milliseconds after the schedule's start (negative before it).
    pub at_ms: f64,
    /// Swim lane: `run`, a node's name.
    pub lane: String,
    /// `phase`, `fault`, `heal`, `declared`, `heard`.
    pub kind: String,
    /// Words.
    pub text: String,
}

/// Delivered packets in bins, by the member that processed them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Width of a bin, ms.
    pub bin_ms: f64,
    /// Start of the first bin, ms after the schedule's start.
    pub start_ms: f64,
    /// Offered packets a bin.
    pub offered: Vec<u32>,
    /// Delivered packets a bin, member by member (name, bins).
    pub members: Vec<(String, Vec<u32>)>,
    /// Lost packets a bin, by due time.
    pub lost: Vec<u32>,
}

/// A flow's outage: first and last lost packet by due time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// Flow id.
    pub flow: u32,
    /// Its owner before the event.
    pub owner: String,
    /// `probe` or `population`.
    pub class: String,
    /// Due time of the first lost packet, ms after the schedule's start.
    pub from_ms: f64,
    /// Due time of the last lost packet.
    pub to_ms: f64,
    /// Packets lost.
    pub lost: u32,
    /// Was it predicted to be hurt?
    pub predicted: bool,
}

/// A member's numbers over the steady part of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Name.
    pub member: String,
    /// Generated packets that entered the cluster at it, share of all.
    pub ingress_share: f64,
    /// Generated packets that it processed, share of all.
    pub processed_share: f64,
    /// Distinct keys that it owns.
    pub keys: u64,
    /// Expected keys.
    pub expected_keys: f64,
    /// Tolerance on keys.
    pub tolerance_keys: f64,
    /// Buckets.
    pub buckets: u32,
}

/// An injected event, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultRow {
    /// `kill sgm-1-03`.
    pub text: String,
    /// When, ms after the schedule's start.
    pub at_ms: f64,
    /// Width of the bracket around the injecting call, ms.
    pub bracket_ms: f64,
    /// Declared outcome class.
    pub outcome: String,
    /// Flows hurt, of how many that had packets due.
    pub hurt_flows: u32,
    /// Flows in all.
    pub flows: u32,
    /// Flows predicted to be hurt.
    pub predicted_flows: u32,
    /// First convergence, ms (probes).
    pub first_ms: Option<f64>,
    /// Full convergence, ms (probes).
    pub full_ms: Option<f64>,
    /// Loss-derived convergence, ms: median and max.
    pub loss_derived_ms: Option<(f64, f64)>,
    /// Gap-based convergence, ms: median and max.
    pub gap_ms: Option<(f64, f64)>,
    /// Detect, decide, barrier, announce, ms, from what was declared and heard.
    pub parts_ms: BTreeMap<String, f64>,
    /// Buckets that moved because their owner was gone or the plan said so.
    pub moved_of_need: u32,
    /// Buckets that moved without need.
    pub moved_without: u32,
    /// For a start: from the process's start to Active, ms.
    pub join_ms: Option<f64>,
    /// Packets lost.
    pub lost_packets: u64,
}

/// Symmetry in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SymmetryRow {
    /// Generation.
    pub generation: String,
    /// Begin and end, ms after the schedule's start.
    pub from_ms: f64,
    /// End.
    pub to_ms: f64,
    /// Eligible flows.
    pub eligible: u32,
    /// Those of them that are of IPv6.
    #[serde(default)]
    pub eligible6: u32,
    /// Of how many.
    pub flows: u32,
    /// Flows whose two directions entered at the same member.
    pub l1: u32,
    /// Flows whose two directions were processed and emitted by one and the same member.
    pub l2: u32,
    /// Offenders, with their path (first 20).
    pub offenders: Vec<String>,
}

/// Who owned the flows at an instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnersRow {
    /// `before kill sgm-1-03`, `at the end`.
    pub when: String,
    /// Flow by flow the place in [`Record::members`] of who processed its last packet that arrived; -1: none did lately.
    pub members: Vec<i16>,
}

/// Survival of connections of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SurvivalRow {
    /// The event.
    pub event: String,
    /// `owner failed` or `other`.
    pub owner: String,
    /// `younger` or `older` than the sync delay.
    pub age: String,
    /// `active`, `idle`, `handshaking`, `half-closed`.
    pub state: String,
    /// Connections in the class.
    pub connections: u32,
    /// Survived.
    pub survived: u32,
    /// Predicted to survive.
    pub predicted: u32,
    /// Of which the prediction leaves open whether they survive.
    #[serde(default)]
    pub either: u32,
    /// 95 % interval of the surviving share (Wilson), percent.
    #[serde(default)]
    pub interval_percent: (f64, f64),
}

/// Corrections, handovers, sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Corrected share of packets from the client.
    pub corrected_forward: f64,
    /// Corrected share of packets from the server.
    pub corrected_return: f64,
    /// The same of IPv4 alone, if there was any.
    #[serde(default)]
    pub corrected_return4: Option<f64>,
    /// The same of IPv6 alone, if there was any.
    #[serde(default)]
    pub corrected_return6: Option<f64>,
    /// Corrections by cause: `algebra`, `planned-move`, `other`.
    pub corrections_by_cause: BTreeMap<String, u64>,
    /// Handed over by the pivot, share of all packets.
    pub handover: f64,
    /// Sync bytes on the internal network.
    pub sync_bytes: u64,
    /// Connections opened.
    pub connections: u64,
    /// Public addresses that IPv4 clients were seen under on the outside.
    pub public_ips: u32,
}

/// A cable's ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The cable's name.
    pub cable: String,
    /// Put in and got out, a to b.
    pub a_to_b: (u64, u64),
    /// Put in and got out, b to a.
    pub b_to_a: (u64, u64),
}

impl Record {
    /// Pass if all pass; else the worst: a fail before an invalid.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        let is = |f: fn(&Outcome) -> bool| self.verdicts.iter().any(|verdict| f(&verdict.outcome));
        if is(|outcome| matches!(outcome, Outcome::Fail(_))) {
            "fail"
        } else if self.verdicts.is_empty() || is(|outcome| matches!(outcome, Outcome::Invalid(_))) {
            "invalid"
        } else {
            "pass"
        }
    }

    /// What did not pass, a line each, with at most so many pieces of evidence below it.
    #[must_use]
    pub fn complaints(&self, evidence: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for verdict in &self.verdicts {
            match &verdict.outcome {
                Outcome::Pass => {}
                Outcome::Fail(shown) => {
                    lines.push(format!("fail {}: {} (limit {})", verdict.check, verdict.value, verdict.limit));
                    lines.extend(shown.iter().take(evidence).map(|line| format!("  {line}")));
                }
                Outcome::Invalid(reason) => lines.push(format!("invalid {}: {reason}", verdict.check)),
            }
        }
        lines
    }
}
