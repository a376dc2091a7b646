//! Schedule and TCP pair: the generator as an engine.
//!
//! It stands for many hosts on both sides of a cluster, and for client and server of every flow. Each packet carries
//! its signature, goes out at its due time, and comes back in at the other port, so loss, delay and order can be judged
//! packet by packet. What comes too late to be on time is skipped and counted, never sent in a burst.

mod config;
mod deal;
mod flows;
mod generator;
pub mod host;
mod lateness;
mod profile;
mod receive;
mod resolve;
mod send;
mod states;
mod tcp;

pub use config::{Config, Place, Side, Side6};
pub use generator::{DRAIN, Generator, STALL};
pub use profile::{Addresses, Profile, profile};

#[cfg(test)]
mod tests;
