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
    pub const fn delay_ms(self) -> u64 {
        match self {
            Self::Delay(ms) => ms as u64,
            Self::Jitter(ms) => 2 * ms as u64,
            Self::Reorder(_) => HELD_BACK_MS,
            Self::Rate(_) => QUEUE_MS,
            Self::Lan => 1,
            Self::Metro => 3,
            Self::Wan100ms => 52,
            Self::Lossy => 7 + HELD_BACK_MS,
            _ => 0,
        }
    }

    /// May a frame come out of the cable twice?
    #[must_use]
    pub const fn doubles_frames(self) -> bool {
        matches!(self, Self::Duplicate(_) | Self::Lossy)
    }

    /// May a frame come out of the cable with other bytes?
    #[must_use]
    pub const fn alters_frames(self) -> bool {
        matches!(self, Self::Corrupt(_))
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
