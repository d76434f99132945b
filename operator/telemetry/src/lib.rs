//! terrace-telemetry
