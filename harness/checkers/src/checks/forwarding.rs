//! What members do to packets: process exactly once, as a router must, and pass on unchanged (S3, S15).

use scalebed_record::Verdict;

use super::Said;
use crate::Checker;
use crate::evidence::Evidence;
use crate::journey::Breach;

/// Processing, double processing, loops.
pub struct Forwarding;

impl Checker for Forwarding {
    fn name(&self) -> &'static str {
        "forwarding"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        let (mut unlike, mut twice, mut looped) = (Vec::new(), Vec::new(), Vec::new());
        let (mut processed, mut hops) = (0u64, 0u8);
        let name = |member| evidence.places.name(member);
        for (flow, _) in evidence.flows() {
            for side in 0..2 {
                for (sequence, journey) in (0u32..).zip(evidence.journeys(flow, side)) {
                    processed += u64::from(journey.delivered != 0);
                    hops = hops.max(journey.hops);
                    let path = || evidence.path(flow, side, sequence);
                    match journey.breach {
                        None => {}
                        Some(Breach::FromNowhere(member)) => {
                            unlike.push(format!("{} emitted what never entered it: {}", name(member), path()));
                        }
                        Some(Breach::Ttl(member)) => {
                            unlike.push(format!("{} did not lower the hop limit by one: {}", name(member), path()));
                        }
                        Some(Breach::Altered(member)) => {
                            unlike.push(format!("{} altered what it passed on: {}", name(member), path()));
                        }
                        // Both of what a cable made of one.
                        Some(Breach::Twice(..) | Breach::Loop) if evidence.was_doubled(flow, side, sequence) => {}
                        Some(Breach::Twice(first, second)) => {
                            twice.push(format!("processed by {} and {}: {}", name(first), name(second), path()));
                        }
                        Some(Breach::Loop) => looped.push(path()),
                    }
                }
            }
        }
        let nothing = || (processed == 0).then(|| "no packet was processed".to_owned());
        vec![
            Said::of("processed-as-a-router", "hop limit - 1; corrections and handovers unchanged")
                .value(format!("{processed} packets processed, {} otherwise", unlike.len()))
                .fail_if(unlike)
                .invalid_if(nothing())
                .done(),
            Said::of("s03-processed-once", "each packet by one member, once")
                .value(format!("{processed} packets processed, {} twice", twice.len()))
                .fail_if(twice)
                .invalid_if(nothing())
                .done(),
            Said::of("s15-no-loop", "at most 2 hops, no tap twice")
                .value(format!("at most {hops} hops, {} loops", looped.len()))
                .fail_if(looped)
                .done(),
        ]
    }
}
