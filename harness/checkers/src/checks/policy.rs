//! S18: what the policy denies is never forwarded, in failover neither.

use scalebed_frame::Flow;
use scalebed_record::Verdict;
use scalebed_topologies::lab::Rule;

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
    rules.iter().find(|rule| rule.matches(flow)).is_some_and(|rule| rule.accept)
}
