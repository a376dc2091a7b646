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

/// What a flow does beside its rounds. Times in ns after the schedule's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Rounds from its first to its last.
    #[default]
    Steady,
    /// Rounds that would begin at or after `from` come later by the pause, `to - from`.
    Idle {
        /// Start of the pause.
        from: u64,
        /// Its end.
        to: u64,
    },
    /// TCP: no request is due at or after `at`; the client closes instead (RFC 9293, 3.6), and the server goes on alone.
    HalfClosed {
        /// The half close.
        at: u64,
    },
    /// TCP: the server takes so long to answer the SYN, and the client calls that much earlier.
    SlowHandshake {
        /// How long, ns.
        hold: u64,
    },
}

/// One flow. Packet k of a direction is due at `first + k * 1e9 / rate` (the reverse direction half an interval later),
/// unless its shape says otherwise.
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
    /// What it does beside.
    #[serde(default)]
    pub shape: Shape,
}

impl FlowSpec {
    /// Due time of packet `k` of a direction, ns after the schedule's start; `None` past the end.
    #[must_use]
    pub fn due(&self, direction: signature::Direction, k: u64) -> Option<u64> {
        let rate = u64::from(self.rate.max(1));
        let round = self.first + k * 1_000_000_000 / rate;
        let pause = match self.shape {
            Shape::Idle { from, to } if round >= from => to.saturating_sub(from),
            _ => 0,
        };
        let (half, last) = match (direction, self.shape) {
            (signature::Direction::Forward, Shape::HalfClosed { at }) => (0, self.last.min(at)),
            (signature::Direction::Forward, _) => (0, self.last),
            (signature::Direction::Reverse, _) => (500_000_000 / rate, self.last),
        };
        let due = round + half + pause;
        (due < last).then_some(due)
    }

    /// Where packet `k` of a direction would have been, had it gone on: TCP closes there.
    #[must_use]
    pub fn end(&self, direction: signature::Direction) -> u64 {
        let endless = Self { last: u64::MAX, shape: self.shape.endless(), ..*self };
        endless.due(direction, self.count(direction)).unwrap_or(self.last)
    }

    /// How many packets are due in a direction.
    #[must_use]
    pub fn count(&self, direction: signature::Direction) -> u64 {
        let span = u128::from(self.last.saturating_sub(self.first));
        let most = (span * u128::from(self.rate.max(1))).div_ceil(1_000_000_000) + 1;
        // Due times only rise: the first that is past the end is their number.
        let (mut low, mut high) = (0, u64::try_from(most).unwrap_or(u64::MAX));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(direction, middle).is_some() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Shape {
    /// Without an end of its own.
    const fn endless(self) -> Self {
        match self {
            Self::HalfClosed { .. } => Self::Steady,
            Self::Steady | Self::Idle { .. } | Self::SlowHandshake { .. } => self,
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpReport {
    /// The flow.
    pub flow: u32,
    /// When its first SYN went out, ns of CLOCK_MONOTONIC; 0 = never.
    #[serde(default)]
    pub opened: u64,
    /// When the handshake was done, ns of CLOCK_MONOTONIC; 0 = never.
    pub established: u64,
    /// When the client's FIN was acknowledged while the server went on, ns of CLOCK_MONOTONIC; 0 = never.
    #[serde(default)]
    pub half_closed: u64,
    /// When the server last learned that what it had sent arrived, ns of CLOCK_MONOTONIC; 0 = never.
    #[serde(default)]
    pub acknowledged: u64,
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
