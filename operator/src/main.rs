//! terrace-operator
fn main() {}
