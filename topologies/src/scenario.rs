//! A validated scenario: what runs on a lab, when what is broken, and what must come of it.

use scalebed_frame::{DistributionMode, MemberId, MhoId};
use serde::{Deserialize, Serialize};

use crate::Lab;
use crate::fault::{Impairment, Kind};

/// A validated scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// One sentence for the report.
    pub about: String,
    /// The lab's name.
    pub lab: String,
    /// Changes to the lab's group.
    pub overrides: Overrides,
    /// Members that are cabled but not started at first.
    pub absent: Vec<MemberId>,
    /// Offered load.
    pub traffic: Traffic,
    /// Length of the baseline before the first event, ms, counted from the end of the warm-up.
    pub baseline_ms: u64,
    /// Quiet time after the last event, ms.
    pub settle_ms: u64,
    /// Events, in order of time.
    pub events: Vec<Event>,
    /// What the run must show.
    pub expect: Expect,
    /// Also run kernel TCP transfers through the cluster.
    pub kernel_transfers: bool,
    /// What hosts do all the while.
    #[serde(default)]
    pub hosts: Vec<HostTask>,
}

/// What a host inside does with one outside from the baseline on, through all events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostTask {
    /// One long download.
    Download,
    /// Ten short ones a second, each a connection of its own.
    Requests,
    /// A connection on which a line goes and comes back at the beginning and at the end, and nothing between.
    Session,
}

impl HostTask {
    /// All, by word.
    pub const ALL: [(&str, Self); 3] =
        [("download", Self::Download), ("requests", Self::Requests), ("session", Self::Session)];

    /// Its word in scenarios and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Requests => "requests",
            Self::Session => "session",
        }
    }
}

impl Scenario {
    /// Its faults of cables.
    pub fn cable_faults(&self) -> impl Iterator<Item = &CableFault> {
        self.events.iter().filter_map(Event::cable_fault)
    }

    /// Nothing happens, for ever: what a lab that is used by hand begins with.
    #[must_use]
    pub fn idle(lab: &Lab) -> Self {
        Self {
            name: "live".to_owned(),
            about: "A lab that is used by hand.".to_owned(),
            lab: lab.name.clone(),
            overrides: Overrides::default(),
            absent: lab.absent.clone(),
            traffic: Traffic::small(lab),
            baseline_ms: 0,
            settle_ms: 0,
            events: Vec::new(),
            expect: Expect::default(),
            kernel_transfers: false,
            hosts: Vec::new(),
        }
    }
}

/// Changes to the lab's group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// Distribution mode.
    pub distribution: Option<DistributionMode>,
    /// Ports in the key.
    pub l4: Option<bool>,
    /// Switch the lab's hide NAT on (it is described in the lab) or off.
    pub hide_nat: Option<bool>,
    /// HA time unit, ms.
    pub unit_ms: Option<u32>,
    /// Delayed sync, ms.
    pub sync_delay_ms: Option<u32>,
}

/// Offered load: numbers of flows and packets a second each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// UDP probe flows.
    pub probes: u32,
    /// Their rate, packets a second each way.
    pub probe_rate: u32,
    /// Population flows, half UDP, half TCP.
    pub population: u32,
    /// Their rate.
    pub population_rate: u32,
    /// Share of the population that starts spread over the run instead of at its beginning, percent: young connections.
    pub young_percent: u32,
    /// Share of the other TCP flows that are idle, half closed or in their handshake when the first event comes, percent.
    #[serde(default)]
    pub states_percent: u32,
    /// UDP flows to [`Traffic::DENIED_PORT`], which the lab's policy must drop, at a quarter of the probes' rate.
    #[serde(default)]
    pub denied: u32,
    /// Share of the flows of each kind that is of IPv6, percent.
    #[serde(default)]
    pub ipv6_percent: u32,
}

impl Traffic {
    /// The small-machine profile of the measurement rules, of IPv4 alone.
    pub const SMALL: Self = Self {
        probes: 32,
        probe_rate: 200,
        population: 2_000,
        population_rate: 2,
        young_percent: 20,
        states_percent: 50,
        denied: 0,
        ipv6_percent: 0,
    };

    /// The small-machine profile on a lab: of both families where that has both.
    #[must_use]
    pub fn small(lab: &Lab) -> Self {
        Self { ipv6_percent: Self::usual_ipv6_percent(lab), ..Self::SMALL }
    }

    /// The share of IPv6 flows on a lab where nothing else is asked for: half, if it has IPv6.
    #[must_use]
    pub fn usual_ipv6_percent(lab: &Lab) -> u32 {
        if lab.has_ipv6() { 50 } else { 0 }
    }

    /// Where flows that are to be denied go: discard (RFC 863).
    pub const DENIED_PORT: u16 = 9;
}

