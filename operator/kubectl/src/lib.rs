//! `kubectl terrace`: what Terrace's volumes and nodes are doing, and why. It reads and never writes.
//!
//! # Invariants
//! - What is printed is a pure function of what the API server returned and of one reading of the clock
//!   (`tests/tables.rs`).
//! - Every error names a remedy ([`fault::Fault`]).

pub mod args;
pub mod cluster;
pub mod fault;
pub mod find;
pub mod nodes;
pub mod run;
pub mod table;
pub mod volumes;
