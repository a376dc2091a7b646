//! The `switch` node process.
fn main() {}
