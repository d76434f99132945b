//! terrace-crds
