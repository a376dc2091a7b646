//! Identities: who a frame speaks of, and the order of generations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A site, 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteId(pub u8);

/// A member of a Security Group: the SGM of Maestro, the member of ElasticXL. Prints and parses as `1_02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId {
    /// The site it stands on, 1 or 2.
    pub site: u8,
    /// Its number in the site, 1..=127.
    pub number: u8,
}

impl MemberId {
    /// Member `number` of site `site`.
    #[must_use]
    pub const fn new(site: u8, number: u8) -> Self {
        Self { site, number }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:02}", self.site, self.number)
    }
}

/// A text that is not the name of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a member id: write site_member, as in 1_02")]
pub struct IdError(pub String);

impl FromStr for MemberId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError(text.to_owned());
        let (site, number) = text.split_once('_').ok_or_else(bad)?;
        let site: u8 = site.parse().map_err(|_| bad())?;
        let number: u8 = number.parse().map_err(|_| bad())?;
        let fits = (1..=2).contains(&site) && (1..=127).contains(&number);
        if fits { Ok(Self { site, number }) } else { Err(bad()) }
    }
}

/// An orchestrator, 1..=4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MhoId(pub u8);

impl fmt::Display for MhoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mho{}", self.0)
    }
}

/// Whoever takes part in the agreement: a member or an orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeId {
    /// A member.
    Member(MemberId),
    /// An orchestrator.
    Mho(MhoId),
}

impl NodeId {
    /// One byte on the wire: 0 is nobody, 1..=127 members of site 1, 129..=191 members of site 2, 193..=255 MHOs.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Member(MemberId { site: 2, number }) => 128 + number.min(63),
            Self::Member(MemberId { number, .. }) => number.min(127),
            Self::Mho(MhoId(number)) => 192 + number.min(63),
        }
    }

    /// The node behind a byte of the wire; `None` for 0 and for the two unused codes 128 and 192.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1..=127 => Some(Self::Member(MemberId::new(1, code))),
            129..=191 => Some(Self::Member(MemberId::new(2, code - 128))),
            193..=255 => Some(Self::Mho(MhoId(code - 192))),
            0 | 128 | 192 => None,
        }
    }

    /// The member, if it is one.
    #[must_use]
    pub fn member(self) -> Option<MemberId> {
        match self {
            Self::Member(member) => Some(member),
            Self::Mho(_) => None,
        }
    }

    /// The orchestrator, if it is one.
    #[must_use]
    pub fn mho(self) -> Option<MhoId> {
        match self {
            Self::Mho(mho) => Some(mho),
            Self::Member(_) => None,
        }
    }
}

impl From<MemberId> for NodeId {
    fn from(member: MemberId) -> Self {
        Self::Member(member)
    }
}

impl From<MhoId> for NodeId {
    fn from(mho: MhoId) -> Self {
        Self::Mho(mho)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(member) => member.fmt(f),
            Self::Mho(mho) => mho.fmt(f),
        }
    }
}

/// A network of the lab (inside, outside, management, ...). 0 is the internal sync network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetworkId(pub u8);

impl NetworkId {
    /// The internal sync network: over the downlinks in Maestro, the sync interface in ElasticXL.
    pub const SYNC: Self = Self(0);
}

/// A Security Group, 1..=255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u8);

/// One life of a node: a restart, and a return from being fenced, take a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

/// A version of the matrix: (counter, author, author's incarnation), compared in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// Counts up with every change; 0 is "no matrix yet".
    pub counter: u32,
    /// The SMO or pivot that wrote it.
    pub author: MemberId,
    /// The life in which it wrote it.
    pub incarnation: Incarnation,
}

impl Generation {
    /// Before the first matrix; lower than every real generation.
    pub const NONE: Self = Self { counter: 0, author: MemberId::new(0, 0), incarnation: Incarnation(0) };
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{}", self.counter, self.author, self.incarnation.0)
    }
}

/// An index of the distribution matrix, 0..buckets (512 by default).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket(pub u16);

/// Which fields of a packet choose its bucket at the interface where it enters (domain terms of the vendor's guides).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistributionMode {
    /// Source and destination, mixed so that both directions give the same key.
    General,
    /// Destination (the interface faces users: internal).
    User,
    /// Source (the interface faces the network: external).
    Network,
    /// Each interface is `User` or `Network` by its topology.
    AutoTopology,
}
