//! terrace-node
