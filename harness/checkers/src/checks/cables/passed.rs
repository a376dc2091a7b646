//! What passed cables, read from the taps at their ends and at the nodes before them.

use std::collections::BTreeSet;

use scalebed_record::{Fact, TapId};
use scalebed_topologies::fault::Impairment;
use scalebed_topologies::scenario::CableFault;

use crate::events::Happening;
use crate::evidence::{Evidence, MS};
use crate::losses::Loss;
use crate::numbers::quantile;
use crate::packets::DIRECTIONS;
use crate::places::Role;
use scalebed_record::history::Reordered;

/// What passed a cable one way in a time.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Frames of any kind that came out of it.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Packets of the generator that came to the node before it, and then out of it.
    pub(super) packets: u32,
    /// Of the same node, out of the fault's other cables: where a lost one was to go nobody can tell.
    pub(super) beside: u32,
    /// That came to the node before it, and nowhere after that.
    pub(super) lost: u32,
    /// That came out once more.
    pub(super) doubled: u32,
    /// From the node before it to its end, ms, sorted.
    pub(super) transits: Vec<f64>,
}

impl Passed {
    pub(super) fn median(&self) -> Option<f64> {
        (!self.transits.is_empty()).then(|| quantile(&self.transits, 0.5))
    }
}

/// Before, while, after: from, to.
pub(super) type Times = [(u64, u64); 3];

/// One way of a cable: its tap is at the end where frames come out.
#[derive(Debug)]
pub(super) struct Way {
    tap: TapId,
    /// Index of the node before it, in the lab.
    sender: u16,
    /// In each of the times.
    pub(super) passed: [Passed; 3],
}

impl Way {
    /// Its cable, by its index in the lab.
    pub(super) const fn cable(&self) -> u16 {
        self.tap.cable()
    }

    /// Is nothing to get through this way?
    pub(super) const fn is_cut(&self, does: &Impairment) -> bool {
        if self.tap.at_b() { does.cut_to_b } else { does.cut_to_a }
    }

    /// Frames that passed under rules that hold so many back at any time between, and those that were. `None`: none is to be,
    /// or it is not known.
    pub(super) fn reordered(
        &self,
        evidence: &Evidence<'_>,
        does: &Impairment,
        (from, to): (u64, u64),
    ) -> Option<[u64; 2]> {
        let decided = evidence.input.history.entries.iter().find_map(|entry| match &entry.fact {
            Fact::Decided(said) if TapId::new(said.cable, said.to_b) == self.tap => Some(said),
            _ => None,
        })?;
        let then = |time: &&Reordered| time.per_million == does.held_back && time.times.0 < to && time.times.1 >= from;
        let counts = decided
            .reordered
            .iter()
            .filter(then)
            .fold([0, 0], |[passed, held], time| [passed + time.passed, held + time.held_back]);
        (does.held_back > 0).then_some(counts)
    }

    /// `mho1>sgm-1-02`.
    pub(super) fn name(&self, evidence: &Evidence<'_>) -> String {
        let lab = evidence.lab();
        let cable = &lab.cables[usize::from(self.tap.cable())];
        let name = |node: u16| lab.nodes[usize::from(node)].name.as_str();
        format!("{}>{}", name(self.sender), name(cable.end(self.tap.at_b()).node))
    }
}

/// Packets that were lost for another reason: by flow, direction, number.
pub(super) type Others = BTreeSet<(usize, usize, u32)>;

/// Losses of events that are not `mine`.
pub(super) fn of_others(evidence: &Evidence<'_>, mine: impl Fn(Option<&Happening>) -> bool) -> Others {
    let excuse = |loss: &Loss| loss.excuse.and_then(|place| evidence.happenings.get(place));
    let others = evidence.losses.iter().filter(|loss| !mine(excuse(loss)));
    others.map(|loss| (loss.flow, loss.side, loss.sequence)).collect()
}

/// Both ways of every cable of a fault.
pub(super) fn ways(evidence: &Evidence<'_>, fault: &CableFault, times: &Times, others: &Others) -> Vec<Way> {
    let both = fault.cables.iter().flat_map(|cable| [true, false].map(|b| TapId::new(*cable, b)));
    let mut ways: Vec<Way> = both
        .filter_map(|tap| {
            let cable = evidence.lab().cables.get(usize::from(tap.cable()))?;
            let sender = cable.end(!tap.at_b()).node;
            Some(Way { tap, sender, passed: passed(evidence, tap, sender, times, others) })
        })
        .collect();
    let counts: Vec<_> =
        ways.iter().map(|way| (way.tap, way.sender, way.passed.each_ref().map(|time| time.packets))).collect();
    for way in &mut ways {
        let of_node = counts.iter().filter(|(tap, sender, _)| *tap != way.tap && *sender == way.sender);
        for (_, _, packets) in of_node {
            way.passed.iter_mut().zip(packets).for_each(|(time, packets)| time.beside += packets);
        }
    }
    ways
}

