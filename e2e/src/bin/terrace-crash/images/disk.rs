//! A disk that can be photographed: a file on an xfs, whose blocks a clone shares in one operation. The pool's filesystem lies in
//! it, behind a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::ioctl_ficlone;
use rustix::mount::{UnmountFlags, unmount};

/// Bytes of the file; it takes only what is written.
const DISK: u64 = 3 << 30;
/// Bytes of the xfs below.
const SHELF: u64 = 12 << 30;

/// The pool's filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    Xfs,
    Ext4,
    Btrfs,
}

impl Ground {
    const fn mkfs(self) -> &'static [&'static str] {
        match self {
            Self::Xfs => &["mkfs.xfs", "-q", "-m", "reflink=1"],
            Self::Ext4 => &["mkfs.ext4", "-q", "-F"],
            Self::Btrfs => &["mkfs.btrfs", "-q"],
        }
    }

    /// A clone has the UUID of what it was cloned from. ext4 does not look, btrfs (Linux 6.7) gives a second one a UUID for the time being.
    const fn options(self) -> &'static str {
        match self {
            Self::Xfs => "loop,nouuid",
            Self::Ext4 | Self::Btrfs => "loop",
        }
    }
}

/// The disk, mounted.
pub(super) struct Disk {
    dir: PathBuf,
    ground: Ground,
}

/// A clone of it.
pub(super) struct Aside {
    file: PathBuf,
    at: PathBuf,
    ground: Ground,
}

impl Disk {
    pub(super) fn make(dir: &Path, ground: Ground) -> Result<Self> {
        let disk = Self { dir: dir.to_owned(), ground };
        fs::create_dir(dir)?;
        format(&dir.join("shelf.img"), SHELF, Ground::Xfs)?;
        mount(&dir.join("shelf.img"), &disk.shelf(), "loop")?;
        format(&disk.file(), DISK, ground)?;
        mount(&disk.file(), &disk.live(), ground.options())?;
        Ok(disk)
    }

    /// Where the pool's filesystem is mounted.
    pub(super) fn live(&self) -> PathBuf {
        self.dir.join("live")
    }

    /// What is on the disk at this moment. Whoever writes to it waits meanwhile.
    pub(super) fn clone_now(&self) -> Result<Aside> {
        let file = self.shelf().join("clone.img");
        let (from, to) = (File::open(self.file())?, File::create(&file)?);
        ioctl_ficlone(&to, &from).context("clone the disk")?;
        Ok(Aside { file, at: self.dir.join("aside"), ground: self.ground })
    }

    pub(super) fn unmount(&self) -> Result<()> {
        let_go(&self.live())?;
        let_go(&self.shelf())
    }

    fn shelf(&self) -> PathBuf {
        self.dir.join("shelf")
    }

    fn file(&self) -> PathBuf {
        self.shelf().join("disk.img")
    }
}

impl Aside {
    pub(super) fn mount(&self) -> Result<()> {
        mount(&self.file, &self.at, self.ground.options())
    }

    /// Where it is mounted.
    pub(super) fn ground(&self) -> PathBuf {
        self.at.clone()
    }

    pub(super) fn unmount(&self) -> Result<()> {
        let_go(&self.at)
    }

    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_file(&self.file).context("remove the clone")
    }
}

fn format(file: &Path, bytes: u64, ground: Ground) -> Result<()> {
    File::create_new(file)?.set_len(bytes)?;
    let [program, words @ ..] = ground.mkfs() else { bail!("no mkfs for {ground:?}") };
    run(Command::new(program).args(words).arg(file))
}

/// mount(8) lets the loop device go by itself when the mount ends, wherever it ends.
fn mount(file: &Path, at: &Path, options: &str) -> Result<()> {
    fs::create_dir_all(at)?;
    run(Command::new("mount").args(["-o", options]).arg(file).arg(at))
}

fn let_go(at: &Path) -> Result<()> {
    unmount(at, UnmountFlags::NOFOLLOW).with_context(|| format!("unmount {}", at.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let ended = command.output().with_context(|| format!("start {command:?}"))?;
    if !ended.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(())
}
