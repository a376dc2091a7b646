//! From a failing case to a small one that fails the same invariant.

use std::time::{Duration, Instant};

use scalebed_cluster::Ablations;
use scalebed_topologies::fault::{Fault, Kind};
use scalebed_topologies::{Lab, Quirks};

use super::cases::{Case, FIRST_MS};
use super::trial;
use crate::exit::Failure;

/// Shrinking ends after this, with the smallest case so far.
const LIMIT: Duration = Duration::from_secs(60);

/// A small case, and how many runs it took to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The case.
    pub case: Case,
    /// Runs.
    pub runs: u32,
}

/// Shrinks a case that violates `invariant`: fewer faults, then simpler ones, then shorter and rounder times.
///
/// # Errors
/// The world broke.
pub fn shrink(lab: &Lab, case: &Case, invariant: &str, ablations: Ablations) -> Result<Shrunk, Failure> {
    let began = Instant::now();
    let mut shrunk = Shrunk { case: case.clone(), runs: 0 };
    loop {
        let mut smaller = None;
        for candidate in candidates(&shrunk.case) {
            if began.elapsed() > LIMIT {
                return Ok(shrunk);
            }
            shrunk.runs += 1;
            if trial::run(lab, &candidate, ablations)?.violated().contains(&invariant) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(case) => shrunk.case = case,
            None => return Ok(shrunk),
        }
    }
}

/// Smaller cases: of one family; without what nodes do rarely, all of it or one thing; then with smaller faults.
fn candidates(case: &Case) -> Vec<Case> {
    let mut candidates = Vec::new();
    if case.ipv6_percent > 0 {
        candidates.push(Case { ipv6_percent: 0, ..case.clone() });
    }
    if case.quirks != Quirks::NONE {
        candidates.push(Case { quirks: Quirks::NONE, ..case.clone() });
    }
    for (_, at) in Quirks::ALL {
        let mut quirks = case.quirks;
        if std::mem::take(at(&mut quirks)) && quirks != Quirks::NONE {
            candidates.push(Case { quirks, ..case.clone() });
        }
    }
    candidates.extend(smaller_ones(&case.faults).into_iter().map(|faults| Case { faults, ..case.clone() }));
    candidates
}

/// Candidates, the boldest first. Each is smaller in some measure that never grows back, so that shrinking ends.
fn smaller_ones(faults: &[Fault]) -> Vec<Vec<Fault>> {
    let mut candidates = Vec::new();
    if faults.len() > 1 {
        for index in 0..faults.len() {
            let mut fewer = faults.to_vec();
            fewer.remove(index);
            candidates.push(fewer);
        }
    }
    for (index, fault) in faults.iter().enumerate() {
        for simpler in simpler(fault) {
            let mut changed = faults.to_vec();
            changed[index] = simpler;
            candidates.push(changed);
        }
    }
    candidates
}

/// The same fault, shorter, earlier or rounder.
fn simpler(fault: &Fault) -> Vec<Fault> {
    let mut forms = Vec::new();
    let kinds: &[Kind] = match fault.kind {
        Kind::PowerOff => &[Kind::Kill],
        Kind::Isolate => &[Kind::Mute, Kind::Deafen],
        Kind::Loss(percent) if percent < 100 => &[Kind::BlackHole],
        Kind::BlackHole => &[Kind::CutToA, Kind::CutToB],
        Kind::Flap(_) => &[Kind::Unplug],
        Kind::Wan100ms => &[Kind::Delay(50)],
        Kind::Lossy => &[Kind::Burst(1), Kind::Loss(1), Kind::Jitter(2), Kind::Reorder(1), Kind::Duplicate(1)],
        _ => &[],
    };
    forms.extend(kinds.iter().map(|&kind| Fault { kind, ..fault.clone() }));
    for shorter in [fault.for_ms / 2, fault.for_ms / 100 * 100, fault.for_ms.saturating_sub(100)] {
        if shorter < fault.for_ms && shorter > 0 {
            forms.push(Fault { for_ms: shorter, ..fault.clone() });
        }
    }
    for earlier in [FIRST_MS, fault.at_ms / 100 * 100] {
        if earlier < fault.at_ms {
            forms.push(Fault { at_ms: earlier, ..fault.clone() });
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_smaller_and_come_to_an_end() {
        let fault = |at_ms, for_ms, kind| Fault { at_ms, for_ms, kind, target: "a".to_owned() };
        let mut faults = vec![fault(1777, 1234, Kind::PowerOff), fault(2345, 999, Kind::Loss(30))];
        let mut steps = 0;
        // Whoever takes the last candidate each time takes the smallest steps there are.
        while let Some(next) = smaller_ones(&faults).pop() {
            assert_ne!(next, faults);
            faults = next;
            steps += 1;
            assert!(steps < 1000, "{faults:?}");
        }
        assert_eq!(faults.len(), 1);
    }
}
