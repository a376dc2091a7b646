//! Connection state on the wire: HyperSync, planned moves, queries, neighbour tables.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::flow::Flow;
use crate::ids::{Bucket, Generation, Incarnation, MemberId, NetworkId};
use crate::mac::Mac;

/// A numbered message of one sender's stream to one receiver, with the acknowledgement of the other direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncMessage {
    /// The receiver's life that the stream belongs to; a message for another life is dropped and counted.
    pub receiver: Incarnation,
    /// Number of this message, from 1; 0: nothing but an acknowledgement.
    pub sequence: u32,
    /// All messages up to here were applied.
    pub acknowledged: u32,
    /// Those behind `acknowledged` that were applied too: bit i = acknowledged + 1 + i.
    pub bitmap: u64,
    /// What it says.
    pub items: Vec<Item>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A connection as its owner sees it; apply iff newer.
    Entry(Entry),
    /// It ended; a versioned tombstone.
    Delete {
        /// Forward tuple.
        forward: Flow,
        /// Version of the end.
        version: Version,
    },
    /// A neighbour of a data network.
    Neighbour(Neighbour),
    /// "I start: send me neighbours, and my NAT ports that are still in use."
    Want,
    /// The end of the answer to `Want`.
    WantDone,
    /// NAT ports of the receiver's range that live connections of the sender still use.
    PortsInUse(Vec<u16>),
    /// "Who knows this tuple?" (an unknown packet that is not a first packet).
    Query(Flow),
    /// The answer to `Query`: the entry, or nothing.
    Answer {
        /// The tuple that was asked for.
        asked: Flow,
        /// What the asked member holds.
        entry: Option<Entry>,
    },
    /// All entries of the buckets that moved in `generation` were sent.
    MoveDone {
        /// The move.
        generation: Generation,
        /// How many entries.
        entries: u32,
    },
    /// In a planned move: an entry of another owner, for whom the previous owner of its bucket passes packets on.
    Kept(Entry),
}

/// Version of a connection entry; higher is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Generation counter when its owner last changed.
    pub generation: u32,
    /// Counts the owner's updates.
    pub counter: u32,
}

/// A connection, forward and reverse as one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The tuple of the first packet as it arrived.
    pub forward: Flow,
    /// The tuple of answers as they arrive (with hide NAT: to the NAT address and port).
    pub reverse: Flow,
    /// Network where the first packet entered.
    pub entered: NetworkId,
    /// Network where it left.
    pub left: NetworkId,
    /// Who owns it.
    pub owner: MemberId,
    /// In which life: a member that came back does not know what its last life owned.
    pub life: Incarnation,
    /// Bucket of the forward tuple.
    pub bucket: Bucket,
    /// Version.
    pub version: Version,
    /// State.
    pub state: ConnectionState,
    /// Age, ms (durations travel, instants don't: clocks differ).
    pub age_ms: u32,
    /// Time to live from now, ms.
    pub expires_ms: u32,
}

/// State of a connection, of TCP as tracked (RFC 9293 as a middlebox sees it), of others just seen one way or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// TCP: SYN seen.
    SynSent,
    /// TCP: SYN and SYN-ACK seen.
    SynReceived,
    /// TCP: handshake done. Others: both directions seen.
    Established,
    /// Others: only the first direction seen.
    OneWay,
    /// TCP: a FIN seen one way.
    HalfClosed,
    /// TCP: both FINs or a RST seen.
    Closed,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// On which network.
    pub network: NetworkId,
    /// Address.
    pub address: IpAddr,
    /// MAC.
    pub mac: Mac,
}
