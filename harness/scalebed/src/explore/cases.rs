//! Which faults are tried, in which order: each alone on every role, then *when* around another one, then pairs, then at
//! random with a budget.

use scalebed_engine::Rng;
use scalebed_frame::NodeId;
use scalebed_topologies::fault::{Fault, Full, Kind};
use scalebed_topologies::lab::{Architecture, Cable, End, PortRole};
use scalebed_topologies::scenario::Traffic;
use scalebed_topologies::{Lab, Quirks};

use super::narrow;

/// When the first fault begins, ms after the warm-up: connections are then older than the sync delay.
pub const FIRST_MS: u64 = 1_500;
/// How long a fault stands where nothing else is said: long enough for everything that it causes.
const STANDS_MS: u64 = 1_500;

/// A set of faults to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Which stage of the exploration.
    pub stage: &'static str,
    /// General distribution with hide NAT instead of the lab's own: most return packets then need a correction.
    pub general: bool,
    /// What members have little of.
    pub full: Option<Full>,
    /// Rare and legal behaviour of nodes.
    pub quirks: Quirks,
    /// Share of the flows of each kind that is of IPv6, percent.
    pub ipv6_percent: u32,
    /// The faults.
    pub faults: Vec<Fault>,
    /// Seed of traffic and of what lossy cables lose.
    pub seed: u64,
}

impl Case {
    /// Of faults alone, and of IPv4 alone.
    #[must_use]
    pub const fn of(faults: Vec<Fault>) -> Self {
        Self { stage: "", general: false, full: None, quirks: Quirks::NONE, ipv6_percent: 0, faults, seed: 1 }
    }
}

/// Every case before the random ones, in order.
#[must_use]
pub fn systematic(lab: &Lab) -> Vec<Case> {
    let mut cases = Vec::new();
    for fault in alone(lab) {
        for general in [false, true] {
            cases.push(Case { stage: "alone", general, ..Case::of(vec![fault.clone()]) });
        }
    }
    for faults in timed(lab) {
        cases.push(Case { stage: "when", ..Case::of(faults) });
    }
    cases.extend(full(lab));
    cases.extend(quirks(lab));
    for faults in pairs(lab) {
        cases.push(Case { stage: "pairs", ..Case::of(faults) });
    }
    cases.iter_mut().for_each(|case| case.ipv6_percent = Traffic::usual_ipv6_percent(lab));
    cases
}

/// F28: little of everything, one at a time, in quiet and when connections must go elsewhere.
fn full(lab: &Lab) -> Vec<Case> {
    let mut cases = Vec::new();
    for full in [Full::Connections, Full::NatPorts, Full::Queues] {
        for fault in [
            fault(Kind::Hang, member(lab, 1), FIRST_MS, Times::of(lab).unit),
            fault(Kind::Restart, member(lab, 1), FIRST_MS, 0),
            fault(Kind::Kill, member(lab, 0), FIRST_MS, STANDS_MS),
        ] {
            // Queues fill when many connections must be told of at once.
            if full == Full::Queues && fault.kind == Kind::Hang {
                continue;
            }
            for general in [false, true] {
                cases.push(Case { stage: "full", general, full: Some(full), ..Case::of(vec![fault.clone()]) });
            }
        }
    }
    cases
}

/// Rare and legal behaviour, each alone, in what makes the agreement work.
fn quirks(lab: &Lab) -> Vec<Case> {
    let mut cases = Vec::new();
    for (_, at) in Quirks::ALL {
        let mut quirks = Quirks::NONE;
        *at(&mut quirks) = true;
        for fault in key_faults(lab, FIRST_MS) {
            for general in [false, true] {
                cases.push(Case { stage: "quirks", general, quirks, ..Case::of(vec![fault.clone()]) });
            }
        }
    }
    cases
}

/// The units that pauses and gaps are made of.
pub(super) struct Times {
    pub(super) unit: u64,
    pub(super) dead: u64,
}

impl Times {
    pub(super) fn of(lab: &Lab) -> Self {
        let unit = u64::from(lab.group.unit_ms);
        Self { unit, dead: unit * u64::from(lab.group.dead_units) }
    }

    /// Around a detection: at once, half of it, just it, twice.
    const fn gaps(&self) -> [u64; 4] {
        [0, self.dead / 2, self.dead, 2 * self.dead]
    }
}

pub(super) fn fault(kind: Kind, target: &str, at_ms: u64, for_ms: u64) -> Fault {
    Fault { at_ms, for_ms, kind, target: target.to_owned() }
}

