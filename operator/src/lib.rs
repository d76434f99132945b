//! terrace-operator
