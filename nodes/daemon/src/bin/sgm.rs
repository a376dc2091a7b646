//! The `sgm` process.

use std::process::ExitCode;

use scalebed_cluster::NodeConfig;

fn main() -> ExitCode {
    scalebed_daemon::main("sgm", scalebed_gateway::Gateway::new, |config: &NodeConfig| config.ports.as_slice().into())
}
