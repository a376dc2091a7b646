//! The agreement in virtual time: members and orchestrators over queues that behave like the internal network.

mod cables;
mod envelopes;
mod faults;
mod joins;
mod paths;
mod ports;
mod reads;
mod safeguards;
mod world;
