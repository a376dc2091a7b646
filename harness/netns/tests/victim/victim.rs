//! Builds a lab with processes in it, over and over in small steps, until somebody kills it: `lifeline-victim RUN_DIR`.
//! The environment of its processes names the run directory, so that they can be told from all others.

use std::path::{Path, PathBuf};

use scalebed_netns::{Error, ProcessSpec, Sandbox, VethEnd};

/// Nodes of the lab, in a chain of cables.
const NODES: u8 = 6;

fn main() -> Result<(), Error> {
    let run_dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or_default());
    let mut sandbox = Sandbox::create(&run_dir)?;
    let mut processes = Vec::new();
    let mut last = sandbox.namespace("node-0")?;
    for node in 1..NODES {
        let ns = sandbox.namespace(&format!("node-{node}"))?;
        let end =
            |ns, name: &str, side| VethEnd { ns, name: name.to_owned(), mac: [2, 0, 0, 0, side, node], mtu: 1500 };
        sandbox.veth(&end(last, "next", 0), &end(ns, "previous", 1))?;
        sandbox.set_up(last, "next", true)?;
        sandbox.set_up(ns, "previous", true)?;
        processes.push(sandbox.spawn(ns, &sleeper(&run_dir))?);
        last = ns;
    }
    println!("built");
    loop {
        std::thread::park();
    }
}

fn sleeper(run_dir: &Path) -> ProcessSpec {
    ProcessSpec {
        program: "sleep".into(),
        args: vec!["600".to_owned()],
        env: vec![("SCALEBED_VICTIM".to_owned(), run_dir.to_string_lossy().into_owned())],
        stdout: run_dir.join("stdout.log"),
        stderr: run_dir.join("stderr.log"),
        fifo_priority: None,
    }
}
