//! An `sgm` with a fault, for tests: which one stands in the file `fault` beside the program's link.

use std::path::Path;
use std::process::ExitCode;

use scalebed_cluster::NodeConfig;
use scalebed_frame::{MemberId, NodeId};
use scalebed_gateway::Gateway;
use scalebed_tests::mutants::{Fault, Mutant};
use scalebed_topologies::lab::NetworkRole;

fn main() -> ExitCode {
    scalebed_daemon::main("sgm", mutant, |config: &NodeConfig| config.ports.as_slice().into())
}

/// Only 1_03 is a mutant; the others are what they should be (a fault that never comes).
fn mutant(config: NodeConfig) -> Mutant<Gateway> {
    let outside = config.networks.iter().find(|network| network.role == NetworkRole::Outside).map(|network| network.id);
    let program = std::env::args().next().unwrap_or_default();
    let fault = std::fs::read_to_string(Path::new(&program).with_file_name("fault")).unwrap_or_default();
    let fault = match (fault.trim(), outside) {
        _ if config.id != NodeId::Member(MemberId::new(1, 3)) => Fault::DropOneIn(u64::MAX),
        ("leak", Some(outside)) => Fault::LeakOneIn { packets: 5000, outside },
        _ => Fault::DropOneIn(10_000),
    };
    Mutant::new(Gateway::new(config), fault)
}
