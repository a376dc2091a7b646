//! The wire process, which impaired cables go through. No node: it uses the shell that nodes have.

use std::process::ExitCode;

use scalebed_daemon::Interfaces;
use scalebed_port::Keeps;
use scalebed_wire::{Config, Wire};

fn main() -> ExitCode {
    // It carries a carrier over from one end to the other.
    let interfaces = |config: &Config| Interfaces { names: config.interfaces(), keeps: Keeps::Links };
    scalebed_daemon::main("wire", Wire::new, interfaces)
}
