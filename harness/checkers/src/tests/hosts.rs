//! The judge of hosts: what may be lost, and what may not.

use scalebed_record::history::HostRun;
use scalebed_record::{Entry, Fact};
use scalebed_topologies::scenario::{HostTask, Outcome};

use super::cluster::{Mutant, Run, START, WARM_UP, run};
use super::{EVENT, caught, invalid, outcomes, passes};
use crate::evidence::MS;

fn host(task: HostTask, began: u64) -> HostRun {
    HostRun {
        task: task.word().to_owned(),
        from: "outside-1".to_owned(),
        to: "inside-1".to_owned(),
        ipv6: false,
        port: 5_002,
        began,
        ended: began + 5 * MS,
        bytes: 4_096,
        intact: true,
        gap: 0,
        error: None,
    }
}

/// A member is killed while all three tasks go on; `change` alters what came of one of their conversations.
fn hosts(task: HostTask, began: u64, change: impl Fn(&mut HostRun)) -> Run {
    let mut run = run("maestro/member-kill", Mutant::None);
    run.scenario.hosts = HostTask::ALL.map(|(_, task)| task).to_vec();
    let first = START + WARM_UP + 100 * MS;
    let families = |task| [false, true].map(|ipv6| HostRun { ipv6, ..host(task, first) });
    let mut all: Vec<HostRun> = HostTask::ALL.iter().flat_map(|(_, task)| families(*task)).collect();
    let mut one = host(task, began);
    change(&mut one);
    all.push(one);
    let at = run.history.entries.last().map_or(0, |entry| entry.at);
    run.history.entries.extend(all.into_iter().map(|host| Entry { at, fact: Fact::Host(host) }));
    run
}

fn lost(run: &mut HostRun) {
    (run.intact, run.bytes, run.error) = (false, 1_000, Some("it stands still".to_owned()));
}

#[test]
fn whole_conversations_pass_and_none_is_invalid() {
    let mut run = hosts(HostTask::Requests, EVENT, |_| {});
    let judgement = passes(&run);
    for check in ["hosts-download", "hosts-requests", "hosts-session"] {
        assert!(outcomes(&judgement).contains_key(check), "{check}");
    }
    // One family alone proves nothing of the other.
    run.history.entries.retain(|entry| !matches!(&entry.fact, Fact::Host(host) if host.task == "session" && host.ipv6));
    invalid(&run.judge(), "hosts-session");
}

#[test]
fn young_ones_may_be_lost_where_that_is_declared() {
    let second = 1_000 * MS;
    for began in [EVENT - second, EVENT + 100 * MS] {
        passes(&hosts(HostTask::Requests, began, lost));
    }
    // The member is back and all is well, or it had been synced long ago.
    for began in [EVENT + 3 * second, EVENT - 5 * second] {
        caught(&hosts(HostTask::Requests, began, lost).judge(), "hosts-requests");
    }
    caught(&hosts(HostTask::Download, EVENT - 5 * second, lost).judge(), "hosts-download");
    let other = |run: &mut HostRun| run.intact = false;
    caught(&hosts(HostTask::Session, EVENT - 5 * second, other).judge(), "hosts-session");
    let mut bounded = hosts(HostTask::Requests, EVENT - second, lost);
    bounded.scenario.events[0].outcome = Outcome::BoundedLoss;
    caught(&bounded.judge(), "hosts-requests");
}
