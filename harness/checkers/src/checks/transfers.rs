//! TCP of hosts through the cluster: the right bytes arrived.

use std::collections::BTreeSet;

use scalebed_record::{Fact, Verdict};

use super::Said;
use super::hosts::{families, family};
use crate::Checker;
use crate::evidence::Evidence;

/// Transfers between hosts: the kernel's TCP in namespaces, a small model in the simulated world.
pub struct Transfers;

impl Checker for Transfers {
    fn name(&self) -> &'static str {
        "kernel-transfers"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        if !evidence.scenario().kernel_transfers {
            return Vec::new();
        }
        let (mut count, mut bytes_in_all, mut wrong, mut seen) = (0u32, 0u64, Vec::new(), BTreeSet::new());
        for entry in &evidence.input.history.entries {
            if let Fact::Transfer { from, to, ipv6, bytes, intact, error, .. } = &entry.fact {
                count += 1;
                seen.insert(*ipv6);
                bytes_in_all += bytes;
                if !intact || error.is_some() {
                    let how = error.as_deref().unwrap_or("other bytes arrived");
                    wrong.push(format!("{from} to {to}, {bytes} bytes over {}: {how}", family(*ipv6)));
                }
            }
        }
        let missing = families(evidence).into_iter().find(|ipv6| !seen.contains(ipv6));
        let none = missing.map(|ipv6| format!("no transfer was made over {}", family(ipv6)));
        let whose = if evidence.input.world == "sim" { "the simulation's small TCP" } else { "the kernel's TCP" };
        let value = format!(
            "{count} transfers ({}), {bytes_in_all} bytes, {whose}",
            seen.into_iter().map(family).collect::<Vec<_>>().join(", ")
        );
        vec![Said::of("kernel-transfers", "the right bytes").value(value).fail_if(wrong).invalid_if(none).done()]
    }
}
