//! The schedule of generated traffic as data: the generator sends by it, the checkers judge by it.

use std::collections::BTreeMap;

use scalebed_frame::{Flow, signature};
use serde::{Deserialize, Serialize};

/// A TCP flow's SYN is due so long before its first request, ns: its handshake is done by then, and the request leaves
/// on time. (A flow that starts earlier in the schedule than this sends its SYN at the schedule's start.)
pub const HANDSHAKE_LEAD: u64 = 50_000_000;

/// All generated traffic of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Identifies the run's packets.
    pub run: u64,
    /// Key of the signatures' hash.
    pub key: signature::Key,
    /// Seed of whatever the generator varies.
    pub seed: u64,
    /// Start of the schedule, ns of CLOCK_MONOTONIC; flow times count from here.
    pub start: u64,
    /// Its end, ns after `start`.
    pub end: u64,
    /// Every flow; the index is the flow's id in signatures.
    pub flows: Vec<FlowSpec>,
}

/// What kind of traffic a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// UDP, both directions by the schedule (the server sends to the tuple that it saw).
    Udp,
    /// A TCP connection of the generator's own pair: handshake, request and response rounds, FIN.
    Tcp,
}

/// One flow. Packet k of a direction is due at `first + k * 1e9 / rate` (the reverse direction half an interval later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSpec {
    /// What it is for.
    pub class: signature::Class,
    /// Its kind.
    pub kind: FlowKind,
    /// As the client sends it.
    pub forward: Flow,
    /// Due time of its first packet, ns after the schedule's start.
    pub first: u64,
    /// No packet is due at or after this, ns after the schedule's start.
    pub last: u64,
    /// Packets a second each way.
    pub rate: u32,
}

impl FlowSpec {
    /// Due time of packet `k` of a direction, ns after the schedule's start; `None` past the end.
    #[must_use]
    pub fn due(&self, direction: signature::Direction, k: u64) -> Option<u64> {
        let rate = u64::from(self.rate.max(1));
        let half = match direction {
            signature::Direction::Forward => 0,
            signature::Direction::Reverse => 500_000_000 / rate,
        };
        let due = self.first + half + k * 1_000_000_000 / rate;
        (due < self.last).then_some(due)
    }

    /// How many packets are due in a direction.
    #[must_use]
    pub fn count(&self, direction: signature::Direction) -> u64 {
        let span = self.last.saturating_sub(self.due(direction, 0).unwrap_or(self.last));
        let rate = u64::from(self.rate.max(1));
        // The smallest k with k * 1e9 / rate >= span, where the division rounds down.
        u64::try_from((u128::from(span) * u128::from(rate)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

/// What the generator reports at its end: lateness, skips, and what its TCP pairs went through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// Scheduled packets put in, both directions: UDP packets, and first attempts of TCP requests and responses.
    pub sent: u64,
    /// Packets that were due but skipped after a stall.
    pub skipped: u64,
    /// UDP packets of servers that were due before the server had seen a packet of its client.
    #[serde(default)]
    pub not_opened: u64,
    /// Packets that were due while the cluster's MAC was unknown, or while a TCP connection could not take them
    /// (refused, reset, or 64 rounds not acknowledged).
    #[serde(default)]
    pub unsendable: u64,
    /// Scheduled packets of the run that arrived intact at the right side, first attempts and others.
    #[serde(default)]
    pub received: u64,
    /// Worst lateness of a sent packet, ns.
    pub worst_late: u64,
    /// 99th percentile of lateness, ns.
    pub p99_late: u64,
    /// Frames received that were not the run's.
    pub foreign: u64,
    /// Signatures with a wrong hash.
    pub corrupt: u64,
    /// Frames that the receiving socket dropped.
    pub receive_drops: u64,
    /// Frames that the kernel did not take from it, by reason: the tester's own loss, not the cluster's.
    #[serde(default)]
    pub unsent: BTreeMap<String, u64>,
    /// Frames that arrived longer than its batch takes, and were thrown away.
    #[serde(default)]
    pub cut: u64,
    /// Frames that its ports sent and received in all, ARP and TCP's control segments among them.
    #[serde(default)]
    pub frames: u64,
    /// CPU time that its process used, ns.
    #[serde(default)]
    pub cpu_ns: u64,
    /// Each TCP flow's fate, in order of flow.
    pub tcp: Vec<TcpReport>,
}

/// One TCP flow at the end of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpReport {
    /// The flow.
    pub flow: u32,
    /// When the handshake was done, ns of CLOCK_MONOTONIC; 0 = never.
    pub established: u64,
    /// Rounds completed (request delivered, response delivered).
    pub rounds: u32,
    /// When the last round was completed, ns of CLOCK_MONOTONIC.
    pub last_round: u64,
    /// Retransmitted segments.
    pub retransmitted: u32,
    /// When a RST came, ns of CLOCK_MONOTONIC; 0 = never.
    pub reset: u64,
    /// Bytes arrived out of place or altered: the stream is not intact.
    pub broken: bool,
}