/// Reads the taps: the one at the cable's end, and those at the node before it.
fn passed(evidence: &Evidence<'_>, out: TapId, sender: u16, times: &Times, others: &Others) -> [Passed; 3] {
    let cables = &evidence.lab().cables;
    let reader = Reader {
        evidence,
        out,
        at_sender: cables.iter().flat_map(|cable| [false, true].map(|b| cable.end(b).node == sender)).collect(),
        from_sender: cables.iter().flat_map(|cable| [true, false].map(|b| cable.end(b).node == sender)).collect(),
        times,
    };
    let mut passed: [Passed; 3] = Default::default();
    for seen in evidence.observations().iter().filter(|seen| seen.tap == out) {
        if let Some(when) = reader.when(seen.at) {
            passed[when].frames += 1;
            passed[when].bytes += u64::from(seen.length);
        }
    }
    for (flow, _) in evidence.flows() {
        for side in 0..DIRECTIONS.len() {
            for sequence in 0..evidence.packets.count(flow, side) {
                let path = evidence.packets.path(evidence.packets.id(flow, side, sequence));
                let reached = reader.follow(path, &mut passed);
                if !others.contains(&(flow, side, sequence)) {
                    reader.lost(path, &reached, &mut passed);
                }
            }
        }
    }
    for time in &mut passed {
        time.transits.sort_by(f64::total_cmp);
    }
    passed
}

/// A packet that came to the node before the cable.
struct Reached {
    attempt: u8,
    at: u64,
    /// It was seen to leave that node.
    gone: bool,
}

struct Reader<'a> {
    evidence: &'a Evidence<'a>,
    /// The tap where frames come out of the cable.
    out: TapId,
    /// By tap: does it sit at the node before the cable?
    at_sender: Vec<bool>,
    /// By tap: does it see what that node sends?
    from_sender: Vec<bool>,
    times: &'a Times,
}

impl Reader<'_> {
    fn when(&self, at: u64) -> Option<usize> {
        self.times.iter().position(|(from, to)| (*from..*to).contains(&at))
    }

    /// Follows a packet to the node before the cable, and out of it.
    fn follow(&self, path: &[u32], passed: &mut [Passed; 3]) -> Vec<Reached> {
        let mut reached: Vec<Reached> = Vec::new();
        for &index in path {
            let seen = &self.evidence.observations()[index as usize];
            let attempt = seen.probe.map_or(0, |probe| probe.attempt);
            let is = |taps: &[bool]| taps.get(usize::from(seen.tap.0)).copied().unwrap_or(false);
            if is(&self.at_sender) {
                reached.push(Reached { attempt, at: seen.at, gone: false });
            }
            // Further on it says nothing more: the first of two copies is seen there while the second one still waits.
            if !is(&self.from_sender) {
                continue;
            }
            // What a cable before this one doubled came twice: the first that has not gone on goes on.
            let waits = reached.iter().position(|one| one.attempt == attempt && !one.gone);
            let Some(place) = waits.or_else(|| reached.iter().rposition(|one| one.attempt == attempt)) else {
                continue;
            };
            let one = &mut reached[place];
            one.gone = true;
            let Some(when) = self.when(one.at).filter(|_| seen.tap == self.out) else { continue };
            if waits.is_some() {
                passed[when].packets += 1;
                passed[when].transits.push((seen.at - one.at) as f64 / MS as f64);
            } else {
                passed[when].doubled += 1;
            }
        }
        reached
    }

    /// Counts what did not go on. A switch that floods shows a packet to nodes that let it be: it is lost only if it did not
    /// arrive.
    fn lost(&self, path: &[u32], reached: &[Reached], passed: &mut [Passed; 3]) {
        let arrived = |attempt: u8| {
            path.iter().map(|index| &self.evidence.observations()[*index as usize]).any(|seen| {
                matches!(self.evidence.places.at(seen.tap).to, Role::Generator(_))
                    && seen.probe.is_some_and(|probe| probe.attempt == attempt)
            })
        };
        for one in reached.iter().filter(|one| !one.gone) {
            if let Some(when) = self.when(one.at).filter(|_| !arrived(one.attempt)) {
                passed[when].lost += 1;
            }
        }
    }
}
