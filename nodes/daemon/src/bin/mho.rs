//! The `mho` process.

use std::process::ExitCode;

use scalebed_cluster::NodeConfig;

fn main() -> ExitCode {
    scalebed_daemon::main("mho", scalebed_orchestrator::Orchestrator::new, |config: &NodeConfig| {
        config.ports.as_slice().into()
    })
}
