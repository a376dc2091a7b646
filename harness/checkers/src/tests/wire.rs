//! The way of one packet through the perfect cluster, tap by tap.

use scalebed_frame::shim::TO_UPLINK;
use scalebed_frame::signature::Direction;
use scalebed_frame::{Flow, Kind, Mac, NetworkId, NodeId, Shim};
use scalebed_record::{FlowSpec, Observation, Probe, TapId};
use scalebed_topologies::lab::Architecture;

use super::cluster::{Cluster, Connection, Mutant};
use crate::evidence::MS;
use crate::oracle::Oracle;

const HOP: u64 = 20_000;
/// A dead leg is found by its carrier.
const LEG_GAP: u64 = 30 * MS;

/// A frame on its way.
struct Wire {
    at: u64,
    ttl: u8,
    flow: Flow,
    probe: Probe,
    steps: Vec<Observation>,
}

impl Wire {
    fn step(&mut self, tap: TapId, shim: Option<Shim>) {
        self.at += HOP;
        self.steps.push(Observation {
            at: self.at,
            tap,
            length: 128,
            ttl: self.ttl,
            tcp_flags: 0,
            src: Mac::ZERO,
            shim,
            flow: Some(self.flow),
            probe: Some(self.probe),
        });
    }

    fn process(&mut self, flow: Flow, mutant: Mutant) {
        self.flow = flow;
        self.ttl -= u8::from(mutant != Mutant::TtlKept);
    }

    fn is(&self, flow: u32, sequence: u32) -> bool {
        (self.probe.flow, self.probe.sequence) == (flow, sequence)
    }
}

/// Where a packet goes.
struct Way {
    /// When it was offered.
    at: u64,
    enter: NetworkId,
    switch_in: String,
    switch_out: String,
    landed: usize,
    worker: usize,
    /// The tuple after processing.
    leaves: Flow,
}

impl Cluster {
    /// One attempt: true if it arrived.
    pub fn packet(&mut self, spec: &FlowSpec, probe: Probe, at: u64, state: Connection) -> bool {
        self.sent += 1;
        let mutant = self.mutant;
        let forward = probe.direction == Direction::Forward;
        let hidden = self.hidden(spec.forward, state.port);
        let leak = mutant == Mutant::NatLeak && probe.flow == 40;
        let of6 = !spec.forward.is_ipv4();
        let hidden = if mutant == Mutant::Translate6 && probe.flow == 42 {
            Flow { src: [0x2001, 2, 0, 1, 0, 0, 0, 1].into(), ..hidden }
        } else {
            hidden
        };
        let (enters, leaves) = match (forward, leak) {
            (true, true) => (spec.forward, spec.forward),
            (true, false) => (spec.forward, hidden),
            (false, _) => (hidden.reversed(), spec.forward.reversed()),
        };
        let (enter, leave) = if forward { ("inside", "outside") } else { ("outside", "inside") };
        let (mut landed, mut worker) = (self.dealt(spec, usize::from(!forward), at), state.owner);
        if mutant == Mutant::HardWired {
            landed = 0;
        } else if mutant == Mutant::Correct6 && of6 && !forward {
            landed = (worker + 1) % self.members.len();
        } else if !forward
            && probe.flow.is_multiple_of(5)
            && (mutant == Mutant::AsymmetricHash || mutant == Mutant::Split6 && of6)
        {
            landed = (worker + 1) % self.members.len();
            worker = landed;
        }
        let way = Way {
            at,
            enter: self.lab.networks.iter().find(|network| network.name == enter).unwrap().id,
            switch_in: format!("sw-{enter}"),
            switch_out: format!("sw-{leave}"),
            landed,
            worker,
            leaves,
        };
        let mut wire = Wire { at, ttl: 64, flow: enters, probe, steps: Vec::new() };
        wire.step(self.hop("generator", &way.switch_in), None);
        let through = match self.lab.architecture {
            Architecture::Maestro => self.through_maestro(&mut wire, &way, state.dead),
            Architecture::ElasticXl => self.through_elasticxl(&mut wire, &way, state.dead),
        };
        let whole = through && !self.hurts_another(&wire, &way);
        if whole {
            wire.step(self.hop(&way.switch_out, "generator"), None);
        }
        self.observations.append(&mut wire.steps);
        whole
    }

