//! What hosts do while a scenario runs: a long download, short requests, a session that is idle most of the time. Here is
//! what both worlds do alike; `threads` is the kernel's TCP, the simulated world has a small one of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_record::Fact;
use scalebed_record::history::HostRun;
use scalebed_topologies::scenario::HostTask;
use scalebed_traffic::host::{Call, Fetched, LINE, Pace, Says};

pub(super) mod threads;

/// Where servers listen.
const DOWNLOAD: u16 = 5_002;
const REQUESTS: u16 = 5_003;
const SESSION: u16 = 5_004;
/// A download comes at this pace: 1.2 Mbit/s.
const PACE: Pace = Pace { bytes: 14_600, every: Duration::from_millis(100) };
/// A request is answered with so many bytes.
const ANSWER: u64 = 4_096;
/// Between the beginnings of two requests.
const REQUEST_EVERY: Duration = Duration::from_millis(100);
/// A download has said all so long before the plan's end, and the last request begins: what an event held up can come.
const SLACK: Duration = Duration::from_secs(1);
/// A session says its last line so long before the plan's end.
const LAST_LINE: Duration = Duration::from_millis(500);
/// After the plan's end, so long is waited for what is under way.
pub(super) const LATE: Duration = Duration::from_secs(5);

/// What hosts do, and when, ns of the world's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// What: each over every family that the hosts have.
    pub tasks: Vec<HostTask>,
    /// They begin.
    pub from: u64,
    /// All should be done.
    pub until: u64,
}

/// One conversation that a client is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) task: HostTask,
    /// When it begins, ns.
    pub(super) at: u64,
    /// The server's address.
    pub(super) to: IpAddr,
    pub(super) port: u16,
    pub(super) says: Says,
    /// So much it must hear.
    pub(super) bytes: u64,
}

impl HostPlan {
    fn has(&self, task: HostTask) -> bool {
        self.tasks.contains(&task)
    }

    fn length(&self) -> Duration {
        Duration::from_nanos(self.until.saturating_sub(self.from)).saturating_sub(SLACK)
    }

    fn download(&self) -> u64 {
        let ticks = self.length().as_nanos() / PACE.every.as_nanos();
        PACE.bytes * u64::try_from(ticks).unwrap_or(1).max(1)
    }

    /// Services of the server, by port.
    pub(super) fn serves(&self) -> BTreeMap<u16, Says> {
        let all = [
            (HostTask::Download, DOWNLOAD, Says::Content { bytes: self.download(), pace: Some(PACE) }),
            (HostTask::Requests, REQUESTS, Says::Content { bytes: ANSWER, pace: None }),
            (HostTask::Session, SESSION, Says::Echo),
        ];
        all.into_iter().filter(|(task, ..)| self.has(*task)).map(|(_, port, says)| (port, says)).collect()
    }

    /// What the client begins at these addresses of the server, in order of time.
    pub(super) fn calls(&self, server: &[IpAddr]) -> Vec<Planned> {
        let mut all = Vec::new();
        let mut add = |task, at, port, says: &Says, bytes| {
            let call = |&to: &IpAddr| Planned { task, at, to, port, says: says.clone(), bytes };
            all.extend(server.iter().map(call));
        };
        if self.has(HostTask::Download) {
            add(HostTask::Download, self.from, DOWNLOAD, &Says::Nothing, self.download());
        }
        if self.has(HostTask::Session) {
            let last = self.until.saturating_sub(nanos(LAST_LINE)).max(self.from + 1);
            let says = Says::Lines(vec![Instant(self.from), Instant(last)]);
            add(HostTask::Session, self.from, SESSION, &says, 2 * LINE);
        }
        if self.has(HostTask::Requests) {
            let count = u64::try_from(self.length().as_nanos() / REQUEST_EVERY.as_nanos()).unwrap_or(1);
            for index in 0..count.max(1) {
                add(HostTask::Requests, self.from + index * nanos(REQUEST_EVERY), REQUESTS, &Says::Nothing, ANSWER);
            }
        }
        all
    }

    /// As the simulated world's client is told.
    pub(super) fn sim_calls(&self, server: &[IpAddr]) -> Vec<Call> {
        let call =
            |planned: Planned| Call { at: Instant(planned.at), to: planned.to, port: planned.port, says: planned.says };
        self.calls(server).into_iter().map(call).collect()
    }
}

/// Ports of conversations that go on for the whole run: who carries them is asked for.
pub(super) const LONG: [u16; 2] = [DOWNLOAD, SESSION];

/// What came of a conversation, as a fact.
pub(super) fn fact(planned: &Planned, [server, client]: &[String; 2], heard: Option<Fetched>) -> Fact {
    let error = match heard {
        None => Some("it was never begun"),
        Some(heard) if heard.reset => Some("it was reset"),
        Some(heard) if !heard.complete => Some("it stands still"),
        Some(_) => None,
    };
    Fact::Host(HostRun {
        task: planned.task.word().to_owned(),
        from: server.clone(),
        to: client.clone(),
        ipv6: planned.to.is_ipv6(),
        port: planned.port,
        began: heard.map_or(planned.at, |heard| heard.began.0),
        ended: heard.map_or(planned.at, |heard| heard.last.0),
        bytes: heard.map_or(0, |heard| heard.bytes),
        intact: heard.is_some_and(|heard| heard.intact && heard.bytes == planned.bytes),
        gap: heard.map_or(0, |heard| nanos(heard.gap)),
        error: error.map(str::to_owned),
    })
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
