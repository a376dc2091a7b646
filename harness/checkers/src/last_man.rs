//! S14: a member that serves leaves for a soft reason only while another one serves: its own part is broken, and that other
//! one is better off. By what members declare, and by what was done to them.

use std::collections::BTreeMap;

use scalebed_record::history::Declared;
use scalebed_record::{Fact, Verdict};

use crate::checks::Said;
use crate::evidence::{Evidence, MS};

/// How members begin to say why they leave though they could serve: a port, or Sync, is theirs to give up for.
pub const SOFT: [&str; 2] = ["interface ", "Sync brings nothing"];

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
enum Service {
    /// It is Active.
    Serves,
    /// It is not since then. `soft`: it left by itself, and said so at once.
    Ended { at: u64, soft: bool },
}

/// That a member was killed, or had to stop, others learn when they have not heard it for the dead timer and a unit.
pub(crate) fn stays(evidence: &Evidence<'_>, delay_ms: u64) -> Verdict {
    let unnoticed = (u64::from(evidence.lab().group.dead_units) + 1) * evidence.unit() + delay_ms * MS;
    let mut members: BTreeMap<&str, Service> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in &evidence.input.history.entries {
        match &entry.fact {
            Fact::Declared { node, what: Declared::State(state), .. } if state == "active" => {
                members.insert(node, Service::Serves);
            }
            Fact::Declared { node, what: Declared::Fenced(reason), .. } => {
                let soft = SOFT.iter().any(|begin| reason.starts_with(begin));
                let company = members.iter().any(|(other, service)| {
                    let there = match *service {
                        Service::Serves => true,
                        Service::Ended { at, soft } => !soft && entry.at <= at + unnoticed,
                    };
                    *other != node && there
                });
                if soft && !company {
                    wrong.push(format!("at {:.1} ms {node} left, the last one: {reason}", evidence.ms(entry.at)));
                }
                members.insert(node, Service::Ended { at: entry.at, soft });
            }
            // It stops without a word.
            Fact::Operation { node, text, before, .. } if dies(text) => {
                if let Some(service @ Service::Serves) = members.get_mut(node.as_str()) {
                    *service = Service::Ended { at: *before, soft: false };
                }
            }
            _ => {}
        }
    }
    Said::of("s14-last-man", "nobody leaves for a soft reason as the last one that serves").fail_if(wrong).done()
}

/// `kill sgm-1-03`, or `1500 ms: poweroff sgm-1-03 for 1500 ms`.
fn dies(text: &str) -> bool {
    let what = text.split_once(" ms: ").map_or(text, |(_, what)| what);
    ["kill ", "power off ", "poweroff ", "restart "].iter().any(|how| what.starts_with(how))
}
