//! The `pivot` process.

use std::process::ExitCode;

use scalebed_cluster::NodeConfig;

fn main() -> ExitCode {
    scalebed_daemon::main("pivot", scalebed_pivot::Pivot::new, |config: &NodeConfig| config.ports.as_slice().into())
}
