//! F28: members that have little of something. What may be lost then is declared before the run; each loss is counted.

use scalebed_record::{Fact, Verdict};
use scalebed_topologies::fault::Full;

use crate::checks::Said;
use crate::evidence::Evidence;

/// Invariants that do not hold for flows that found no room.
pub(crate) const fn excused(full: Full) -> &'static [&'static str] {
    match full {
        Full::Connections => {
            &["control", "s17-known-at-once", "l05-flowing", "l05-connections", "l05-binding", "l03-backups"]
        }
        Full::NatPorts => &["control", "s17-known-at-once", "l05-flowing"],
        Full::Queues => &["control", "s17-known-at-once"],
    }
}

/// A run in which nothing was ever full says nothing.
pub(crate) fn exercised(evidence: &Evidence<'_>, full: Full) -> Verdict {
    let reasons: &[&str] = match full {
        Full::Connections => &["table-full"],
        Full::NatPorts => &["nat-ports-exhausted"],
        Full::Queues => &["queue-full", "sync_overflow"],
    };
    let mut count = 0;
    for entry in &evidence.input.history.entries {
        if let Fact::Counters { drops, counters, .. } = &entry.fact {
            count += reasons.iter().filter_map(|reason| drops.get(*reason).or(counters.get(*reason))).sum::<u64>();
        }
    }
    let never = if count == 0 { vec!["nothing was ever full".to_owned()] } else { Vec::new() };
    Said::of("f28-exercised", "something found no room, and was counted").fail_if(never).done()
}
