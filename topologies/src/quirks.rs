//! Rare and legal behaviour of nodes, switched on for a run: what a schedule of faults alone would seldom bring about.

use serde::{Deserialize, Serialize};

/// Which of them are on. All false in every real run; each is something that the rules allow a node at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Quirks {
    /// Every control message to one node goes out twice, as a cable might bring it.
    pub twice: bool,
    /// Heartbeats come up to a fifth of a unit late.
    pub waver: bool,
    /// The first Prepare of a generation is not answered, its repeat is: the first answer might have been lost.
    pub late_ack: bool,
    /// What is not answered is repeated twice a unit, not four times.
    pub slow_repeat: bool,
    /// A complete move is reported with the next heartbeat, not at once.
    pub late_report: bool,
    /// A sync message carries one item.
    pub narrow_sync: bool,
    /// Sync is acknowledged after 10 ms, not 5.
    pub slow_sync_ack: bool,
}

/// One of them: its name, and how to reach it.
pub type Quirk = (&'static str, fn(&mut Quirks) -> &mut bool);

impl Quirks {
    /// None of them.
    pub const NONE: Self = Self {
        twice: false,
        waver: false,
        late_ack: false,
        slow_repeat: false,
        late_report: false,
        narrow_sync: false,
        slow_sync_ack: false,
    };

    /// Every one, by name.
    pub const ALL: &[Quirk] = &[
        ("twice", |quirks| &mut quirks.twice),
        ("waver", |quirks| &mut quirks.waver),
        ("late-ack", |quirks| &mut quirks.late_ack),
        ("slow-repeat", |quirks| &mut quirks.slow_repeat),
        ("late-report", |quirks| &mut quirks.late_report),
        ("narrow-sync", |quirks| &mut quirks.narrow_sync),
        ("slow-sync-ack", |quirks| &mut quirks.slow_sync_ack),
    ];

    /// Those that are on, by name.
    #[must_use]
    pub fn names(mut self) -> Vec<&'static str> {
        Self::ALL.iter().filter(|(_, at)| *at(&mut self)).map(|(name, _)| *name).collect()
    }

    /// By name; `Err` is a name that none has.
    ///
    /// # Errors
    /// The first unknown name.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut quirks = Self::default();
        for name in names {
            let (_, at) = Self::ALL.iter().find(|(known, _)| *known == name).ok_or(name)?;
            *at(&mut quirks) = true;
        }
        Ok(quirks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_there_and_back() {
        for (name, _) in Quirks::ALL {
            let quirks = Quirks::named([*name]).unwrap();
            assert_ne!(quirks, Quirks::default());
            assert_eq!(quirks.names(), [*name]);
        }
        assert_eq!(Quirks::named(["waver", "wafer"]), Err("wafer"));
    }
}
