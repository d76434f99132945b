//! terrace-devices: every look at the host and every effect on it.
//!
//! `observe_*` functions look and change nothing; [`execute`] carries out one [`Step`](terrace_device_types::Step). All of it blocks, none of it
//! decides, and nothing here knows Kubernetes. Needs Linux 5.12 (`mount_setattr`), root and the capabilities of [`Capability`].
//!
//! # Invariants
//! - I1: [`execute`] destroys only what its own tag calls quarantined, and marks as quarantined only with a proof, unstaged, detached and under a write lease
//!   (`tests/destroy.rs`).
//! - I2: mkfs runs only behind a guard that reads latch, stage record and signature again (`tests/format.rs`).
//! - I4: a loop device is found by its file's device and inode, a disk by its number; a pool file is never replaced (`tests/life.rs`).
//! - I8: without [`Probe::Look`] no command is run, [`observe_facilities`] excepted.
//! - I10: tools are killed as a group at the deadline; system calls that can hang are given up; a freeze has a watchdog, and ends before the process does.

mod block;
mod bpffs;
mod btrfs;
mod clone;
mod deadline;
mod durable;
mod erase;
mod error;
mod execute;
mod facility;
mod freeze;
mod growth;
mod host;
mod image;
mod kernel;
mod kernel_log;
mod looped;
pub mod lvm;
mod mkfs;
mod mount;
mod mountinfo;
mod observe;
mod pool;
mod signature;
mod smart;
mod subvolume;
mod superblock;
mod sysfs;
mod tagged;
mod taken;
mod tool;
mod uevent;
mod usage;

pub use block::{observe_devices, probe_device};
pub use bpffs::mount_bpffs;
pub use deadline::Deadline;
pub use durable::replace_file_durably;
pub use error::DeviceError;
pub use execute::{execute, execute_here};
pub use facility::{Capability, Facilities, observe_facilities};
pub use freeze::end_freezes;
pub use host::{Host, observe_boot};
pub use kernel_log::{KernelLog, since_boot};
pub use mountinfo::observe_mounts;
pub use observe::{Probe, observe_images, observe_mounted, observe_unpublish, observe_volume};
pub use pool::observe_pool;
pub use smart::observe_smart;
pub use taken::observe_taken;
pub use uevent::Uevents;
pub use usage::{Usage, block_size, observe_usage};
