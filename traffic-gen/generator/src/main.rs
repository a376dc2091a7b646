//! The `traffic-gen` process.

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    scalebed_generator::run(&scalebed_generator::Options::parse())
}
