//! A host of which a part may be dead: a look at a dead disk never comes back, and the kubelet asks again and again. Were each to
//! wait with the first, there would soon be no thread left for the disks that live.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use terrace_device_types::lvm::{GroupPlace, ThinPoolStatus};
use terrace_device_types::{
    DeviceView, ImageView, PoolUuid, PoolView, SmartView, Step, StepDone, View, VolumeUuid, Wipe,
};
use terrace_devices::DeviceError;

use super::{Facilities, Host, Probe, Usage};

/// Who comes when the first has waited this long is told so at once. Below the deadline of a look, so that the one after a look
/// that was given up does not wait again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks at one place at once; half of all that there may be.
const AT_ONCE: usize = 32;

/// A host that asks no place that does not answer.
#[derive(Debug)]
pub struct Wary<H> {
    host: H,
    /// When those asked that still wait, by what they look at.
    waiting: Mutex<BTreeMap<PathBuf, Vec<Instant>>>,
    one_ended: Condvar,
}

impl<H: Host> Wary<H> {
    /// Over `host`.
    #[must_use]
    pub fn new(host: H) -> Self {
        Self { host, waiting: Mutex::default(), one_ended: Condvar::new() }
    }

    fn ask<T>(
        &self,
        place: &Path,
        look: impl FnOnce(&H) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let _asked = self.enter(place)?;
        look(&self.host)
    }

    fn enter<'a>(&'a self, place: &'a Path) -> Result<Asked<'a, H>, DeviceError> {
        let mut waiting = self.waiting();
        loop {
            let here = waiting.get(place).map_or(&[][..], Vec::as_slice);
            let waited = here.iter().min().map_or(Duration::ZERO, Instant::elapsed);
            let Some(left) = PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(DeviceError::Silent { place: place.to_owned(), waited });
            };
            if here.len() < AT_ONCE {
                break;
            }
            let woken = self.one_ended.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let since = Instant::now();
        waiting.entry(place.to_owned()).or_default().push(since);
        Ok(Asked { wary: self, place, since })
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<Instant>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, until dropped.
struct Asked<'a, H: Host> {
    wary: &'a Wary<H>,
    place: &'a Path,
    since: Instant,
}

impl<H: Host> Drop for Asked<'_, H> {
    fn drop(&mut self) {
        let mut waiting = self.wary.waiting();
        if let Some(here) = waiting.get_mut(self.place) {
            if let Some(at) = here.iter().position(|since| *since == self.since) {
                here.swap_remove(at);
            }
            if here.is_empty() {
                waiting.remove(self.place);
            }
        }
        self.wary.one_ended.notify_all();
    }
}

impl<H: Host> Host for Wary<H> {
    fn volume(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        source: Option<VolumeUuid>,
        probe: Probe,
    ) -> Result<View, DeviceError> {
        self.ask(pool_dir, |host| host.volume(pool_dir, volume, source, probe))
    }

    fn mounted(
        &self,
        pool_dir: &Path,
        volume: VolumeUuid,
        path: &Path,
    ) -> Result<Option<ImageView>, DeviceError> {
        self.ask(pool_dir, |host| host.mounted(pool_dir, volume, path))
    }

    fn mounts(&self) -> Result<View, DeviceError> {
        self.host.mounts()
    }

    fn pool(&self, dir: &Path) -> Result<PoolView, DeviceError> {
        self.ask(dir, |host| host.pool(dir))
    }

    fn images(&self, dir: &Path) -> Result<Vec<ImageView>, DeviceError> {
        self.ask(dir, |host| host.images(dir))
    }

    fn devices(&self) -> Result<Vec<DeviceView>, DeviceError> {
        self.host.devices()
    }

    fn probe_device(&self, device: DeviceView) -> Result<DeviceView, DeviceError> {
        let path = device.path.clone();
        self.ask(&path, |host| host.probe_device(device))
    }

    fn group(
        &self,
        devices: Vec<(DeviceView, Wipe)>,
        pool: PoolUuid,
    ) -> Result<GroupPlace, DeviceError> {
        // One that does not answer keeps all of its group waiting.
        let path = devices.first().map(|(device, _)| device.path.clone()).unwrap_or_default();
        self.ask(&path, |host| host.group(devices, pool))
    }

    fn smart(&self, path: &Path) -> Result<Option<SmartView>, DeviceError> {
        self.ask(path, |host| host.smart(path))
    }

    fn thin_use(&self, dir: &Path) -> Result<Option<ThinPoolStatus>, DeviceError> {
        self.ask(dir, |host| host.thin_use(dir))
    }

    fn usage(&self, path: &Path) -> Result<Usage, DeviceError> {
        self.ask(path, |host| host.usage(path))
    }

    fn taken_at(&self, object: &Path) -> Result<SystemTime, DeviceError> {
        self.ask(object, |host| host.taken_at(object))
    }

    fn facilities(&self) -> Facilities {
        self.host.facilities()
    }

    fn execute(&self, step: &Step, deadline: Duration) -> Result<StepDone, DeviceError> {
        self.host.execute(step, deadline)
    }
}
