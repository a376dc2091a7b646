//! The table of learned MAC addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::Mac;

/// An address that was not seen for so long is forgotten (IEEE 802.1Q's recommended ageing time).
pub const AGEING: Duration = Duration::from_secs(300);
/// Addresses that the table holds.
pub const CAPACITY: usize = 8192;

/// Where an address is: all legs of the bond are one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the bond.
    Bond,
    /// Behind this port.
    Single(u16),
}

/// What learning an address came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It was there already, and is refreshed.
    Known,
    /// It is new.
    New,
    /// It moved here from another place.
    Moved,
    /// There is no room for it.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    seen: Instant,
}

/// MAC to place, each entry with the instant of its last frame.
#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<Mac, Entry>,
}

impl Table {
    /// `mac` sent a frame from `place`.
    pub fn learn(&mut self, mac: Mac, place: Place, now: Instant) -> Learned {
        if let Some(entry) = self.entries.get_mut(&mac) {
            let was = std::mem::replace(entry, Entry { place, seen: now });
            return if was.place == place { Learned::Known } else { Learned::Moved };
        }
        if self.entries.len() >= CAPACITY {
            self.entries.retain(|_, entry| now.since(entry.seen) < AGEING);
        }
        if self.entries.len() >= CAPACITY {
            return Learned::Full;
        }
        self.entries.insert(mac, Entry { place, seen: now });
        Learned::New
    }

    /// Where `mac` is, unless it is unknown or too old.
    #[must_use]
    pub fn find(&self, mac: Mac, now: Instant) -> Option<Place> {
        self.entries.get(&mac).filter(|entry| now.since(entry.seen) < AGEING).map(|entry| entry.place)
    }

    /// Forgets everything behind a single port.
    pub fn flush(&mut self, port: u16) {
        self.entries.retain(|_, entry| entry.place != Place::Single(port));
    }

    /// Addresses in the table, aged ones that were not swept yet among them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_makes_room_by_age_only() {
        let mut table = Table::default();
        let late = Instant(0) + AGEING;
        for number in 0..8192 {
            let seen = if number == 0 { Instant(0) } else { Instant(1) };
            assert_eq!(table.learn(Mac::host(number), Place::Bond, seen), Learned::New);
        }
        assert_eq!(table.learn(Mac::host(9000), Place::Bond, Instant(2)), Learned::Full);
        assert_eq!(table.find(Mac::host(9000), Instant(2)), None);
        assert_eq!(table.learn(Mac::host(9000), Place::Bond, late), Learned::New);
        assert_eq!(table.learn(Mac::host(9001), Place::Bond, late), Learned::Full);
    }
}