/// Something done to the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, ms after the end of the baseline's start (the phase clock of the run).
    pub at_ms: u64,
    /// What.
    pub action: Action,
    /// Its declared outcome class.
    pub outcome: Outcome,
    /// Generations that it must make (by all its consequences).
    pub generations: u32,
}

impl Event {
    /// What it does to cables, if it does.
    #[must_use]
    pub const fn cable_fault(&self) -> Option<&CableFault> {
        match &self.action {
            Action::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// Is it done to whoever carries the hosts' long connections?
    #[must_use]
    pub const fn is_at_hosts_owner(&self) -> bool {
        use Action::{Hang, Kill, PowerOff, Start};
        let (Kill(target) | PowerOff(target) | Hang { target, .. } | Start(target)) = &self.action else {
            return false;
        };
        matches!(target, Target::HostsOwner)
    }

    /// When what it broke is mended, ms on the phase clock; of what stands until another event mends it: when it begins.
    #[must_use]
    pub const fn healed_ms(&self) -> u64 {
        match &self.action {
            Action::Fault(fault) => self.at_ms + fault.for_ms,
            _ => self.at_ms,
        }
    }
}

/// Cables that are broken or impaired for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CableFault {
    /// Of a node that is cut off: its index in the lab. Then these are all of its cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u16>,
    /// The cables, by their indexes in the lab.
    pub cables: Vec<u16>,
    /// What becomes of each of them; of several at once what hurts more.
    pub kinds: Vec<Kind>,
    /// For how long.
    pub for_ms: u64,
}

impl CableFault {
    /// What it does to frames, whichever cable of it they are on.
    #[must_use]
    pub fn impairment(&self) -> Impairment {
        self.kinds.iter().map(|kind| kind.impairment()).fold(Impairment::default(), Impairment::worse)
    }

    /// What it does to the frames of one of its cables: a node that is cut off is at one end of it.
    #[must_use]
    pub fn on(&self, lab: &Lab, cable: u16) -> Impairment {
        let at_a = |node| lab.cables.get(usize::from(cable)).is_some_and(|cable| cable.a.node == node);
        let silent = self.node.into_iter().flat_map(|node| {
            self.kinds.iter().map(move |kind| {
                let (sends, gets) = kind.silences();
                let (cut_to_b, cut_to_a) = if at_a(node) { (sends, gets) } else { (gets, sends) };
                Impairment { cut_to_b, cut_to_a, ..Impairment::default() }
            })
        });
        silent.fold(self.impairment(), Impairment::worse)
    }

    /// Does one of its kinds do this?
    pub fn some(&self, is: fn(Kind) -> bool) -> bool {
        self.kinds.iter().any(|kind| is(*kind))
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The process dies, the ports stay up.
    Kill(Target),
    /// The process dies and its ports go down with it.
    PowerOff(Target),
    /// The process is stopped, and woken after so many heartbeat units.
    Hang {
        /// Who.
        target: Target,
        /// For how many units.
        units: u32,
    },
    /// A process that was killed, powered off or absent is started.
    Start(Target),
    /// A downlink between a member and an orchestrator goes down (at the member's side).
    DownlinkDown {
        /// The member.
        member: MemberId,
        /// The orchestrator.
        mho: MhoId,
    },
    /// It comes back.
    DownlinkUp {
        /// The member.
        member: MemberId,
        /// The orchestrator.
        mho: MhoId,
    },
    /// Something happens to cables, and is over after a time.
    Fault(CableFault),
}

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A member by id.
    Member(MemberId),
    /// An orchestrator by id.
    Mho(MhoId),
    /// Whoever holds the SMO role then (ElasticXL: the pivot).
    Smo,
    /// Whoever an earlier event of this scenario hit.
    LastVictim,
    /// The member that carries the hosts' long connections then, as cables show it.
    HostsOwner,
}

/// Outcome class, declared before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Not one probe lost.
    NoLoss,
    /// Packets due in the gap are lost; every connection survives.
    BoundedLoss,
    /// As bounded loss, and connections younger than the sync delay on the victim are lost.
    YoungLost,
}

/// What the run must show beyond the standing rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Share of return packets of IPv4 flows corrected in steady state, by the symmetry algebra.
    pub corrected_return_share: Option<Share>,
    /// The same of IPv6 flows, which are never translated.
    #[serde(default)]
    pub corrected_return_share6: Option<Share>,
    /// Buckets that the last event must move, as a share of all.
    pub moved_share: Option<Share>,
    /// Full convergence of the first event at most this many units.
    pub convergence_units: Option<f64>,
    /// Full convergence of the first event at most this many ms.
    pub convergence_ms: Option<f64>,
}

/// An exact share: numerator and denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Above.
    pub of: u32,
    /// Below.
    pub total: u32,
}
