//! LVM's host side: volume groups, logical volumes and thin pools, by `lvm` with a configuration of our own, by the labels on the devices and by
//! device-mapper's ioctls. Everything blocks; nothing decides.
//!
//! # What holds
//! - `lvm` sees the devices that a call names and no other: a foreign group of the same name on another device is not there for it.
//! - A [`GroupRef`](terrace_device_types::lvm::GroupRef) is proven by what its devices say of themselves, read while they are held open (I4): a held
//!   device's number can't become another's. A logical volume is changed only where `lvm` itself finds our tag on it, in the same call.
//! - Every call looks afterwards, and what it looked at comes back with the answer: success is what is there, not an exit code.
//! - Status, usage and the number of the last change come without a command ([`Lvm::observe_status`], [`observe_labels`]): an idle node runs none (I8).
//! - `lvm` runs in a process group of its own and is killed with its children at the deadline (I10); what that leaves is found by
//!   [`Lvm::observe_leftovers`] and ended by [`Lvm::clear_leftovers`].

mod change;
mod config;
mod create;
mod group;
mod held;
mod label;
mod leftover;
mod remove;
mod report;
mod run;
mod status;
mod thin_pool;

use std::path::{Path, PathBuf};

use terrace_device_types::StepDone;
use terrace_device_types::lvm::VgView;

use crate::{DeviceError, Host};

pub use create::{Created, Each};
pub use label::observe_labels;
pub use leftover::Leftover;
pub use report::parse_report;

/// LVM on this host.
#[derive(Debug, Clone)]
pub struct Lvm {
    host: Host,
    /// Our own configuration lies here, and nothing of the host's.
    dir: PathBuf,
}

impl Lvm {
    /// Writes the configuration into a folder of ours; what an earlier process left there is removed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn prepare(host: Host, dir: &Path) -> Result<Self, DeviceError> {
        config::prepare(dir)?;
        Ok(Self { host, dir: dir.to_owned() })
    }
}

/// What a change came to, and the group as it was seen afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Whether anything was changed.
    pub done: StepDone,
    /// The group.
    pub group: VgView,
}
