//! The `traffic-gen` process.
fn main() {}
