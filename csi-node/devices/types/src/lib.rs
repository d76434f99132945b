//! terrace-device-types
