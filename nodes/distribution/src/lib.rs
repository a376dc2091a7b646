//! THE hash: mode and fields of a packet to a key, a bucket, and its members; the matrix and how it is dealt again.

pub mod explain;
pub mod key;
pub mod matrix;

pub use explain::{Explanation, explain};
pub use key::{Facing, Key, Policy};
