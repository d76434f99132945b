//! kubectl-terrace
fn main() {}
