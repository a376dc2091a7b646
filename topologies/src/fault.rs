//! A fault: what is broken, where, when and for how long. Plain data; worlds carry it out.

use scalebed_frame::NodeId;
use serde::{Deserialize, Serialize};

use crate::lab::{Cable, Lab, NodeKind};

/// What is broken. Numbers in the comments are those of the fault catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// F1, F2, F20: the process dies, its ports stay up; healed by a start.
    Kill,
    /// F1, F20: the process dies and its ports go down with it; healed by a start.
    PowerOff,
    /// F3: the process dies and is started at once, without its state.
    Restart,
    /// F31: one entry of the matrix in a node's memory becomes another. Nothing heals it but the node itself.
    Alter,
    /// F4, F5, F21: the process stands still; healed by letting it go on.
    Hang,
    /// F19: nothing that a node sends gets out; its carrier stands.
    Mute,
    /// F19: nothing comes to a node; its carrier stands.
    Deafen,
    /// F19: both.
    Isolate,
    /// F9, F10, F18: a cable without carrier.
    Unplug,
    /// F11: a cable that keeps its carrier and passes nothing.
    BlackHole,
    /// F12: as a black hole, for frames from end a to end b.
    CutToB,
    /// F12: the other way.
    CutToA,
    /// F13: so many frames of a hundred are lost, both ways.
    Loss(u8),
    /// F13: so many of a hundred are lost, in bursts of [`BURST`] in the mean, both ways.
    Burst(u8),
    /// F14: frames take so many ms longer, both ways.
    Delay(u16),
    /// F14: frames take up to twice so many ms longer, each another time, in their order, both ways.
    Jitter(u16),
    /// F14: so many of a hundred are held back for [`HELD_BACK_MS`], so that others overtake them, both ways.
    Reorder(u8),
    /// F15: so many of a hundred come out twice, both ways.
    Duplicate(u8),
    /// F15: one bit of so many of a hundred is flipped, both ways.
    Corrupt(u8),
    /// F15: so many of a hundred are cut short, to any length from an Ethernet header on, both ways.
    Truncate(u8),
    /// F16: no more than so many Mbit/s pass, behind a queue of [`QUEUE_MS`], both ways.
    Rate(u16),
    /// F17: unplugged for so many ms, plugged in for as many, again and again.
    Flap(u16),
    /// A network of one building: 0.1 ms each way.
    Lan,
    /// One of a town: 2 ms each way, 0.2 ms of jitter, one frame of 100,000 lost.
    Metro,
    /// One of a continent: 50 ms each way, 2 ms of jitter, one frame of 1,000 lost.
    #[serde(rename = "wan-100ms")]
    Wan100ms,
    /// A bad one: 5 ms each way, 2 ms of jitter, 1 % lost by themselves and 1 % in bursts, 0.5 % overtaken, 0.1 % doubled.
    Lossy,
}

/// Mean length of a burst, frames.
pub const BURST: u32 = 20;
/// For so long a frame is held back.
pub const HELD_BACK_MS: u64 = 2;
/// So long is the queue before a rate, full.
pub const QUEUE_MS: u64 = 20;

/// How kinds are written that do something to the frames of a cable.
pub const OF_FRAMES: &str = "black-hole, cut-to-a, cut-to-b, loss=PERCENT, burst=PERCENT, delay=MS, jitter=MS, \
                             reorder=PERCENT, duplicate=PERCENT, corrupt=PERCENT, truncate=PERCENT, rate=MBIT, \
                              lan, metro, wan-100ms, lossy";

/// What a fault names, and where it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The process of the node that is named.
    Process,
    /// Every cable of the node that is named.
    CablesOfNode,
    /// The cable that is named.
    Cable,
}

