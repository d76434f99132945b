//! The host behind one trait: everything the node looks at and the one thing it does, [`Host::execute`].
//! In service it is [`RealHost`]; a simulation puts a model in its place. All calls block.

mod wary;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use terrace_device_types::lvm::{GroupPlace, ThinPoolStatus};
use terrace_device_types::{
    DeviceView, ImageView, PoolUuid, PoolView, SmartView, Step, StepDone, View, VolumeUuid, Wipe,
};
pub use terrace_devices::{Capability, Facilities, Probe, Usage};
use terrace_devices::{Deadline, DeviceError};
pub use wary::Wary;

/// How long one look may take: blkid reads a device that may be slow.
const LOOK: Duration = Duration::from_secs(30);

/// What the node asks of its host.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// One host object, where asked for the one it is to be a copy of, their pool and the mounts.
    ///
    /// # Errors
    /// If the host cannot be looked at; a volume that is not there is no error.
    fn volume(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        source: Option<VolumeUuid>,
        probe: Probe,
    ) -> Result<View, DeviceError>;

    /// The image of a volume, if what is mounted at `path` is its own; cheap however many volumes there are.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn mounted(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        path: &Path,
    ) -> Result<Option<ImageView>, DeviceError>;

    /// The mounts alone, for a path whose volume is gone.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn mounts(&self) -> Result<View, DeviceError>;

    /// A pool directory.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn pool(&self, dir: &Path) -> Result<PoolView, DeviceError>;

    /// Every image of a pool directory, whatever its tag says.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn images(&self, dir: &Path) -> Result<Vec<ImageView>, DeviceError>;

    /// Every disk and partition, without a look at what is on them.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn devices(&self) -> Result<Vec<DeviceView>, DeviceError>;

    /// One disk, with a look at what is on it. Runs a command.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn probe_device(&self, device: DeviceView) -> Result<DeviceView, DeviceError>;

    /// What the disk at `path` says of its own health; `None`: it sleeps, or has nothing to say. Runs a command.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn smart(&self, path: &Path) -> Result<Option<SmartView>, DeviceError>;

    /// The disks that a pool names for a volume group, and how far that is.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn group(
        &self,
        devices: Vec<(DeviceView, Wipe)>,
        pool: PoolUuid,
    ) -> Result<GroupPlace, DeviceError>;

    /// What the thin pool of a pool's folder has in use, if it has one: asked every second, so by system calls alone.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn thin_use(&self, dir: &Path) -> Result<Option<ThinPoolStatus>, DeviceError>;

    /// Use of the filesystem that `path` lies on.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn usage(&self, path: &Path) -> Result<Usage, DeviceError>;

    /// When the bytes of a snapshot were taken.
    ///
    /// # Errors
    /// As [`Host::volume`].
    fn taken_at(&self, object: &Path) -> Result<SystemTime, DeviceError>;

    /// What kernel and tools can do. Runs commands: for the start only.
    fn facilities(&self) -> Facilities;

    /// Does one step.
    ///
    /// # Errors
    /// With the class that says whether to try again.
    fn execute(&self, step: &Step, deadline: Duration) -> Result<StepDone, DeviceError>;
}

/// The host this process runs on.
#[derive(Clone, Debug)]
pub struct RealHost {
    host: terrace_devices::Host,
}

impl RealHost {
    /// This one.
    #[must_use]
    pub fn new() -> Self {
        Self { host: terrace_devices::Host::real() }
    }
}

impl Default for RealHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for RealHost {
    fn volume(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        source: Option<VolumeUuid>,
        probe: Probe,
    ) -> Result<View, DeviceError> {
        let deadline = Deadline::after(LOOK);
        terrace_devices::observe_volume(&self.host, pool_dir, volume, source, probe, deadline)
    }

    fn mounted(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        path: &Path,
    ) -> Result<Option<ImageView>, DeviceError> {
        terrace_devices::observe_mounted(&self.host, pool_dir, volume, path)
    }

    fn mounts(&self) -> Result<View, DeviceError> {
        terrace_devices::observe_unpublish(&self.host)
    }

    fn pool(&self, dir: &Path) -> Result<PoolView, DeviceError> {
        terrace_devices::observe_pool(&self.host, dir)
    }

    fn images(&self, dir: &Path) -> Result<Vec<ImageView>, DeviceError> {
        terrace_devices::observe_images(dir)
    }

    fn devices(&self) -> Result<Vec<DeviceView>, DeviceError> {
        terrace_devices::observe_devices(&self.host)
    }

    fn probe_device(&self, device: DeviceView) -> Result<DeviceView, DeviceError> {
        terrace_devices::probe_device(&self.host, device, Deadline::after(LOOK))
    }

    fn smart(&self, path: &Path) -> Result<Option<SmartView>, DeviceError> {
        terrace_devices::observe_smart(path, Deadline::after(LOOK))
    }

    fn group(
        &self,
        devices: Vec<(DeviceView, Wipe)>,
        pool: PoolUuid,
    ) -> Result<GroupPlace, DeviceError> {
        terrace_devices::lvm::observe_place(&self.host, devices, pool, Deadline::after(LOOK))
    }

    fn thin_use(&self, dir: &Path) -> Result<Option<ThinPoolStatus>, DeviceError> {
        terrace_devices::lvm::observe_thin_use(&self.host, dir)
    }

    fn usage(&self, path: &Path) -> Result<Usage, DeviceError> {
        terrace_devices::observe_usage(path)
    }

    fn taken_at(&self, object: &Path) -> Result<SystemTime, DeviceError> {
        terrace_devices::observe_taken(object)
    }

    fn facilities(&self) -> Facilities {
        terrace_devices::observe_facilities(&self.host, Deadline::after(LOOK))
    }

    fn execute(&self, step: &Step, deadline: Duration) -> Result<StepDone, DeviceError> {
        // Here, not on a thread that is given up: the runner holds the locks for as long as this takes.
        terrace_devices::execute_here(step, Deadline::after(deadline))
    }
}
