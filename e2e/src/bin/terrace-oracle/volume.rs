//! Volumes as the kubelet has them: staged once, published in a Pod's folder, by every arrangement of devices and filesystems
//! that is known to confuse. It mounts and unmounts; it counts nothing.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use terrace_probe_abi::wire::{Device, Names, PodName, VolumeName};
use uuid::Uuid;

/// The driver these volumes say they are of.
const DRIVER: &str = "oracle.terrace.storage";
const NAMESPACE: &str = "oracle";
/// MiB of an image; sparse.
const EXT4_SIZE: u64 = 32;
const XFS_SIZE: u64 = 300;
const SHARED_SIZE: u64 = 512;

/// How a volume lies on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A filesystem of its own.
    Ext4,
    Xfs,
    /// A folder of a filesystem that others lie on too: one device, one superblock.
    Bind,
    /// A subvolume of a btrfs that others lie on too: its files' device is not its superblock's.
    Subvolume,
    /// A filesystem of its own that the Pod sees a folder of.
    SubPath,
    /// A device without a filesystem.
    Block,
}

/// Of ten volumes.
const MIX: [Kind; 10] = [
    Kind::Ext4,
    Kind::Subvolume,
    Kind::Bind,
    Kind::Block,
    Kind::Xfs,
    Kind::Bind,
    Kind::SubPath,
    Kind::Subvolume,
    Kind::Ext4,
    Kind::Subvolume,
];

impl Kind {
    /// Of the volume of this number.
    pub(crate) const fn of(number: usize) -> Self {
        MIX[number % MIX.len()]
    }
}

/// One volume and the Pod that has it.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    /// Of the Pod that has it now.
    pub(crate) pod: String,
    /// The loop device below, while there is one; held open, so that it goes with this process.
    device: Option<(PathBuf, File)>,
}

/// All folders of the oracle; everything lies below one.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Stands for /var/lib/kubelet.
    pub(crate) kubelet: PathBuf,
    /// Where images lie.
    images: PathBuf,
    /// The filesystem of all [`Kind::Bind`], and that of all [`Kind::Subvolume`].
    shared: PathBuf,
    btrfs: PathBuf,
    /// Roots of Pods.
    pub(crate) pods: PathBuf,
}

impl Ground {
    /// Makes the folders and the two shared filesystems.
    pub(crate) fn prepare(root: &Path) -> Result<Self> {
        let below = |name: &str| root.join(name);
        let ground = Self {
            kubelet: below("kubelet"),
            images: below("images"),
            shared: below("shared"),
            btrfs: below("btrfs"),
            pods: below("pods"),
        };
        let Self { kubelet, images, shared, btrfs, pods } = &ground;
        for folder in [kubelet, images, shared, btrfs, pods] {
            fs::create_dir_all(folder)?;
        }
        mount("tmpfs", images, "tmpfs", MountFlags::empty(), None)?;
        for (kind, at) in [("ext4", shared), ("btrfs", btrfs)] {
            let image = images.join(format!("shared-{kind}"));
            make_filesystem(kind, &image, SHARED_SIZE)?;
            let (device, _held) = attach(&image)?;
            mount(&device, at, kind, MountFlags::empty(), None)?;
        }
        Ok(ground)
    }

    fn staged(&self, volume: &Volume) -> PathBuf {
        self.kubelet
            .join(format!("plugins/kubernetes.io/csi/{DRIVER}/{}/globalmount", volume.handle()))
    }

    pub(crate) fn published(&self, volume: &Volume) -> PathBuf {
        match volume.kind {
            Kind::Block => self.kubelet.join(format!(
                "plugins/kubernetes.io/csi/volumeDevices/publish/{}/{}",
                volume.name(),
                volume.pod
            )),
            _ => self.kubelet.join(format!(
                "pods/{}/volumes/kubernetes.io~csi/{}/mount",
                volume.pod,
                volume.name()
            )),
        }
    }

    fn sub_path(&self, volume: &Volume) -> PathBuf {
        self.kubelet.join(format!("pods/{}/volume-subpaths/{}/main/0", volume.pod, volume.name()))
    }

    /// What its Pod gets.
    pub(crate) fn source(&self, volume: &Volume) -> PathBuf {
        if volume.kind == Kind::SubPath { self.sub_path(volume) } else { self.published(volume) }
    }
}

impl Volume {
    /// Makes it; it is mounted nowhere yet.
    pub(crate) fn create(ground: &Ground, number: usize) -> Result<Self> {
        let volume = Self { number, kind: Kind::of(number), pod: new_pod(), device: None };
        let image = volume.image(ground);
        match volume.kind {
            Kind::Ext4 | Kind::SubPath => make_filesystem("ext4", &image, EXT4_SIZE)?,
            Kind::Xfs => make_filesystem("xfs", &image, XFS_SIZE)?,
            Kind::Block => File::create(image)?.set_len(EXT4_SIZE << 20)?,
            Kind::Bind => fs::create_dir(ground.shared.join(volume.name()))?,
            Kind::Subvolume => {
                let mut create = Command::new("btrfs");
                create.args(["subvolume", "create"]).arg(ground.btrfs.join(volume.name()));
                run(&mut create)?;
            }
        }
        Ok(volume)
    }