impl Kind {
    /// What it names, and where it is carried out.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::Kill | Self::PowerOff | Self::Restart | Self::Alter | Self::Hang => Reach::Process,
            Self::Mute | Self::Deafen | Self::Isolate => Reach::CablesOfNode,
            Self::Unplug
            | Self::BlackHole
            | Self::CutToB
            | Self::CutToA
            | Self::Loss(_)
            | Self::Burst(_)
            | Self::Delay(_)
            | Self::Jitter(_)
            | Self::Reorder(_)
            | Self::Duplicate(_)
            | Self::Corrupt(_)
            | Self::Truncate(_)
            | Self::Rate(_)
            | Self::Flap(_)
            | Self::Lan
            | Self::Metro
            | Self::Wan100ms
            | Self::Lossy => Reach::Cable,
        }
    }

    /// How much longer frames may take, ms.
    #[must_use]
    pub fn delay_ms(self) -> u64 {
        let does = self.impairment();
        let held = if does.held_back > 0 { HELD_BACK_MS } else { 0 };
        let queued = if does.mbit > 0 { QUEUE_MS } else { 0 };
        u64::from(does.delay_us + does.jitter_us).div_ceil(1_000) + held + queued
    }

    /// May a frame come out of the cable twice?
    #[must_use]
    pub fn doubles_frames(self) -> bool {
        self.impairment().doubled > 0
    }

    /// May a frame come out of the cable with other bytes?
    #[must_use]
    pub fn alters_frames(self) -> bool {
        let does = self.impairment();
        does.altered > 0 || does.truncated > 0
    }

    /// Of a node: does nothing of what it sends get out, and does nothing get to it?
    #[must_use]
    pub const fn silences(self) -> (bool, bool) {
        let (sends, gets) = (matches!(self, Self::Mute), matches!(self, Self::Deafen));
        let both = matches!(self, Self::Isolate);
        (sends || both, gets || both)
    }

    /// Does it pull a plug, once or often?
    #[must_use]
    pub const fn unplugs(self) -> bool {
        matches!(self, Self::Unplug | Self::Flap(_))
    }

    /// Can a frame that was sent be missing although sender and carrier stand?
    #[must_use]
    pub const fn takes_frames(self) -> bool {
        match self {
            Self::BlackHole
            | Self::CutToB
            | Self::CutToA
            | Self::Loss(_)
            | Self::Burst(_)
            | Self::Delay(_)
            | Self::Jitter(_)
            | Self::Reorder(_)
            | Self::Corrupt(_)
            | Self::Truncate(_)
            | Self::Rate(_)
            | Self::Metro
            | Self::Wan100ms
            | Self::Lossy
            | Self::Mute
            | Self::Deafen
            | Self::Isolate => true,
            Self::Kill
            | Self::PowerOff
            | Self::Restart
            | Self::Alter
            | Self::Hang
            | Self::Unplug
            | Self::Duplicate(_)
            | Self::Flap(_)
            | Self::Lan => false,
        }
    }
}

/// What a kind does to the frames of its cable, both ways unless said. Shares are of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Nothing gets from end a to end b.
    pub cut_to_b: bool,
    /// Nothing gets from end b to end a.
    pub cut_to_a: bool,
    /// Lost, each by itself.
    pub loss: u32,
    /// Lost in bursts of [`BURST`] in the mean.
    pub burst: u32,
    /// So much longer, microseconds.
    pub delay_us: u32,
    /// And up to so much less or more, microseconds.
    pub jitter_us: u32,
    /// Held back for [`HELD_BACK_MS`].
    pub held_back: u32,
    /// Come out twice.
    pub doubled: u32,
    /// One bit is flipped.
    pub altered: u32,
    /// Cut short.
    pub truncated: u32,
    /// No more than so many Mbit/s, behind a queue of [`QUEUE_MS`]; 0: as many as come.
    pub mbit: u16,
}

impl Impairment {
    /// Of two that stand at once: of each what hurts more.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let caps = [self.mbit, other.mbit].into_iter().filter(|mbit| *mbit > 0);
        Self {
            cut_to_b: self.cut_to_b || other.cut_to_b,
            cut_to_a: self.cut_to_a || other.cut_to_a,
            loss: self.loss.max(other.loss),
            burst: self.burst.max(other.burst),
            delay_us: self.delay_us.max(other.delay_us),
            jitter_us: self.jitter_us.max(other.jitter_us),
            held_back: self.held_back.max(other.held_back),
            doubled: self.doubled.max(other.doubled),
            altered: self.altered.max(other.altered),
            truncated: self.truncated.max(other.truncated),
            mbit: caps.min().unwrap_or(0),
        }
    }
}

/// A share in percent, of a million.
fn percent(share: u8) -> u32 {
    u32::from(share.min(100)) * 10_000
}

