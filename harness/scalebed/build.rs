//! Tells the program the commit that it is built from. Without git, or outside a checkout, it says "unknown".

use std::process::Command;

fn main() {
    // Whatever moves HEAD appends to its log.
    println!("cargo::rerun-if-changed=../../.git/logs/HEAD");
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Some(output) = git.ok().filter(|output| output.status.success()) {
        println!("cargo::rustc-env=SCALEBED_COMMIT={}", String::from_utf8_lossy(&output.stdout).trim());
    }
}