/// Every fault alone on every role.
fn alone(lab: &Lab) -> Vec<Fault> {
    let times = Times::of(lab);
    let mut faults = Vec::new();
    for (name, _) in lab.breakable_nodes() {
        for kind in [Kind::Kill, Kind::PowerOff, Kind::Restart, Kind::Alter] {
            faults.push(fault(kind, name, FIRST_MS, STANDS_MS));
        }
        // One unit; between the self-fence and the dead timer; just beyond it; long.
        for pause in [times.unit, times.unit * 27 / 10, times.dead + times.unit / 5, 5 * times.unit] {
            faults.push(fault(Kind::Hang, name, FIRST_MS, pause));
        }
    }
    for (name, _) in lab.breakable_nodes() {
        for kind in [Kind::Mute, Kind::Deafen, Kind::Isolate] {
            for stands in [times.dead / 2, times.dead + times.unit / 2, STANDS_MS] {
                faults.push(fault(kind, name, FIRST_MS, stands));
            }
        }
    }
    for cable in lab.breakable_cables() {
        let kinds = [
            Kind::Unplug,
            Kind::BlackHole,
            Kind::CutToB,
            Kind::CutToA,
            Kind::Loss(30),
            Kind::Loss(80),
            Kind::Burst(20),
            Kind::Delay(20),
            Kind::Jitter(20),
            Kind::Reorder(20),
            Kind::Duplicate(20),
            Kind::Corrupt(5),
            Kind::Truncate(5),
            Kind::Rate(1),
            Kind::Flap(60),
            Kind::Flap(450),
            Kind::Wan100ms,
            Kind::Lossy,
        ];
        for kind in kinds {
            faults.push(fault(kind, &cable.name, FIRST_MS, STANDS_MS));
        }
    }
    faults
}

/// A role's name in this lab: the lowest member takes the SMO (pivot) role at boot.
pub(super) fn member(lab: &Lab, number: usize) -> &str {
    let members = lab.breakable_nodes().into_iter().filter(|(_, id)| matches!(id, NodeId::Member(_)));
    members.map(|(name, _)| name).nth(number).unwrap_or_default()
}

/// The key faults of this architecture, at an instant.
fn key_faults(lab: &Lab, at: u64) -> Vec<Fault> {
    let times = Times::of(lab);
    let (smo, plain, other) = (member(lab, 0), member(lab, 1), member(lab, 2));
    let mut keys = vec![
        fault(Kind::Kill, smo, at, STANDS_MS),
        fault(Kind::Kill, plain, at, STANDS_MS),
        fault(Kind::Hang, smo, at, 5 * times.unit),
        fault(Kind::Hang, other, at, times.dead + times.unit / 5),
        fault(Kind::Restart, plain, at, 0),
    ];
    let of = |name: &str| cables_of(lab, name);
    match lab.architecture {
        Architecture::Maestro => {
            keys.push(fault(Kind::PowerOff, "mho1", at, STANDS_MS));
            keys.push(fault(Kind::Hang, "mho2", at, 5 * times.unit));
            keys.extend(of(other).first().map(|cable| fault(Kind::BlackHole, &cable.name, at, STANDS_MS)));
        }
        Architecture::ElasticXl => {
            let sync =
                |name: &str| of(name).into_iter().find(|cable| is_sync(lab, cable)).map(|cable| cable.name.clone());
            keys.extend(sync(other).map(|name| fault(Kind::BlackHole, &name, at, STANDS_MS)));
            keys.extend(sync(smo).map(|name| fault(Kind::Unplug, &name, at, STANDS_MS)));
            keys.extend(of(smo).first().map(|cable| fault(Kind::CutToB, &cable.name, at, STANDS_MS)));
        }
    }
    keys
}

fn is_sync(lab: &Lab, cable: &Cable) -> bool {
    let port = |end: End| &lab.nodes[usize::from(end.node)].ports[usize::from(end.port)];
    [cable.a, cable.b].into_iter().any(|end| port(end).role == PortRole::Sync)
}

pub(super) fn cables_of<'a>(lab: &'a Lab, name: &str) -> Vec<&'a Cable> {
    let Some((node, _)) = lab.node(name) else { return Vec::new() };
    let at = |end: End| usize::from(end.node) == node;
    lab.cables.iter().filter(|cable| at(cable.a) || at(cable.b)).collect()
}

