//! Pools on volume groups that are made and used by plans, on the guest's disks: what the stories have in common.

use std::fs;
use std::path::PathBuf;

use terrace_backends::backend;
use terrace_device_types::{
    Access, Allocation, BackendKind, Bytes, Claimed, DeletionProof, DeletionStamp, Erase, FsType,
    HostObject, Intent, PoolFile, PoolIntent, PoolPlace, PvReading, Refusal, Sharing, Step,
    StepDone, TagReading, View, VolumeMode, VolumeUuid, Wipe,
};
use terrace_devices::lvm::{keep_in, observe_place};
use terrace_devices::{
    DeviceError, Host, Probe, execute, observe_devices, observe_mounts, observe_pool,
    observe_volume,
};

use crate::rig::{Rig, sh, soon};

pub(crate) const SMALL: Bytes = Bytes::mib(320);
pub(crate) const LARGE: Bytes = Bytes::mib(400);

/// A pool on some of the guest's disks.
pub(crate) struct Pool {
    pub(crate) kind: BackendKind,
    pub(crate) dir: PathBuf,
    scratch: tempfile::TempDir,
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) rig: Rig,
}

/// Why a plan, or a step of it, came to nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    Refused(Refusal),
    Device(DeviceError),
}

impl Pool {
    pub(crate) fn unmade(kind: BackendKind, disks: usize) -> Option<Self> {
        let rig = Rig::new()?;
        let scratch = tempfile::tempdir().unwrap();
        keep_in(&scratch.path().join("lvm")).unwrap();
        let (dir, disks) = (scratch.path().join("pool"), rig.disks[..disks].to_vec());
        Some(Self { kind, dir, scratch, disks, rig })
    }

    pub(crate) fn new(kind: BackendKind, disks: usize) -> Option<Self> {
        let pool = Self::unmade(kind, disks)?;
        pool.make().unwrap();
        Some(pool)
    }

    pub(crate) fn file(&self) -> PoolFile {
        PoolFile { backend: self.kind, ..self.rig.pool_file() }
    }

    pub(crate) fn plan_pool(&self) -> Result<Vec<Step>, Failed> {
        let host = Host::real();
        let all = observe_devices(&host).unwrap();
        let ours = all.into_iter().filter(|device| self.disks.contains(&device.path));
        let ours = ours.map(|device| (device, Wipe::Never)).collect();
        let place = observe_place(&host, ours, self.rig.pool, soon()).map_err(Failed::Device)?;
        let place = PoolPlace::Group(Box::new(place));
        let intent = PoolIntent::Make { file: self.file(), place };
        let view = observe_pool(&host, &self.dir).map_err(Failed::Device)?;
        let mounts = observe_mounts(&host).unwrap();
        backend(self.kind).plan_pool(&intent, &view, &mounts).map_err(Failed::Refused)
    }

    /// Looks and plans until nothing is left.
    pub(crate) fn make(&self) -> Result<(), Failed> {
        for _ in 0..8 {
            let steps = self.plan_pool()?;
            if steps.is_empty() {
                return Ok(());
            }
            for step in &steps {
                execute(step, soon()).map_err(Failed::Device)?;
            }
        }
        panic!("the pool is never made");
    }

    pub(crate) fn look(&self, volume: VolumeUuid) -> View {
        self.look_beside(volume, None).unwrap()
    }

    fn look_beside(
        &self,
        volume: VolumeUuid,
        source: Option<VolumeUuid>,
    ) -> Result<View, DeviceError> {
        observe_volume(&Host::real(), &self.dir, volume, source, Probe::Look, soon())
    }

    pub(crate) fn plan(&self, volume: VolumeUuid, intent: &Intent) -> Result<Vec<Step>, Failed> {
        let view = self.look_beside(volume, intent.source()).map_err(Failed::Device)?;
        backend(self.kind).plan(intent, &view).map_err(Failed::Refused)
    }