    fn through_maestro(&self, wire: &mut Wire, way: &Way, dead: bool) -> bool {
        let (mho, lost) = self.leg(wire, way);
        let (landed, worker) = (self.name(way.landed), self.name(way.worker));
        wire.step(self.hop(&way.switch_in, mho), None);
        if lost {
            return false;
        }
        wire.step(self.hop(mho, &landed), Some(self.shim(way, Kind::Data, 0, 0)));
        if dead || self.is_out(way.landed, way.at) {
            return false;
        }
        if landed != worker {
            let shim = Some(self.shim(way, Kind::Correction, 1, 0));
            wire.ttl -= u8::from(self.mutant == Mutant::AlteredOnTheWay);
            wire.step(self.hop(&landed, mho), shim);
            wire.step(self.hop(mho, &worker), shim);
        }
        if self.mutant == Mutant::Loop && wire.is(3, 90) {
            wire.step(self.hop(mho, &landed), Some(self.shim(way, Kind::Data, 0, 0)));
        }
        if self.is_out(way.worker, way.at) || self.drops() {
            return false;
        }
        wire.process(way.leaves, self.mutant);
        wire.step(self.hop(&worker, mho), Some(self.shim(way, Kind::Data, 0, TO_UPLINK)));
        if self.mutant == Mutant::ProcessTwice && wire.is(2, 50) {
            wire.step(self.hop(&worker, mho), Some(self.shim(way, Kind::Data, 1, TO_UPLINK)));
        }
        wire.step(self.hop(mho, &way.switch_out), None);
        true
    }

    fn through_elasticxl(&self, wire: &mut Wire, way: &Way, dead: bool) -> bool {
        let pivot = self.pivot(way.at);
        wire.step(self.hop(&way.switch_in, &self.name(pivot)), None);
        if dead || self.is_out(pivot, way.at) {
            return false;
        }
        let worker = self.name(way.worker);
        if way.worker != pivot {
            let shim = Some(self.shim(way, Kind::Handover, 0, 0));
            wire.step(self.hop(&self.name(pivot), "sw-sync"), shim);
            wire.step(self.hop("sw-sync", &worker), shim);
        }
        if self.is_out(way.worker, way.at) || self.drops() {
            return false;
        }
        wire.process(way.leaves, self.mutant);
        wire.step(self.hop(&worker, &way.switch_out), None);
        true
    }

    /// The orchestrator that a packet takes, and whether it is lost there. Later ones take the other.
    fn leg(&self, wire: &Wire, way: &Way) -> (&'static str, bool) {
        let both = ["mho1", "mho2"];
        let choice = usize::from(!wire.probe.flow.is_multiple_of(2));
        let Some((mho, only, from, to)) = self.leg else { return (both[choice], false) };
        let meant = only.is_none_or(|member| member == way.landed || member == way.worker);
        if usize::from(mho.0) != choice + 1 || !meant || !(from..to).contains(&way.at) {
            return (both[choice], false);
        }
        if way.at < from + LEG_GAP { (both[choice], true) } else { (both[1 - choice], false) }
    }

    /// The mutant that drops packets of others while one member is dead.
    fn hurts_another(&self, wire: &Wire, way: &Way) -> bool {
        self.mutant == Mutant::HurtOther
            && wire.probe.flow < 12
            && self.out.is_some_and(|(gone, from, _)| {
                let soon = from + 100 * MS..from + 120 * MS;
                gone != way.worker && gone != way.landed && soon.contains(&way.at)
            })
    }

    fn drops(&self) -> bool {
        match self.mutant {
            Mutant::DropOneIn(n) => self.sent % n == n / 2,
            Mutant::DropSegment => self.sent == self.segment,
            _ => false,
        }
    }

    fn is_out(&self, member: usize, at: u64) -> bool {
        self.out.is_some_and(|(gone, from, to)| gone == member && (from..to).contains(&at))
    }

    fn hidden(&self, flow: Flow, port: u16) -> Flow {
        Oracle::new(&self.lab).hidden_behind(&flow).map_or(flow, |src| Flow { src, src_port: port, ..flow })
    }

    fn shim(&self, way: &Way, kind: Kind, hop: u8, flags: u8) -> Shim {
        let target = NodeId::from(self.members[way.worker]).code();
        Shim { hop, flags, ingress: 1, target, ..Shim::new(kind, way.enter, self.lab.group.id) }
    }

    fn hop(&self, from: &str, to: &str) -> TapId {
        self.cables[&(from.to_owned(), to.to_owned())]
    }

    fn name(&self, member: usize) -> String {
        self.lab.by_id(self.members[member].into()).map(|(_, node)| node.name.clone()).unwrap()
    }
}
