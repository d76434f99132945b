//! The operator: it carries out what `terrace-plan` decides. It decides nothing itself and touches no node.
//!
//! Every replica serves the CSI Controller, writes intent and watches for the outcome; the elected leader
//! alone places volumes and reports on pools and policies.

pub mod apply;
pub mod args;
pub mod cache;
pub mod controller;
pub mod csi;
pub mod error;
pub mod events;
pub mod fault;
pub mod http;
pub mod leader;
pub mod method;
pub mod metrics;
pub mod promises;
pub mod queue;
pub mod reconcile;
pub mod run;
