//! The `logstack` binary.
fn main() {}
