//! What hosts did through the cluster while things happened: every byte came, but where a connection may be lost.

use scalebed_frame::{Kind, Protocol};
use scalebed_record::history::HostRun;
use scalebed_record::{Fact, Verdict};
use scalebed_topologies::lab::{NetworkRole, NodeKind};
use scalebed_topologies::scenario::{HostTask, Outcome};

use super::{Said, measure};
use crate::Checker;
use crate::events::{EDGE, Happening};
use crate::evidence::{Evidence, MS};
use crate::places::Role;

/// A connection is synced so long after the sync delay at the latest.
const SYNCED: u64 = 300 * MS;

/// One verdict a task.
pub struct Hosts;

impl Checker for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let tasks = &evidence.scenario().hosts;
        if tasks.is_empty() {
            return Vec::new();
        }
        let times: Vec<(&Happening, u64)> = evidence
            .happenings
            .iter()
            .map(|happening| {
                let full = measure(evidence, happening).full_ms.unwrap_or(0.0).max(0.0);
                (happening, happening.at + (full * MS as f64) as u64)
            })
            .collect();
        tasks.iter().map(|task| of_task(evidence, *task, &times)).collect()
    }
}

/// Families that hosts on both sides have: IPv4, and IPv6 or not.
pub(super) fn families(evidence: &Evidence<'_>) -> Vec<bool> {
    let lab = evidence.lab();
    let has = |role| {
        lab.role(role).is_some_and(|network| {
            lab.nodes.iter().any(|node| match &node.kind {
                NodeKind::Host(host) => host.network == network.id && host.address6.is_some(),
                _ => false,
            })
        })
    };
    let both = has(NetworkRole::Inside) && has(NetworkRole::Outside);
    [false, true].into_iter().filter(|ipv6| !ipv6 || both).collect()
}

/// Its name.
pub(crate) const fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}

fn of_task(evidence: &Evidence<'_>, task: HostTask, times: &[(&Happening, u64)]) -> Verdict {
    let runs: Vec<&HostRun> = evidence
        .input
        .history
        .entries
        .iter()
        .filter_map(|entry| match &entry.fact {
            Fact::Host(run) if run.task == task.word() => Some(run),
            _ => None,
        })
        .collect();
    let (mut lost, mut wrong) = (0u32, Vec::new());
    for run in runs.iter().filter(|run| !run.intact || run.error.is_some()) {
        if times.iter().any(|(happening, converged)| may_lose(evidence, run, happening, *converged)) {
            lost += 1;
        } else {
            let how = run.error.as_deref().unwrap_or("other bytes came");
            let (began, ended) = (evidence.ms(run.began), evidence.ms(run.ended));
            wrong.push(format!(
                "{} to {} ({}) from {began:.0} ms, last byte at {ended:.0} ms, {} bytes: {how}",
                run.from,
                run.to,
                family(run.ipv6),
                run.bytes
            ));
        }
    }
    let whose = if evidence.input.world == "sim" { "the simulation's small TCP" } else { "the kernel's TCP" };
    let value = format!("{}; {whose}", words(evidence, task, &runs, lost));
    let missing = families(evidence).into_iter().find(|ipv6| runs.iter().all(|run| run.ipv6 != *ipv6));
    let none = missing.map(|ipv6| format!("no host did it over {}", family(ipv6)));
    let limit = match task {
        HostTask::Requests => "every byte of each, but of those that an event may cost",
        HostTask::Download | HostTask::Session => "every byte",
    };
    Said::of(&format!("hosts-{}", task.word()), limit).value(value).fail_if(wrong).invalid_if(none).done()
}

/// Younger than the sync delay, and opened before all was well again: declared so before the run.
fn may_lose(evidence: &Evidence<'_>, run: &HostRun, happening: &Happening, converged: u64) -> bool {
    let delay = u64::from(evidence.lab().group.sync_delay_ms) * MS + SYNCED;
    happening.outcome == Outcome::YoungLost && run.began < converged + EDGE && happening.at < run.began + delay
}

fn words(evidence: &Evidence<'_>, task: HostTask, runs: &[&HostRun], lost: u32) -> String {
    let ms = |ns: u64| ns as f64 / MS as f64;
    match (task, runs) {
        (HostTask::Requests, _) => {
            let mut took: Vec<u64> =
                runs.iter().filter(|run| run.intact).map(|run| run.ended.saturating_sub(run.began)).collect();
            took.sort_unstable();
            let [half, most] =
                [took.len() / 2, took.len().saturating_sub(1)].map(|at| took.get(at).map_or(0.0, |ns| ms(*ns)));
            format!(
                "{} of {} whole, {lost} may be lost; p50 {half:.1} ms, longest {most:.0} ms",
                took.len(),
                runs.len()
            )
        }
        (HostTask::Download | HostTask::Session, _) => {
            let each = runs.iter().map(|run| {
                let carriers = carriers(evidence, run).join(", then ");
                let (family, gap) = (family(run.ipv6), ms(run.gap));
                format!("{} bytes over {family}, longest silence {gap:.0} ms, carried by {carriers}", run.bytes)
            });
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The members that sent packets of a conversation on, by its port and family, one after the other.
fn carriers(evidence: &Evidence<'_>, run: &HostRun) -> Vec<String> {
    let mut carriers: Vec<u8> = Vec::new();
    for seen in evidence.observations() {
        let Some(flow) = seen.flow.filter(|flow| flow.protocol == Protocol::TCP) else { continue };
        let data = seen.shim.is_none_or(|shim| shim.kind == Kind::Data);
        if let Role::Member(member) = evidence.places.at(seen.tap).from
            && data
            && [flow.src_port, flow.dst_port].contains(&run.port)
            && flow.src.is_ipv6() == run.ipv6
            && carriers.last() != Some(&member)
        {
            carriers.push(member);
        }
    }
    carriers.into_iter().map(|member| evidence.places.name(member)).collect()
}
