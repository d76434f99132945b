//! `kubectl terrace`: what Terrace's volumes and nodes are doing, and why. It reads; what it changes, it changes in
//! [`orphan`] alone, and only what a person named by its UUID.
//!
//! # Invariants
//! - What is printed is a pure function of what the API server returned and of one reading of the clock
//!   (`tests/tables.rs`).
//! - Every error names a remedy ([`fault::Fault`]).

pub mod args;
pub mod ask;
pub mod audit;
pub mod cluster;
pub mod fault;
pub mod find;
pub mod forward;
pub mod histogram;
pub mod live;
pub mod measured;
pub mod nodes;
pub mod operations;
pub mod orphan;
pub mod orphans;
pub mod run;
pub mod screen;
pub mod table;
pub mod top;
pub mod volumes;
