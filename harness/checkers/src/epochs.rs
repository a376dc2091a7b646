//! Generations as taps heard them, and the epochs between their changes.

use std::collections::BTreeMap;

use scalebed_frame::control::Matrix;
use scalebed_frame::{Generation, Incarnation, MemberId, NodeId};
use scalebed_record::history::Heard;
use scalebed_record::{Fact, History};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::Architecture;

/// Packets within so many heartbeat units of a change belong to no epoch.
const MARGIN_UNITS: u64 = 2;

/// A heartbeat that a tap saw.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// When the tap saw it, ns.
    pub at: u64,
    /// When it was sent, by its own word, ns.
    pub sent: u64,
    /// Who sent it.
    pub from: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Accepted generation.
    pub accepted: Generation,
    /// Activated generation.
    pub activated: Generation,
    /// Digest of the accepted matrix.
    pub digest: u64,
    /// Claims the SMO (pivot) role.
    pub smo: bool,
}

/// The time of one generation.
#[derive(Clone, Debug)]
pub struct Epoch<'a> {
    /// Which.
    pub generation: Generation,
    /// First instant of which every ingress node had accepted it, ns.
    pub from: u64,
    /// First instant at which one had accepted a later one, or the end of the run.
    pub to: u64,
    /// Packets offered from here on are eligible.
    pub eligible_from: u64,
    /// Packets offered before here are eligible.
    pub eligible_to: u64,
    /// Its matrix, if a tap saw it.
    pub matrix: Option<&'a Matrix>,
}

/// What control frames told.
#[derive(Debug, Default)]
pub struct Agreement<'a> {
    /// Every heartbeat, in order of time.
    pub beats: Vec<Beat>,
    /// Every matrix, in order of time.
    pub matrices: Vec<(u64, &'a Matrix)>,
    /// When an ingress node first showed a generation, in order of time.
    pub changes: Vec<(u64, Generation)>,
    /// Epochs, in order; only those that some ingress node accepted.
    pub epochs: Vec<Epoch<'a>>,
}

impl<'a> Agreement<'a> {
    /// Reads the history. The run ends at `end` ns.
    pub fn of(lab: &Lab, history: &'a History, end: u64) -> Self {
        let mut agreement = Self::default();
        for entry in &history.entries {
            match &entry.fact {
                Fact::Heard(Heard::Heartbeat { from, incarnation, sent, accepted, activated, digest, smo, .. }) => {
                    let (from, incarnation, accepted) = (*from, *incarnation, *accepted);
                    let (at, sent, activated, digest, smo) = (entry.at, *sent, *activated, *digest, *smo);
                    let beat = Beat { at, sent, from, incarnation, accepted, activated, digest, smo };
                    agreement.beats.push(beat);
                }
                Fact::Heard(Heard::Matrix(matrix)) => agreement.matrices.push((entry.at, matrix)),
                _ => {}
            }
        }
        agreement.beats.sort_by_key(|beat| beat.at);
        agreement.matrices.sort_by_key(|(at, _)| *at);
        agreement.split(lab, end);
        agreement
    }

    /// Ingress nodes are the orchestrators; in ElasticXL whoever holds the pivot role.
    fn split(&mut self, lab: &Lab, end: u64) {
        let maestro = lab.architecture == Architecture::Maestro;
        // By ingress node, what it accepted and what it dealt by, and when; all pivots are one node. An orchestrator deals by
        // what it accepted; a pivot that waits for its members still deals by what was before.
        let mut newest: BTreeMap<(Option<NodeId>, bool), Generation> = BTreeMap::new();
        let mut firsts: BTreeMap<Generation, (u64, u64)> = BTreeMap::new();
        for beat in &self.beats {
            let (node, dealt) = match (maestro, beat.from) {
                (true, NodeId::Mho(_)) => (Some(beat.from), beat.accepted),
                (false, NodeId::Member(_)) if beat.smo => (None, beat.activated),
                _ => continue,
            };
            for (begins, generation) in [(true, beat.accepted), (false, dealt)] {
                let last = newest.entry((node, begins)).or_insert(Generation::NONE);
                if generation > *last {
                    *last = generation;
                    let span = firsts.entry(generation).or_insert((beat.at, beat.at));
                    *span = (span.0.min(beat.at), span.1.max(beat.at));
                }
            }
        }
        let margin = MARGIN_UNITS * u64::from(lab.group.unit_ms) * 1_000_000;
        let spans: Vec<(Generation, (u64, u64))> = firsts.into_iter().collect();
        for (index, (generation, (first, last))) in spans.iter().enumerate() {
            self.changes.push((*first, *generation));
            let next = spans.get(index + 1).map(|(_, (first, _))| *first);
            let to = next.unwrap_or(end);
            self.epochs.push(Epoch {
                generation: *generation,
                from: *last,
                to,
                eligible_from: last + margin,
                eligible_to: next.map_or(end, |next| next.saturating_sub(margin)),
                matrix: self.matrices.iter().find(|(_, matrix)| matrix.generation == *generation).map(|(_, m)| *m),
            });
        }
        self.changes.sort_by_key(|(at, _)| *at);
    }

    /// The epoch in which a packet that was offered at `at` is eligible.
    pub fn eligible(&self, at: u64) -> Option<usize> {
        self.epochs.iter().position(|epoch| (epoch.eligible_from..epoch.eligible_to).contains(&at))
    }

    /// The epoch that stood at `at`: the last one that began before it.
    pub fn before(&self, at: u64) -> Option<&Epoch<'a>> {
        self.epochs.iter().rev().find(|epoch| epoch.from < at)
    }

    /// Who claimed the SMO (pivot) role last before `at`.
    pub fn smo_at(&self, at: u64) -> Option<MemberId> {
        self.beats.iter().rev().find(|beat| beat.at < at && beat.smo).and_then(|beat| beat.from.member())
    }
}