    pub(crate) fn name(&self) -> String {
        format!("pv-{:04}", self.number)
    }

    /// What a SHA-256 looks like.
    fn handle(&self) -> String {
        format!("{:064x}", self.number + 1)
    }

    /// Called as Terrace calls images of volumes: a node of it on this machine leaves them alone, where it would read what is on any
    /// other loop device, and be counted.
    fn image(&self, ground: &Ground) -> PathBuf {
        ground.images.join(format!("t-{}", self.name()))
    }

    /// NodeStage and NodePublish.
    pub(crate) fn mount(&mut self, ground: &Ground) -> Result<()> {
        let (staged, published) = (ground.staged(self), ground.published(self));
        match self.kind {
            Kind::Block => {
                let held = attach(&self.image(ground))?;
                make_file(&published)?;
                mount_bind(&held.0, &published)?;
                self.device = Some(held);
                return Ok(());
            }
            Kind::Ext4 | Kind::Xfs | Kind::SubPath => {
                let (device, _held) = attach(&self.image(ground))?;
                let kind = if self.kind == Kind::Xfs { "xfs" } else { "ext4" };
                fs::create_dir_all(&staged)?;
                mount(&device, &staged, kind, MountFlags::empty(), None)
                    .with_context(|| format!("mount {} of {}", device.display(), self.name()))?;
            }
            Kind::Bind => bind(&ground.shared.join(self.name()), &staged)?,
            Kind::Subvolume => bind(&ground.btrfs.join(self.name()), &staged)?,
        }
        bind(&staged, &published)?;
        if self.kind == Kind::SubPath {
            let folder = published.join("sub");
            fs::create_dir_all(&folder)?;
            bind(&folder, &ground.sub_path(self))?;
        }
        Ok(())
    }

    /// NodeUnpublish and NodeUnstage.
    pub(crate) fn unmount(&mut self, ground: &Ground) -> Result<()> {
        let mut points = vec![ground.published(self)];
        match self.kind {
            Kind::SubPath => {
                points = vec![ground.sub_path(self), ground.published(self), ground.staged(self)]
            }
            Kind::Block => {}
            Kind::Ext4 | Kind::Xfs | Kind::Bind | Kind::Subvolume => {
                points.push(ground.staged(self))
            }
        }
        for point in points {
            unmount(&point, UnmountFlags::empty())
                .with_context(|| format!("unmount {}", point.display()))?;
        }
        self.device = None;
        Ok(())
    }

    /// Another Pod takes it over.
    pub(crate) fn change_pod(&mut self) {
        self.pod = new_pod();
    }

    fn describe(&self) -> Result<(PodName, VolumeName)> {
        let name = format!("pod-{:04}", self.number);
        let pod = PodName { uid: self.pod.clone(), namespace: NAMESPACE.into(), name };
        let device = match &self.device {
            Some((_, file)) => {
                let number = rustix::fs::fstat(file)?.st_rdev;
                let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
                Some(Device { major, minor })
            }
            None => None,
        };
        let volume = VolumeName {
            pv_name: self.name(),
            pod_uids: vec![self.pod.clone()],
            namespace: NAMESPACE.into(),
            claim: self.claim(),
            driver: DRIVER.into(),
            storage_class: None,
            volume: None,
            target_p99_ns: None,
            device,
            handle_sha256: Some(self.handle()),
        };
        Ok((pod, volume))
    }

    pub(crate) fn claim(&self) -> String {
        format!("claim-{:04}", self.number)
    }
}

/// What csi-node would say of these volumes.
pub(crate) fn names<'a>(volumes: impl Iterator<Item = &'a Volume>) -> Result<Names> {
    let described: Result<Vec<_>> = volumes.map(Volume::describe).collect();
    let (pods, volumes) = described?.into_iter().unzip();
    Ok(Names { pods, volumes, ..Names::default() })
}

fn new_pod() -> String {
    Uuid::new_v4().to_string()
}

fn make_filesystem(kind: &str, image: &Path, size: u64) -> Result<()> {
    File::create(image)?.set_len(size << 20)?;
    let mut make = Command::new(format!("mkfs.{kind}"));
    run(make.arg(if kind == "ext4" { "-Fq" } else { "-fq" }).arg(image))
}

/// A free loop device, which goes with its last user.
fn attach(image: &Path) -> Result<(PathBuf, File)> {
    let mut find = Command::new("losetup");
    let found = find.args(["--find", "--show"]).arg(image).stderr(Stdio::inherit()).output()?;
    if !found.status.success() {
        bail!("losetup found no loop device for {}", image.display());
    }
    let device = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    let held = OpenOptions::new().read(true).write(true).open(&device)?;
    // While it is in use, this only tells the kernel to do so at the last close.
    run(Command::new("losetup").arg("--detach").arg(&device))?;
    Ok((device, held))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    mount_bind(from, to).with_context(|| format!("bind {} on {}", from.display(), to.display()))
}

fn make_file(path: &Path) -> Result<()> {
    fs::create_dir_all(path.parent().context("a path without a folder")?)?;
    File::create(path)?;
    Ok(())
}

/// Runs a tool to its end; what it complained of is the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let ended = command.stdin(Stdio::null()).output()?;
    if !ended.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(())
}
