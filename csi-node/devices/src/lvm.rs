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
mod execute;
mod folder;
mod group;
mod held;
mod known;
mod label;
mod lane;
mod leftover;
mod object;
mod place;
mod remove;
mod report;
mod run;
mod status;
mod thin_growth;
mod thin_pool;
mod together;
mod zeros;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use terrace_device_types::StepDone;
use terrace_device_types::lvm::VgView;

use crate::{DeviceError, Host};

pub use create::{Created, Each};
pub(crate) use execute::apply;
pub use label::observe_labels;
pub use leftover::Leftover;
pub use object::observe_thin_use;
pub(crate) use object::{PoolGroup, is_of_pool, observe_pool_group};
pub use place::observe_place;
pub use report::parse_report;
pub(crate) use status::OpenLv;

/// Where this process keeps the configuration; none: it was never told, and has nothing to do with LVM.
static KEPT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Writes the configuration for looks and steps of this process into a folder of ours; what an earlier process left there is removed. Before this, whatever
/// lies on LVM can't be looked at.
///
/// # Errors
/// When it can't be written.
pub fn keep_in(dir: &Path) -> Result<(), DeviceError> {
    config::prepare(dir)?;
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(dir.to_owned());
    Ok(())
}

/// LVM on this host.
#[derive(Debug, Clone)]
pub struct Lvm {
    host: Host,
    /// Our own configuration lies here, and nothing of the host's.
    dir: PathBuf,
}

impl Lvm {
    /// With the configuration of this process.
    pub(crate) fn here(host: &Host) -> Result<Self, DeviceError> {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = "nobody has said where LVM's configuration is kept";
        Ok(Self { host: host.clone(), dir: kept.ok_or(DeviceError::Bug { why })? })
    }

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