/// A second fault at each gap after the healing of the first: around joins and the matrix changes that they make.
fn timed(lab: &Lab) -> Vec<Vec<Fault>> {
    let mut cases = Vec::new();
    for first in key_faults(lab, FIRST_MS) {
        for gap in Times::of(lab).gaps() {
            let again = Fault { at_ms: first.healed_ms() + gap, ..first.clone() };
            cases.push(vec![first.clone(), again]);
        }
    }
    cases
}

/// Ordered pairs of the key faults, the second one so long after the first.
fn pairs(lab: &Lab) -> Vec<Vec<Fault>> {
    let mut cases = Vec::new();
    for first in key_faults(lab, FIRST_MS) {
        for gap in Times::of(lab).gaps() {
            for second in key_faults(lab, FIRST_MS + gap) {
                if second.target != first.target {
                    cases.push(vec![first.clone(), second]);
                }
            }
        }
    }
    cases
}

/// A random case: one to `budget` faults within a few seconds. The seed is all it depends on.
#[must_use]
pub fn random(lab: &Lab, seed: u64, budget: u64) -> Case {
    let mut rng = Rng::new(seed, "faults");
    let count = 1 + rng.below(budget.max(1));
    let mut faults: Vec<Fault> = (0..count).map(|_| one(lab, &mut rng)).collect();
    if rng.below(2) == 0 {
        faults.truncate(usize::from(rng.below(2) == 0));
        faults.extend(narrow::any(lab, &mut rng));
    }
    faults.extend(altered(lab, seed));
    faults.sort();
    let general = rng.below(3) == 0;
    let ipv6_percent = Traffic::usual_ipv6_percent(lab);
    Case { stage: "random", general, full: None, quirks: odd(seed), ipv6_percent, faults, seed }
}

/// In one case of eight a matrix is altered too.
fn altered(lab: &Lab, seed: u64) -> Option<Fault> {
    let mut rng = Rng::new(seed, "altered");
    let (name, _) = *pick(&lab.breakable_nodes(), &mut rng);
    let at = FIRST_MS + rng.below(2_000);
    (rng.below(8) == 0).then(|| fault(Kind::Alter, name, at, 0))
}

/// In every second case none, else each with a chance of a third.
fn odd(seed: u64) -> Quirks {
    // A stream of its own: the faults of a seed stay what they are.
    let mut rng = Rng::new(seed, "quirks");
    let mut quirks = Quirks::NONE;
    if rng.below(2) == 0 {
        for (_, at) in Quirks::ALL {
            *at(&mut quirks) = rng.below(3) == 0;
        }
    }
    quirks
}

fn one(lab: &Lab, rng: &mut Rng) -> Fault {
    let times = Times::of(lab);
    let at = FIRST_MS + rng.below(2_000);
    // Nodes and cables alike; what is rare in the field and hard on the agreement is tried more often.
    if rng.below(2) == 0 {
        let nodes = lab.breakable_nodes();
        let (name, _) = pick(&nodes, rng);
        let kinds = [
            Kind::Kill,
            Kind::PowerOff,
            Kind::Restart,
            Kind::Hang,
            Kind::Hang,
            Kind::Hang,
            Kind::Mute,
            Kind::Deafen,
            Kind::Isolate,
        ];
        let kind = *pick(&kinds, rng);
        let stands = if matches!(kind, Kind::Hang | Kind::Mute | Kind::Deafen | Kind::Isolate) {
            // From below a unit to beyond everything, most of them around the fence and the dead timer.
            times.unit / 2 + rng.below(4 * times.unit)
        } else {
            times.unit + rng.below(STANDS_MS)
        };
        return fault(kind, name, at, stands);
    }
    let cables = lab.breakable_cables();
    let cable = pick(&cables, rng);
    let kinds = [
        Kind::Unplug,
        Kind::BlackHole,
        Kind::CutToB,
        Kind::CutToA,
        Kind::CutToB,
        Kind::CutToA,
        Kind::Loss(30),
        Kind::Loss(70),
        Kind::Delay(5),
        Kind::Delay(120),
        Kind::Burst(30),
        Kind::Jitter(10),
        Kind::Reorder(20),
        Kind::Duplicate(10),
        Kind::Corrupt(3),
        Kind::Flap(90),
    ];
    fault(*pick(&kinds, rng), &cable.name, at, times.unit + rng.below(STANDS_MS))
}

pub(super) fn pick<'a, T>(from: &'a [T], rng: &mut Rng) -> &'a T {
    let place = usize::try_from(rng.below(from.len() as u64)).unwrap_or(0);
    &from[place]
}
