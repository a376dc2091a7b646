//! Why a frame was dropped.

use std::collections::BTreeMap;

/// A reason; its name is what operators read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drop {
    /// This orchestrator is fenced.
    Fenced,
    /// The sender is not admitted in that life: the fence.
    FencedSender,
    /// Not a frame of ours where only such may be.
    NoShim,
    /// A shim where plain frames belong.
    ShimOnUplink,
    /// Unicast to a MAC that is not the cluster's.
    NotOurs,
    /// It cannot be read: too short or cut short, or its shim is not as it was sent.
    Malformed,
    /// Neither IP nor ARP.
    NotIp,
    /// The checksum of its IPv4 header is wrong.
    BadChecksum,
    /// No matrix yet, or no SMO.
    NoMatrix,
    /// The last way is down.
    NoPath,
    /// A third hop.
    HopLimit,
    /// Data that no uplink brought and no member sends up.
    Misplaced,
    /// A control message that cannot be read.
    BadControl,
    /// Another Security Group's.
    ForeignGroup,
}

impl Drop {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Fenced, "fenced"),
        (Self::FencedSender, "fenced-sender"),
        (Self::NoShim, "no-shim"),
        (Self::ShimOnUplink, "shim-on-uplink"),
        (Self::NotOurs, "not-ours"),
        (Self::Malformed, "malformed"),
        (Self::NotIp, "not-ip"),
        (Self::BadChecksum, "bad-checksum"),
        (Self::NoMatrix, "no-matrix"),
        (Self::NoPath, "no-path"),
        (Self::HopLimit, "hop-limit"),
        (Self::Misplaced, "misplaced"),
        (Self::BadControl, "bad-control"),
        (Self::ForeignGroup, "foreign-group"),
    ];
}

/// Drops, counted by reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops([u64; Drop::ALL.len()]);

impl Drops {
    pub(crate) fn count(&mut self, reason: Drop) {
        self.0[reason as usize] += 1;
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason, those that never happened too: a zero is information.
    pub(crate) fn table(&self) -> BTreeMap<String, u64> {
        Drop::ALL.iter().map(|&(reason, name)| (name.to_owned(), self.0[reason as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Drop;

    #[test]
    fn names_stand_in_the_order_of_the_reasons() {
        for (place, (reason, _)) in Drop::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }
}
