//! What every cable carries: ids, MAC schemes, frame views and builders, flow keys, the shim, our control and sync
//! messages, the probe signature, and a one-line rendering of any frame.
//!
//! The crate is pure: bytes in, values out. It knows formats, never what a node does with them.

pub mod build;
pub mod checksum;
mod codec;
pub mod control;
pub mod flow;
pub mod ids;
pub mod mac;
pub mod ndp;
pub mod pieces;
pub mod quote;
pub mod render;
pub mod rewrite;
pub mod shim;
pub mod signature;
pub mod sync;
pub mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcripts;

pub use flow::{Flow, Protocol};
pub use ids::{Bucket, DistributionMode, Generation, GroupId, Incarnation, MemberId, MhoId, NetworkId, NodeId, SiteId};
pub use mac::Mac;
pub use ndp::Ndp;
pub use quote::Quote;
pub use shim::{Kind, Shim};
pub use view::View;

/// A complete Ethernet frame without FCS, from the destination MAC on. Checksums inside are valid.
#[derive(Clone, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Frame(pub Vec<u8>);

impl Frame {
    /// The bytes, destination MAC first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be rewritten in place.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame[{}] {}", self.0.len(), render::line(&self.0))
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}
