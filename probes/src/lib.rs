//! terrace-probe: how long every operation on every volume took, measured in the kernel.
//!
//! [`loader`] is the edge to the kernel; all else is values in, values out. It mounts nothing, opens nothing inside a volume and
//! has no token for the API server.
//!
//! # Invariants
//! - I6: an operation is counted once and for one volume; what was not counted is counted as missed.
//! - I7: nothing here can hurt storage.

pub mod class;
pub mod latency;
pub mod loader;
pub mod metrics_histogram;
pub mod quantile;
pub mod window;
pub mod cgroup;
pub mod mountinfo;
pub mod place;
pub mod names;
pub mod naming;
pub mod host_proc;
pub mod mountinfo_watch;
pub mod aya_loader;
mod calls;
mod facts;
pub mod ladder;
#[cfg(test)]
mod ladder_tests;
mod map_shape;
mod mapped;
mod maps;
pub mod program;
mod record;
mod self_test;
pub mod place_directory;
