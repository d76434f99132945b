//! terrace-crds
fn main() {}
