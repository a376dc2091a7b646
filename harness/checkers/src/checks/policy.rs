//! S18: what the policy denies is never forwarded, in failover neither.

use std::net::IpAddr;

use scalebed_frame::Flow;
use scalebed_record::Verdict;
use scalebed_topologies::lab::{Prefix, Rule};

use super::Said;
use crate::Checker;
use crate::evidence::Evidence;

/// Denied flows of the schedule. Most scenarios have none, and then there is nothing to say.
pub struct Denied;

impl Checker for Denied {
    fn name(&self) -> &'static str {
        "s18-denied-is-never-forwarded"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let rules = &evidence.lab().group.rules;
        let denied: Vec<usize> =
            evidence.flows().filter(|(_, spec)| !accepts(rules, &spec.forward)).map(|(flow, _)| flow).collect();
        if denied.is_empty() {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        for &flow in &denied {
            let passed = (0u32..).zip(evidence.journeys(flow, 0)).find(|(_, journey)| journey.delivered != 0);
            if let Some((sequence, _)) = passed {
                wrong.push(evidence.path(flow, 0, sequence));
            }
        }
        let value = format!("{} denied flows", denied.len());
        vec![Said::of("s18-denied-is-never-forwarded", "0 packets").value(value).fail_if(wrong).done()]
    }
}

/// The first match decides; no match drops.
fn accepts(rules: &[Rule], flow: &Flow) -> bool {
    let within = |prefix: Option<Prefix>, address: IpAddr| match (prefix, address) {
        (None, _) => true,
        (Some(prefix), IpAddr::V4(v4)) => prefix.contains(v4),
        (Some(_), IpAddr::V6(_)) => false,
    };
    let matches = |rule: &&Rule| {
        within(rule.src, flow.src)
            && within(rule.dst, flow.dst)
            && rule.protocol.is_none_or(|protocol| protocol == flow.protocol.0)
            && rule.dst_ports.is_none_or(|(low, high)| (low..=high).contains(&flow.dst_port))
    };
    rules.iter().find(matches).is_some_and(|rule| rule.accept)
}