impl Kind {
    /// What it does to frames. Of a kind that does nothing to them, or cuts a whole node off: nothing.
    #[must_use]
    pub fn impairment(self) -> Impairment {
        let plain = Impairment::default();
        let us = |ms: u16| u32::from(ms) * 1_000;
        match self {
            Self::BlackHole => Impairment { cut_to_b: true, cut_to_a: true, ..plain },
            Self::CutToB => Impairment { cut_to_b: true, ..plain },
            Self::CutToA => Impairment { cut_to_a: true, ..plain },
            Self::Loss(share) => Impairment { loss: percent(share), ..plain },
            Self::Burst(share) => Impairment { burst: percent(share), ..plain },
            Self::Delay(ms) => Impairment { delay_us: us(ms), ..plain },
            Self::Jitter(ms) => Impairment { delay_us: us(ms), jitter_us: us(ms), ..plain },
            Self::Reorder(share) => Impairment { held_back: percent(share), ..plain },
            Self::Duplicate(share) => Impairment { doubled: percent(share), ..plain },
            Self::Corrupt(share) => Impairment { altered: percent(share), ..plain },
            Self::Truncate(share) => Impairment { truncated: percent(share), ..plain },
            Self::Rate(mbit) => Impairment { mbit, ..plain },
            Self::Lan => Impairment { delay_us: 100, ..plain },
            Self::Metro => Impairment { delay_us: 2_000, jitter_us: 200, loss: 10, ..plain },
            Self::Wan100ms => Impairment { delay_us: 50_000, jitter_us: 2_000, loss: 1_000, ..plain },
            Self::Lossy => Impairment {
                delay_us: 5_000,
                jitter_us: 2_000,
                loss: 10_000,
                burst: 10_000,
                held_back: 5_000,
                doubled: 1_000,
                ..plain
            },
            _ => plain,
        }
    }
}

/// Words that are no kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKind {
    /// What stands after `=` is no number that fits.
    #[error("{} is no number from 1 to {most}", crate::error::quoted(.0), most = .1)]
    Number(String, u16),
    /// No such word.
    #[error("no fault is written {}", crate::error::quoted(.0))]
    Word(String),
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    /// Reads what is written for a kind: its word, `kill`, or its word and a number, `loss=5`.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer, StrDeserializer};
        let unknown = |_: Error| UnknownKind::Word(text.to_owned());
        let Some((word, number)) = text.split_once('=') else {
            return Self::deserialize(StrDeserializer::new(text)).map_err(unknown);
        };
        let read = |number: u16| {
            let map = MapDeserializer::new(std::iter::once((word, number)));
            Self::deserialize(MapAccessDeserializer::new(map))
        };
        let kind = read(1).map_err(unknown)?;
        let most = kind.most();
        match number.parse() {
            Ok(number) if (1..=most).contains(&number) => read(number).map_err(unknown),
            _ => Err(UnknownKind::Number(number.to_owned(), most)),
        }
    }
}

impl Kind {
    /// The largest number that may be written with it.
    const fn most(self) -> u16 {
        match self {
            Self::Loss(_)
            | Self::Burst(_)
            | Self::Reorder(_)
            | Self::Duplicate(_)
            | Self::Corrupt(_)
            | Self::Truncate(_) => 100,
            _ => 10_000,
        }
    }
}

/// F28: what a member has little of for a whole run. Each says what may be lost then; all else must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Full {
    /// Connections, copies included. New ones may find no room; without a copy a connection ends with its owner.
    Connections,
    /// NAT ports. New ones may find none; those that have one go on.
    NatPorts,
    /// Items to be synced and frames that wait. Copies come late; a frame that finds no room is lost.
    Queues,
}

/// One fault. It is healed after `for_ms`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    /// When, ms after the warm-up.
    pub at_ms: u64,
    /// For how long.
    pub for_ms: u64,
    /// What.
    pub kind: Kind,
    /// Name of the node or cable.
    pub target: String,
}

impl Fault {
    /// When it is healed, ms after the warm-up. A restart needs no healing.
    #[must_use]
    pub const fn healed_ms(&self) -> u64 {
        match self.kind {
            Kind::Restart | Kind::Alter => self.at_ms,
            _ => self.at_ms + self.for_ms,
        }
    }

