//! terrace-e2e
