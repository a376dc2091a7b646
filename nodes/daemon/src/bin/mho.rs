//! The `mho` node process.
fn main() {}
