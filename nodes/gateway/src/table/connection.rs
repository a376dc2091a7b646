//! A connection as a member holds it. Who was told stands inline: a million connections are the size of the table.

use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::sync::{ConnectionState, Entry, Version};
use scalebed_frame::{Bucket, Flow, Incarnation, MemberId, NetworkId};
use smallvec::SmallVec;

use crate::tracking::{Track, Way};

/// Somebody who was told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member: MemberId,
    pub(crate) life: Incarnation,
}

/// All who were told, in the order in which they were: nearly always nobody, the backup, or the backup and where answers
/// land.
pub(crate) type Tellings = SmallVec<[Told; 2]>;

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The tuple of the first packet as it arrived, and of answers as they arrive.
    pub(crate) forward: Flow,
    pub(crate) reverse: Flow,
    pub(crate) entered: NetworkId,
    pub(crate) left: NetworkId,
    pub(crate) owner: MemberId,
    pub(crate) life: Incarnation,
    /// Buckets of the forward and of the reverse tuple.
    pub(crate) bucket: Bucket,
    pub(crate) back: Bucket,
    pub(crate) version: Version,
    pub(crate) track: Track,
    pub(crate) born: Instant,
    pub(crate) expires: Instant,
    /// When those who were told must hear of it again, lest their copies expire first. Of a copy: when it came.
    pub(crate) refresh: Instant,
    /// Who has a copy, as far as the owner knows.
    pub(crate) told: Tellings,
}

impl Connection {
    /// Where packets of a direction come in, and where they leave.
    pub(crate) const fn networks(&self, way: Way) -> (NetworkId, NetworkId) {
        match way {
            Way::Forward => (self.entered, self.left),
            Way::Reverse => (self.left, self.entered),
        }
    }

    pub(crate) fn entry(&self, now: Instant) -> Entry {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        Entry {
            forward: self.forward,
            reverse: self.reverse,
            entered: self.entered,
            left: self.left,
            owner: self.owner,
            life: self.life,
            bucket: self.bucket,
            version: self.version,
            state: self.track.state,
            age_ms: ms(now.since(self.born)),
            expires_ms: ms(self.expires.since(now)),
        }
    }

    /// `back` is computed by the receiver: it has the same policy.
    pub(crate) fn of_entry(entry: &Entry, back: Bucket, now: Instant) -> Self {
        let age = u64::from(entry.age_ms) * 1_000_000;
        let expires = now + Duration::from_millis(entry.expires_ms.into());
        Self {
            forward: entry.forward,
            reverse: entry.reverse,
            entered: entry.entered,
            left: entry.left,
            owner: entry.owner,
            life: entry.life,
            bucket: entry.bucket,
            back,
            version: entry.version,
            track: Track { state: entry.state, closing: None },
            born: Instant(now.0.saturating_sub(age)),
            expires,
            refresh: now,
            told: Tellings::default(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.track.state == ConnectionState::Closed
    }
}
