//! terrace-probe: how long every operation on every volume took, measured in the kernel.
//!
//! [`loader`] is the edge to the kernel; all else is values in, values out. It mounts nothing, opens nothing inside a volume and
//! has no token for the API server.
//!
//! # Invariants
//! - I6: an operation is counted once and for one volume; what was not counted is counted as missed.
//! - I7: nothing here can hurt storage.

pub mod args;
pub mod aya_loader;
mod calls;
pub mod capability;
pub mod cgroup;
pub mod class;
mod facts;
pub mod host_proc;
pub mod ladder;
pub mod latency;
pub mod loader;
mod map_shape;
mod mapped;
mod maps;
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
pub mod otlp;
pub mod otlp_metrics;
pub mod own;
pub mod pages;
pub mod place;
pub mod place_directory;
pub mod program;
pub mod quantile;
mod record;
pub mod run;
pub mod run_settings;
pub mod run_volume;
pub mod run_watch;
mod self_test;
pub mod slots;
pub mod slow;
pub mod slow_buffer;
pub mod socket;
pub mod unattached;
pub mod window;

#[cfg(test)]
mod ladder_tests;
