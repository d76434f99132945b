//! terrace-probe: how long every operation on every volume took, measured in the kernel.
//!
//! [`loader`] is the edge to the kernel; all else is values in, values out. It mounts nothing, opens nothing inside a volume and
//! has no token for the API server.
//!
//! # Invariants
//! - I6: an operation is counted once and for one volume; what was not counted is counted as missed.
//! - I7: nothing here can hurt storage.

pub mod cgroup;
pub mod args;
pub mod capability;
pub mod otlp;
pub mod otlp_metrics;
pub mod slow;
pub mod slow_buffer;
pub mod socket;
pub mod pages;
pub mod own;
pub mod host_proc;
pub mod run;
pub mod run_settings;
pub mod run_volume;
pub mod run_watch;
pub mod slots;
pub mod class;
pub mod latency;
pub mod loader;
pub mod metrics;
pub mod metrics_alias;
pub mod metrics_histogram;
pub mod metrics_node;
pub mod metrics_page;
pub mod metrics_self;
pub mod metrics_text;
pub mod metrics_view;
pub mod metrics_volume;
pub mod mountinfo;
pub mod mountinfo_watch;
pub mod names;
pub mod naming;
pub mod place;
pub mod place_directory;
pub mod quantile;
pub mod window;
mod calls;
mod facts;
mod map_shape;
mod mapped;
mod maps;
mod record;
mod self_test;
pub mod aya_loader;
pub mod ladder;
pub mod program;

#[cfg(test)]
mod ladder_tests;
