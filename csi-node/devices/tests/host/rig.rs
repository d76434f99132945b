//! A scratch pool on the real host, and the five lines observe, plan, execute, observe, plan again. Takes everything away when dropped, by other means than the code under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use terrace_backends::backend;
use terrace_device_types::{
    Access, Allocation, BackendKind, Bytes, Claimed, ClusterUid, DeletionProof, DeletionStamp,
    Erase, HostObject, Intent, Leftover, PoolFile, PoolIntent, PoolPlace, PvReading, Refusal,
    Sharing, Step, StepDone, TagReading, View, VolumeMode, VolumeUuid,
};
use terrace_devices::{Deadline, DeviceError, Host, Probe, execute, observe_pool, observe_volume};

/// A scratch directory with a pool in it.
pub(crate) struct Rig {
    pub(crate) root: PathBuf,
    pub(crate) pool: PathBuf,
    pub(crate) kind: BackendKind,
    scratch: Option<tempfile::TempDir>,
}

/// What stood in the way of an intent.
#[derive(Debug)]
pub(crate) enum Failed {
    Refused(Refusal),
    Device(DeviceError),
}

pub(crate) fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

pub(crate) fn cluster() -> ClusterUid {
    "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap()
}

pub(crate) fn pool_file() -> PoolFile {
    PoolFile {
        pool_uuid: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
        cluster_uid: cluster(),
        pool: "scratch".into(),
        backend: BackendKind::File,
    }
}

/// A volume nobody else has: mkfs.btrfs refuses a UUID that is on any other device of the host.
pub(crate) fn volume() -> VolumeUuid {
    VolumeUuid(uuid::Uuid::new_v4())
}

impl Rig {
    /// An empty scratch directory.
    pub(crate) fn bare() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let scratch = tempfile::Builder::new().prefix("terrace-host-").tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let (pool, kind) = (root.join("pool"), BackendKind::File);
        Self { pool, kind, root, scratch: Some(scratch) }
    }

    /// One with a pool in it.
    pub(crate) fn new() -> Self {
        let rig = Self::bare();
        rig.make_pool(&PoolPlace::Directory).unwrap();
        rig
    }

    /// One whose pool is an xfs of its own: 4 GiB, sparse, with reflink.
    pub(crate) fn on_xfs() -> Self {
        let rig = Self::bare();
        let disk = rig.path("disk");
        std::fs::File::create(&disk).unwrap().set_len(4 << 30).unwrap();
        run("mkfs.xfs", &["-q", "-m", "reflink=1", disk.to_str().unwrap()]);
        std::fs::create_dir(&rig.pool).unwrap();
        run("mount", &["-o", "loop", disk.to_str().unwrap(), rig.pool.to_str().unwrap()]);
        rig.make_pool(&PoolPlace::Directory).unwrap();
        rig
    }

    /// One with a btrfs pool in a folder of somebody's subvolume, as a distribution lays its own out: neither the folder's device number nor its path is the
    /// filesystem's own.
    pub(crate) fn on_btrfs() -> Self {
        let rig = Self::beside_btrfs(&[]);
        rig.make_pool(&PoolPlace::Directory).unwrap();
        rig
    }

    /// As [`Self::on_btrfs`], before the pool is made.
    pub(crate) fn beside_btrfs(options: &[&str]) -> Self {
        let mut rig = Self::bare();
        let (disk, host) = (rig.path("disk"), rig.path("host"));
        std::fs::File::create(&disk).unwrap().set_len(2 << 30).unwrap();
        let arguments = [&["-q"], options, &[disk.to_str().unwrap()]].concat();
        run("mkfs.btrfs", &arguments);
        std::fs::create_dir(&host).unwrap();
        run("mount", &["-o", "loop", disk.to_str().unwrap(), host.to_str().unwrap()]);
        run("btrfs", &["subvolume", "create", host.join("@home").to_str().unwrap()]);
        rig.pool = host.join("@home/pool");
        rig.kind = BackendKind::Btrfs;
        rig
    }

    /// What the pool's file says.
    pub(crate) fn pool_file(&self) -> PoolFile {
        PoolFile { backend: self.kind, ..pool_file() }
    }

    /// Observes and plans until nothing is left.
    pub(crate) fn make_pool(&self, place: &PoolPlace) -> Result<usize, Failed> {
        let intent = PoolIntent::Make { file: self.pool_file(), place: place.clone() };
        for passes in 0..4 {
            let view = observe_pool(&Host::real(), &self.pool).map_err(Failed::Device)?;
            let mounts = terrace_devices::observe_mounts(&Host::real()).map_err(Failed::Device)?;
            let steps = backend(self.kind).plan_pool(&intent, &view, &mounts);
            let steps = steps.map_err(Failed::Refused)?;
            if steps.is_empty() {
                return Ok(passes);
            }
            for step in &steps {
                execute(step, deadline()).map_err(Failed::Device)?;
            }
        }
        panic!("the pool is never made");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn observe(&self, volume: VolumeUuid) -> View {
        self.look(volume, None)
    }

    fn look(&self, volume: VolumeUuid, source: Option<VolumeUuid>) -> View {
        observe_volume(&Host::real(), &self.pool, volume, source, Probe::Look, deadline()).unwrap()
    }

    pub(crate) fn plan(&self, volume: VolumeUuid, intent: &Intent) -> Result<Vec<Step>, Refusal> {
        backend(self.kind).plan(intent, &self.look(volume, intent.source()))
    }

    /// Makes an intent true, then sees that it is: planned again, nothing is left that would change anything.
    pub(crate) fn fulfil(&self, volume: VolumeUuid, intent: &Intent) -> Result<(), Failed> {
        let steps = self.plan(volume, intent).map_err(Failed::Refused)?;
        for step in &steps {
            execute(step, deadline()).map_err(Failed::Device)?;
        }
        let again = self.plan(volume, intent).map_err(Failed::Refused)?;
        for step in &again {
            let done = execute(step, deadline()).map_err(Failed::Device)?;
            assert_eq!(done, StepDone::Already, "{step} after {intent:?}");
        }
        let settles = !matches!(intent, Intent::Unpublish { .. });
        assert!(again.is_empty() || !settles, "{again:?} after {intent:?}");
        Ok(())
    }

    /// The steps of an intent up to (not with) the first that `stop` picks: a crash just before it.
    pub(crate) fn crash_before(
        &self,
        volume: VolumeUuid,
        intent: &Intent,
        stop: impl Fn(&Step) -> bool,
    ) {
        let steps = self.plan(volume, intent).unwrap();
        assert!(steps.iter().any(&stop), "nowhere to crash in {steps:?}");
        for step in steps.iter().take_while(|step| !stop(step)) {
            execute(step, deadline()).unwrap();
        }
    }

    pub(crate) fn proof(&self, volume: VolumeUuid) -> DeletionProof {
        let view = self.observe(volume);
        let Some(TagReading::Read(tag)) = view.volume.image.map(|image| image.tag) else {
            panic!("no tag to prove a deletion with")
        };
        let stamp = DeletionStamp { volume, id: "deletion-1".parse().unwrap() };
        let claimed = match tag.object {
            HostObject::Volume => Claimed::Volume(PvReading::NotFound),
            HostObject::Snapshot => Claimed::Snapshot,
        };
        DeletionProof::check(Some(&stamp), volume, &cluster(), &claimed, &tag).unwrap()
    }
}

