//! The ledger: what was put into each cable came out of it, to the last frame.

use std::collections::BTreeMap;

use scalebed_record::{Entry, Fact, Verdict};

use super::Said;
use crate::Checker;
use crate::evidence::Evidence;

/// What a cable's rules took and doubled, to b and to a.
const fn bent(entry: &Entry) -> Option<(u16, [(u64, u64); 2])> {
    match entry.fact {
        Fact::Taken { cable, a_to_b, b_to_a, doubled_a_to_b, doubled_b_to_a } => {
            Some((cable, [(a_to_b, doubled_a_to_b), (b_to_a, doubled_b_to_a)]))
        }
        _ => None,
    }
}

/// Every cable, both ways.
pub struct Ledger;

impl Checker for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn check(&self, evidence: &Evidence<'_>) -> Vec<Verdict> {
        vec![verdict(evidence)]
    }
}

/// Every cable, both ways: one verdict.
pub fn verdict(evidence: &Evidence<'_>) -> Verdict {
    let (mut cables, mut frames, mut dropped) = (0, 0, None);
    let mut open = Vec::new();
    let bent: BTreeMap<u16, _> = evidence.input.history.entries.iter().filter_map(bent).collect();
    for entry in &evidence.input.history.entries {
        match entry.fact {
            Fact::TapDrops { frames } => dropped = Some(dropped.unwrap_or(0) + frames),
            Fact::Ledger { cable, put_in_a, got_out_b, put_in_b, got_out_a } => {
                cables += 1;
                frames += put_in_a + put_in_b;
                let [to_b, to_a] = bent.get(&cable).copied().unwrap_or_default();
                let ways = [(put_in_a, got_out_b, to_b, "a to b"), (put_in_b, got_out_a, to_a, "b to a")];
                for (put_in, got_out, (taken, doubled), way) in ways {
                    if put_in + doubled != got_out + taken {
                        let name = evidence.lab().cables.get(usize::from(cable)).map_or("?", |c| c.name.as_str());
                        let bent = format!("{taken} taken, {doubled} doubled");
                        open.push(format!("{name} {way}: {put_in} put in, {got_out} got out, {bent}"));
                    }
                }
            }
            _ => {}
        }
    }
    let all = evidence.lab().cables.len();
    let reason = match dropped {
        None => Some("the taps' own drops are not known".to_owned()),
        Some(dropped) if dropped > 0 => Some(format!("taps dropped {dropped} frames")),
        Some(_) if cables < all => Some(format!("only {cables} of {all} cables have a ledger")),
        Some(_) if !open.is_empty() => Some(format!("the ledger does not close: {}", open.join("; "))),
        Some(_) => None,
    };
    let value = format!("{frames} frames on {cables} cables, {} unaccounted for", open.len());
    Said::of("ledger", "put in = got out on every cable, no tap drops").value(value).invalid_if(reason).done()
}
