//! terrace-plan
