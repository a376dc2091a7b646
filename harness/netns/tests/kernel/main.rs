//! Suites against the kernel. They build what they need and skip by name where that is not permitted.

mod cables;
mod common;
mod host;
mod ipv6;
mod lifeline;
mod processes;
mod taps;