pub(crate) fn create(volume: VolumeUuid, size: Bytes, mode: VolumeMode) -> Intent {
    let allocation = Allocation::Reserved;
    Intent::Create { volume, cluster: cluster(), name: "pvc-1".into(), size, mode, allocation }
}

/// A snapshot of `source`, or a volume that begins with its bytes.
pub(crate) fn copy(
    object: HostObject,
    source: VolumeUuid,
    volume: VolumeUuid,
    size: Bytes,
    mode: VolumeMode,
) -> Intent {
    let (cluster, name, allocation) = (cluster(), "copy-1".into(), Allocation::Reserved);
    Intent::Copy { object, volume, cluster, name, source, size, mode, allocation }
}

pub(crate) fn stage(volume: VolumeUuid, mode: VolumeMode, target: &Path) -> Intent {
    std::fs::create_dir_all(target).unwrap();
    Intent::Stage {
        volume,
        cluster: cluster(),
        mode,
        target: target.to_owned(),
        options: Vec::new(),
        access: Access::ReadWrite,
        operation: "op-1".parse().unwrap(),
    }
}

pub(crate) fn unstage(volume: VolumeUuid, target: &Path) -> Intent {
    Intent::Unstage { volume, cluster: cluster(), target: target.to_owned() }
}

pub(crate) fn publish(volume: VolumeUuid, staging: &Path, target: &Path, access: Access) -> Intent {
    Intent::Publish {
        volume,
        cluster: cluster(),
        staging: staging.to_owned(),
        target: target.to_owned(),
        access,
        sharing: Sharing::Shared,
    }
}

pub(crate) fn unpublish(target: &Path) -> Intent {
    Intent::Unpublish { target: target.to_owned() }
}

pub(crate) fn grow(volume: VolumeUuid, to: Bytes) -> Intent {
    Intent::Grow { volume, cluster: cluster(), to }
}

pub(crate) fn delete(proof: &DeletionProof, erase: Erase) -> Intent {
    Intent::Delete { volume: proof.volume(), proof: proof.clone(), erase }
}

/// Remove what an operation left behind.
pub(crate) fn sweep(volume: VolumeUuid, leftover: Leftover) -> Intent {
    Intent::Sweep { volume, cluster: cluster(), leftover }
}

/// A command whose success the test needs; its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Loop devices whose file lies under that directory.
pub(crate) fn loops_below(root: &Path) -> Vec<String> {
    let list = run("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
    let below = root.display().to_string();
    let lines = list.lines().filter(|line| line.contains(&below));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

impl Drop for Rig {
    /// The pool's own mount goes after the loop devices on its images: without it nothing tells any more whose they are.
    fn drop(&mut self) {
        let below = format!(" {}", self.root.display());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().rev().filter(|line| line.contains(&below));
        let paths = mounts.filter_map(|line| line.split(' ').nth(4));
        let (pools, volumes): (Vec<_>, Vec<_>) =
            paths.partition(|at| self.pool.starts_with(Path::new(at)));
        for paths in [volumes, pools] {
            for at in paths {
                let _ = Command::new("umount").args(["--lazy", at]).status();
            }
            let images = loops_below(&self.pool);
            for device in images {
                let _ = Command::new("losetup").args(["--detach", &device]).status();
            }
        }
        for device in loops_below(&self.root) {
            let _ = Command::new("losetup").args(["--detach", &device]).status();
        }
        drop(self.scratch.take());
    }
}
