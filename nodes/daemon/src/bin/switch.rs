//! The `switch` process.

use std::process::ExitCode;

use scalebed_switch::{Config, Switch};

fn main() -> ExitCode {
    scalebed_daemon::main("switch", Switch::new, |config: &Config| config.ports.as_slice().into())
}
