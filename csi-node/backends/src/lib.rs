//! terrace-backends
