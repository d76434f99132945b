//! Plans carried out on this very host: real files, loop devices, filesystems. Needs root and the tools; each test cleans up after itself, also when it fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

mod bpffs;
mod copy;
mod dark;
mod destroy;
mod format;
mod freeze;
mod group;
mod life;
mod pool;
mod rig;
mod subvolume;
mod subvolume_crash;
mod subvolume_group;
