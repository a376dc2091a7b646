//! What the connections of a member take of memory, and what sharing them cost.

use crate::Gateway;
use crate::counters::Count;

/// Sums over the connection table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Connections that this member owns.
    pub owned: usize,
    /// Copies of others'.
    pub copies: usize,
    /// Bytes of both with index and deadlines, room for growth among them. Not in it: tombstones, NAT ports in use, and the
    /// list of connections that are younger than the sync delay.
    pub bytes: usize,
}

impl Gateway {
    /// Walks the table: for benches, not for every packet.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let owned = self.table.iter().filter(|(_, connection)| self.owns(connection)).count();
        Footprint { owned, copies: self.table.len() - owned, bytes: self.table.bytes() }
    }

    /// Entries that were queued for other members, and bytes of all sync frames.
    #[must_use]
    pub fn sync_cost(&self) -> (u64, u64) {
        (self.counters.get(Count::SyncTxEntries), self.counters.get(Count::SyncTxBytes))
    }
}
