//! The node half of Terrace: serves the kubelet over CSI and keeps the node's pools and volumes as
//! the API asks.
//!
//! ```text
//!  kubelet -> csi/  -+                                            +-> terrace-devices (effects)
//!                    +-> runner: queue -> observe -> plan -> journal -> step, step, ...
//!  API     -> agent/-+                     (terrace-backends)      +-> report: status, Events
//! ```
//! # Invariants
//! - I1: nothing here makes a `DeletionProof` but `agent::deletion`, from its own reading of the PV.
//! - I3: `runner` writes the journal before the first step and after each one.
//! - I4: a volume is found by UUID and tag, through `inventory`; a name is only ever looked up in tags.
//! - I8: an idle node writes nothing: every writer compares with what it wrote last.
//! - I10: no wait without a deadline: `queue` has patience, `runner` a deadline for each step.

pub mod agent;
pub mod args;
pub mod audit;
pub mod context;
pub mod csi;
pub mod fault;
pub mod host;
pub mod host_lock;
pub mod http;
pub mod inventory;
pub mod journal;
pub mod metrics;
pub mod operation;
pub mod pools;
pub mod presence;
pub mod queue;
pub mod registration;
pub mod run;
pub mod runner;
