//! terrace-devices
