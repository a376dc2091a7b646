//! The `pivot` node process.
fn main() {}
