//! The `sgm` node process.
fn main() {}
