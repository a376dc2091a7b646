//! The packet generator's process: a shell around the engine of traffic-gen/core, over two raw ports.

pub mod events;
pub mod pace;
