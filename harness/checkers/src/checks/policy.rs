//! S18: what the policy denies is never forwarded, in failover neither.

use scalebed_record::Verdict;

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
        let (mut flows, mut offered, mut wrong) = ([0; 2], [0; 2], Vec::new());
        for flow in evidence.denied() {
            let family = usize::from(!evidence.schedule.flows[flow].forward.is_ipv4());
            flows[family] += 1;
            let sent = evidence.journeys(flow, 0).iter().filter(|journey| journey.offered != 0).count();
            offered[family] += sent;
            // An answer to what was never forwarded is as bad.
            for side in 0..2 {
                let passed = (0u32..).zip(evidence.journeys(flow, side)).find(|(_, journey)| journey.delivered != 0);
                if let Some((sequence, _)) = passed {
                    wrong.push(evidence.path(flow, side, sequence));
                }
            }
        }
        if flows == [0, 0] {
            return Vec::new();
        }
        let unsent = ["IPv4", "IPv6"].into_iter().zip(flows.iter().zip(offered));
        let unsent =
            unsent.filter(|(_, (flows, offered))| **flows > 0 && *offered == 0).map(|(family, _)| family).next();
        let nothing = unsent.map(|family| format!("nothing of {family} was sent that the policy denies"));
        vec![
            Said::of("s18-denied-is-never-forwarded", "0 packets")
                .value(format!(
                    "{} packets of {} flows ({} IPv6) offered",
                    offered[0] + offered[1],
                    flows[0] + flows[1],
                    flows[1]
                ))
                .fail_if(wrong)
                .invalid_if(nothing)
                .done(),
        ]
    }
}
