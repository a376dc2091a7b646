//! The `scalebed` command.
fn main() {}
