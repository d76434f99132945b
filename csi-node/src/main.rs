//! terrace-node
fn main() {}
