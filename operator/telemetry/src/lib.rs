//! Logs and traces of every Terrace program: one line a record on stderr, spans to a collector; and its heap kept small.
//!
//! It knows no Kubernetes and no CSI, and it never fails a call because tracing is off: without
//! `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is exported, [`inject`] answers `None` and
//! [`with_parent`] does nothing.

mod init;
mod memory;
mod traceparent;

pub use init::{Error, LogFormat, Telemetry, init};
pub use memory::give_memory_back;
pub use traceparent::{inject, with_parent};