    /// What is done when: a cable that flaps is unplugged, and plugged in, again and again.
    #[must_use]
    pub fn steps(&self) -> Vec<Self> {
        let Kind::Flap(half) = self.kind else { return vec![self.clone()] };
        let half = u64::from(half.max(1));
        let begin = (0..self.for_ms.div_ceil(2 * half)).map(|turn| 2 * half * turn);
        let step = |after: u64| Self {
            at_ms: self.at_ms + after,
            for_ms: half.min(self.for_ms - after),
            kind: Kind::Unplug,
            target: self.target.clone(),
        };
        begin.map(step).collect()
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at_ms, for_ms, kind, target } = self;
        match kind {
            Kind::Restart => write!(f, "{at_ms} ms: restart {target}"),
            Kind::Alter => write!(f, "{at_ms} ms: alter the matrix of {target}"),
            Kind::Loss(percent) => write!(f, "{at_ms} ms: lose {percent} % on {target} for {for_ms} ms"),
            Kind::Burst(percent) => write!(f, "{at_ms} ms: lose {percent} % in bursts on {target} for {for_ms} ms"),
            Kind::Delay(ms) => write!(f, "{at_ms} ms: delay {target} by {ms} ms for {for_ms} ms"),
            Kind::Jitter(ms) => write!(f, "{at_ms} ms: jitter of {ms} ms on {target} for {for_ms} ms"),
            Kind::Reorder(percent) => write!(f, "{at_ms} ms: hold {percent} % back on {target} for {for_ms} ms"),
            Kind::Duplicate(percent) => write!(f, "{at_ms} ms: double {percent} % on {target} for {for_ms} ms"),
            Kind::Corrupt(percent) => write!(f, "{at_ms} ms: corrupt {percent} % on {target} for {for_ms} ms"),
            Kind::Truncate(percent) => write!(f, "{at_ms} ms: cut {percent} % short on {target} for {for_ms} ms"),
            Kind::Rate(mbit) => write!(f, "{at_ms} ms: {mbit} Mbit/s at most on {target} for {for_ms} ms"),
            Kind::Flap(ms) => write!(f, "{at_ms} ms: flap {target} every {ms} ms for {for_ms} ms"),
            _ => {
                let words = format!("{kind:?}").to_lowercase();
                write!(f, "{at_ms} ms: {words} {target} for {for_ms} ms")
            }
        }
    }
}

impl Lab {
    /// Nodes of the cluster that faults may hit: orchestrators and members.
    #[must_use]
    pub fn breakable_nodes(&self) -> Vec<(&str, NodeId)> {
        self.nodes.iter().filter_map(|node| Some((node.name.as_str(), node.kind.id()?))).collect()
    }

    /// Cables that faults may hit: those with an orchestrator or a member at an end. A host's or the generator's own cable
    /// is the tester's, not the cluster's.
    #[must_use]
    pub fn breakable_cables(&self) -> Vec<&Cable> {
        let of_cluster = |node: u16| self.nodes[usize::from(node)].kind.id().is_some();
        self.cables.iter().filter(|cable| of_cluster(cable.a.node) || of_cluster(cable.b.node)).collect()
    }

    /// What is wrong with a fault on this lab, if anything.
    #[must_use]
    pub fn refuse(&self, fault: &Fault) -> Option<String> {
        let target = &fault.target;
        if fault.kind.reach() == Reach::Cable {
            let known = self.breakable_cables().iter().any(|cable| cable.name == *target);
            (!known).then(|| format!("`{target}` is no cable of the cluster in {}", self.name))
        } else {
            let known = self.breakable_nodes().iter().any(|(name, _)| name == target);
            (!known).then(|| format!("`{target}` is no member or orchestrator of {}", self.name))
        }
    }

    /// The end of a cable whose port goes down when the cable is unplugged: never an orchestrator's uplink, which is the
    /// orchestrator's own to set, nor a host's, whose kernel forgets its routes with the port.
    #[must_use]
    pub fn unplugged_end(&self, cable: &Cable) -> crate::lab::End {
        let spared = |node: u16| matches!(self.nodes[usize::from(node)].kind, NodeKind::Mho(_) | NodeKind::Host(_));
        if spared(cable.a.node) { cable.b } else { cable.a }
    }
}
