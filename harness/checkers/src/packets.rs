//! Dense numbers for generated packets, and each packet's observations in order of time: a counting sort, so that a
//! packet's path is a slice.

use scalebed_frame::signature::Direction;
use scalebed_record::{FlowKind, Observation, Probe, Schedule};

/// Both directions, in the order of every `[_; 2]` of this crate.
pub const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// A direction's index.
pub const fn side(direction: Direction) -> usize {
    match direction {
        Direction::Forward => 0,
        Direction::Reverse => 1,
    }
}

/// The packets of a schedule.
#[derive(Debug)]
pub struct Packets {
    base: Vec<[u32; 2]>,
    count: Vec<[u32; 2]>,
    starts: Vec<u32>,
    order: Vec<u32>,
    /// Observations of signatures that the schedule does not know.
    pub unknown: u64,
}

impl Packets {
    /// Numbers every packet that the schedule knows and sorts observations by packet, each packet's in order of time.
    pub fn of(schedule: &Schedule, observations: &[Observation]) -> Self {
        let mut next = 0u32;
        let mut base = Vec::with_capacity(schedule.flows.len());
        let mut count = Vec::with_capacity(schedule.flows.len());
        for flow in &schedule.flows {
            let of = |direction| u32::try_from(flow.count(direction)).unwrap_or(u32::MAX / 4);
            let forward = of(Direction::Forward);
            // A TCP request may be due so late that its response falls behind the schedule's end.
            let late = if flow.kind == FlowKind::Tcp { forward } else { 0 };
            let reverse = of(Direction::Reverse).max(late);
            base.push([next, next.saturating_add(forward)]);
            count.push([forward, reverse]);
            next = next.saturating_add(forward).saturating_add(reverse);
        }
        let mut packets = Self { base, count, starts: vec![0; next as usize + 1], order: Vec::new(), unknown: 0 };
        packets.sort(observations);
        packets
    }

    fn sort(&mut self, observations: &[Observation]) {
        let numbers: Vec<Option<u32>> =
            observations.iter().map(|seen| seen.probe.map(|probe| self.number(&probe))).map(Option::flatten).collect();
        let signed = observations.iter().filter(|seen| seen.probe.is_some()).count();
        let mut starts = std::mem::take(&mut self.starts);
        for number in numbers.iter().flatten() {
            starts[*number as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let total = starts.last().copied().unwrap_or(0) as usize;
        self.unknown = (signed - total) as u64;
        let mut fill = starts.clone();
        let mut order = vec![0u32; total];
        for (index, number) in (0u32..).zip(&numbers) {
            if let Some(number) = number {
                let place = &mut fill[*number as usize];
                order[*place as usize] = index;
                *place += 1;
            }
        }
        for pair in starts.windows(2) {
            // Observations usually come in order of time; then this looks once and moves nothing.
            order[pair[0] as usize..pair[1] as usize].sort_by_key(|&index| observations[index as usize].at);
        }
        self.starts = starts;
        self.order = order;
    }

    fn number(&self, probe: &Probe) -> Option<u32> {
        let flow = probe.flow as usize;
        let side = side(probe.direction);
        let known = probe.sequence < self.count.get(flow)?[side];
        known.then(|| self.base[flow][side] + probe.sequence)
    }

    /// The number of packet `sequence` of a flow and direction; the caller keeps below [`Self::count`].
    pub fn id(&self, flow: usize, side: usize, sequence: u32) -> usize {
        (self.base[flow][side] + sequence) as usize
    }

    /// How many packets a direction of a flow has.
    pub fn count(&self, flow: usize, side: usize) -> u32 {
        self.count[flow][side]
    }

    /// Indexes of a packet's observations, in order of time.
    pub fn path(&self, packet: usize) -> &[u32] {
        &self.order[self.starts[packet] as usize..self.starts[packet + 1] as usize]
    }
}
