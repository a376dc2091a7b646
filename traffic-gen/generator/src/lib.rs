//! The packet generator's process.