    /// As far as the step of that number; says how many there are.
    pub(crate) fn run_until(&self, volume: VolumeUuid, intent: &Intent, stop: usize) -> usize {
        let steps = self.plan(volume, intent).unwrap();
        for step in steps.iter().take(stop) {
            execute(step, soon()).unwrap();
        }
        steps.len()
    }

    /// Makes it true, and sees that nothing is left to do.
    pub(crate) fn fulfil(&self, volume: VolumeUuid, intent: &Intent) -> Result<(), Failed> {
        for step in self.plan(volume, intent)? {
            execute(&step, soon()).map_err(Failed::Device)?;
        }
        for step in self.plan(volume, intent)? {
            let done = execute(&step, soon()).map_err(Failed::Device)?;
            assert_eq!(done, StepDone::Already, "{step} after {intent:?}");
        }
        Ok(())
    }

    pub(crate) fn create(&self, volume: VolumeUuid, mode: VolumeMode) -> Intent {
        let (cluster, name) = (self.file().cluster_uid, "pvc-1".to_owned());
        let allocation = Allocation::Reserved;
        Intent::Create { volume, cluster, name, size: SMALL, mode, allocation }
    }

    pub(crate) fn copy(
        &self,
        object: HostObject,
        (source, volume): (VolumeUuid, VolumeUuid),
        size: Bytes,
        mode: VolumeMode,
    ) -> Intent {
        let (cluster, name) = (self.file().cluster_uid, "copy-1".to_owned());
        let allocation = Allocation::Sparse;
        Intent::Copy { object, volume, cluster, name, source, size, mode, allocation }
    }

    pub(crate) fn stage(&self, volume: VolumeUuid, mode: VolumeMode) -> Intent {
        self.stage_at(volume, mode, "staging")
    }

    pub(crate) fn stage_at(&self, volume: VolumeUuid, mode: VolumeMode, at: &str) -> Intent {
        let target = self.path(at);
        fs::create_dir_all(&target).unwrap();
        let (cluster, operation) = (self.file().cluster_uid, "op-1".parse().unwrap());
        let (options, access) = (Vec::new(), Access::ReadWrite);
        Intent::Stage { volume, cluster, mode, target, options, access, operation }
    }

    pub(crate) fn publish(&self, volume: VolumeUuid) -> Intent {
        let (staging, target) = (self.path("staging"), self.path("pod"));
        let (access, sharing) = (Access::ReadWrite, Sharing::Shared);
        let cluster = self.file().cluster_uid;
        Intent::Publish { volume, cluster, staging, target, access, sharing }
    }

    pub(crate) fn unstage(&self, volume: VolumeUuid) -> Intent {
        self.unstage_at(volume, "staging")
    }

    pub(crate) fn unstage_at(&self, volume: VolumeUuid, at: &str) -> Intent {
        let (cluster, target) = (self.file().cluster_uid, self.path(at));
        Intent::Unstage { volume, cluster, target }
    }

    pub(crate) fn delete(&self, volume: VolumeUuid, erase: Erase) -> Intent {
        let Some(TagReading::Read(tag)) = self.look(volume).volume.image.map(|image| image.tag)
        else {
            panic!("no tag to prove a deletion with")
        };
        let stamp = DeletionStamp { volume, id: "deletion-1".parse().unwrap() };
        let claimed = match tag.object {
            HostObject::Volume => Claimed::Volume(PvReading::NotFound),
            HostObject::Snapshot => Claimed::Snapshot,
        };
        let proof =
            DeletionProof::check(Some(&stamp), volume, &tag.cluster, &claimed, &tag).unwrap();
        Intent::Delete { volume, proof, erase }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn free(&self) -> Bytes {
        observe_pool(&Host::real(), &self.dir).unwrap().free
    }

    pub(crate) fn unmount_all(&self) {
        let below = self.scratch.path();
        let mounts = observe_mounts(&Host::real()).unwrap();
        for mount in mounts.iter().rev().filter(|mount| mount.at.starts_with(below)) {
            sh(&format!("umount {}", mount.at.display()));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.unmount_all();
    }
}

pub(crate) fn fs_of(fs: FsType) -> VolumeMode {
    VolumeMode::Filesystem { fs }
}
