//! `hack/bench grow`: a mounted filesystem grown by the steps that Terrace runs, the proof of its size with them, against the tool that others spawn.
//! In turns on one image behind a loop device, in a mount namespace of its own; what goes before, the growth of image and loop device, is on no clock.
//!
//! ext4 asks for CAP_SYS_RESOURCE, which is not everywhere to be had: `--guest --fs ext4` has it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use terrace_device_types::{Bytes, DeviceRef, FsType, Grown, Step};
use terrace_devices::{Deadline, execute_here};

use crate::claim::{self, Claim};

/// Most of what the tool takes that ours may take.
const GOAL: f64 = 0.35;
const FIRST_SIZE: Bytes = Bytes::mib(512);
/// Each growth adds an allocation group of that size.
const MORE: Bytes = Bytes::mib(128);
const DEADLINE: Duration = Duration::from_secs(60);
/// Set where the mount namespace is its own already.
const OWN: &str = "TERRACE_BENCH_OWN_MOUNTS";

/// Arguments of `hack/bench grow`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Pairs of growths; who goes first alternates.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=400))]
    pairs: u32,
    /// Filesystem; give it once for each.
    #[arg(long = "fs", default_values = ["xfs", "btrfs"])]
    filesystems: Vec<String>,
    /// Where the images are: in memory, so that the disk's turns are not what is measured.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

/// Measures each filesystem in turn. Its mounts and loop devices go with its mount namespace, however it ends.
pub(crate) fn measure(arguments: &Arguments) -> Result<()> {
    if std::env::var_os(OWN).is_none() {
        let mut own = Command::new("unshare");
        own.args(["--mount", "--propagation", "private", "--"]);
        own.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(OWN, "");
        return Err(own.exec()).context("start unshare");
    }
    let scratch = tempfile::Builder::new().prefix("terrace-bench-").tempdir_in(&arguments.dir)?;
    claim::print_head();
    for name in &arguments.filesystems {
        let fs: FsType =
            name.parse().ok().with_context(|| format!("no filesystem is called {name}"))?;
        let mut image = Image::mount(scratch.path(), fs)?;
        let measured = image.compare(arguments.pairs);
        run("umount", &[image.at.as_os_str()])?;
        measured?;
    }
    Ok(())
}

/// A mounted filesystem that is grown again and again.
struct Image {
    fs: FsType,
    file: PathBuf,
    at: PathBuf,
    /// The node of its loop device.
    node: String,
    size: Bytes,
}

impl Image {
    fn mount(root: &Path, fs: FsType) -> Result<Self> {
        let (file, at) = (root.join(format!("{fs}.img")), root.join(fs.as_str()));
        File::create(&file)?.set_len(FIRST_SIZE.0)?;
        run(&format!("mkfs.{fs}"), &["-q".as_ref(), file.as_os_str()])?;
        std::fs::create_dir(&at)?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), file.as_os_str(), at.as_os_str()])?;
        let node = run("findmnt", &["-no".as_ref(), "SOURCE".as_ref(), at.as_os_str()])?;
        Ok(Self { fs, file, at, node: node.trim().to_owned(), size: FIRST_SIZE })
    }

    fn compare(&mut self, pairs: u32) -> Result<()> {
        let this = std::cell::RefCell::new(self);
        let pairs = claim::take_turns(
            pairs,
            || this.borrow_mut().grow_by_steps(),
            || this.borrow_mut().grow_by_tool(),
        )?;
        let what = format!("grow {} by {MORE}", this.borrow().fs);
        let tool = this.borrow().tool();
        claim::print(&Claim { what: &what, tool, goal: GOAL }, &pairs)
    }

    /// Makes the device larger than the filesystem.
    fn stretch(&mut self) -> Result<()> {
        self.size = Bytes(self.size.0 + MORE.0);
        File::options().write(true).open(&self.file)?.set_len(self.size.0)?;
        execute_here(&Step::ResizeLoop { image: self.file.clone() }, Deadline::after(DEADLINE))?;
        Ok(())
    }

    fn grow_by_steps(&mut self) -> Result<Duration> {
        self.stretch()?;
        let (fs, mount, device) = (self.fs, self.at.clone(), self.device());
        let grow = Step::GrowFilesystem { mount, fs, device };
        let start = Instant::now();
        execute_here(&grow, Deadline::after(DEADLINE))?;
        self.prove()?;
        Ok(start.elapsed())
    }

    /// The tool's word is not asked for a proof, but the filesystem: what the tool did not do must not look quick.
    fn grow_by_tool(&mut self) -> Result<Duration> {
        self.stretch()?;
        let at = self.at.display().to_string();
        let words = match self.fs {
            FsType::Xfs => vec![at.as_str()],
            FsType::Btrfs => vec!["filesystem", "resize", "max", &at],
            FsType::Ext4 => vec![self.node.as_str()],
        };
        let took = claim::spawn(self.tool(), &words)?;
        self.prove()?;
        Ok(took)
    }

    fn prove(&self) -> Result<()> {
        let grown = Grown { fs: self.fs, device_size: self.size };
        let prove = Step::ProveSize { mount: self.at.clone(), device: self.device(), grown };
        execute_here(&prove, Deadline::after(DEADLINE))?;
        Ok(())
    }

    fn device(&self) -> DeviceRef {
        DeviceRef::LoopOf { image: self.file.clone() }
    }

    const fn tool(&self) -> &'static str {
        match self.fs {
            FsType::Xfs => "xfs_growfs",
            FsType::Btrfs => "btrfs",
            FsType::Ext4 => "resize2fs",
        }
    }
}

fn run(program: &str, arguments: &[&OsStr]) -> Result<String> {
    let ended = Command::new(program).args(arguments).output();
    let ended = ended.with_context(|| format!("start {program}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}
