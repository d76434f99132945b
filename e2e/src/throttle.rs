//! Makes a device slow for one container: a limit of operations a second in its cgroup (v1, `blkio`), which the kernel keeps by
//! holding operations back. Only what bypasses the page cache is held back in the caller's own time. It judges nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the kernel's throttle is on a host with cgroups of version 1.
const BLKIO: &str = "/sys/fs/cgroup/blkio";
/// The files that hold the limits: a line `major:minor limit`, 0 for none.
const LIMITS: [&str; 2] = ["blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"];

/// A limit that ends with this value.
#[derive(Debug)]
pub struct Throttle {
    group: PathBuf,
    device: (u32, u32),
}

impl Throttle {
    /// For the container of this id, as its Pod's status has it behind `containerd://`; reads and writes each.
    ///
    /// # Errors
    /// No cgroup v1, no such container, no such device.
    pub fn of_container(id: &str, device: (u32, u32), per_second: u64) -> Result<Self> {
        let group =
            find(Path::new(BLKIO), id).with_context(|| format!("no blkio cgroup of {id}"))?;
        Self::of_group(group, device, per_second)
    }

    /// For every process of a cgroup.
    ///
    /// # Errors
    /// No such cgroup, no such device.
    pub fn of_group(group: PathBuf, device: (u32, u32), per_second: u64) -> Result<Self> {
        if per_second == 0 {
            bail!("0 operations a second would be no limit at all");
        }
        let throttle = Self { group, device };
        throttle.set(per_second)?;
        Ok(throttle)
    }

    /// Another limit.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn set(&self, per_second: u64) -> Result<()> {
        let (major, minor) = self.device;
        LIMITS.iter().try_for_each(|file| {
            let path = self.group.join(file);
            fs::write(&path, format!("{major}:{minor} {per_second}"))
                .with_context(|| format!("limit {major}:{minor} by {}", path.display()))
        })
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // A cgroup that is gone has no limit.
        self.set(0).ok();
    }
}

/// The folder of this name, at any depth.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let here = folders.iter().find(|path| path.file_name().is_some_and(|file| file == name));
    here.cloned().or_else(|| folders.iter().find_map(|path| find(path, name)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{BLKIO, Throttle, find};

    const O_DIRECT: i32 = 0o40000;

    /// A page that direct I/O may be read into.
    #[repr(align(4096))]
    struct Page([u8; 4096]);

    fn ten_reads(device: &str) -> Duration {
        let file = File::options().read(true).custom_flags(O_DIRECT).open(device).unwrap();
        let mut page = Page([0; 4096]);
        let start = Instant::now();
        for number in 0..10 {
            file.read_exact_at(&mut page.0, number * 4096).unwrap();
        }
        start.elapsed()
    }

    #[test]
    fn a_throttled_device_is_slow_until_the_throttle_ends() {
        if !Path::new(BLKIO).join(super::LIMITS[0]).exists() && !Path::new(BLKIO).is_dir() {
            eprintln!("no cgroups of version 1 here");
            return;
        }
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let losetup = Command::new("losetup").args(["--find", "--show"]).arg(image.path()).output();
        let device = String::from_utf8(losetup.unwrap().stdout).unwrap().trim().to_owned();
        let number = fs::metadata(&device).unwrap().rdev();
        let number = (rustix::fs::major(number), rustix::fs::minor(number));
        let name = format!("terrace-throttle-{}", std::process::id());
        let group = Path::new(BLKIO).join(&name);
        fs::create_dir(&group).unwrap();
        // This thread alone.
        fs::write(group.join("tasks"), "0").unwrap();
        let found = find(Path::new(BLKIO), &name);
        let before = ten_reads(&device);
        let throttle = Throttle::of_container(&name, number, 20).unwrap();
        let during = ten_reads(&device);
        drop(throttle);
        let after = ten_reads(&device);
        fs::write(Path::new(BLKIO).join("tasks"), "0").unwrap();
        fs::remove_dir(&group).unwrap();
        Command::new("losetup").args(["--detach", &device]).status().unwrap();
        assert_eq!(found, Some(group));
        assert!(during > Duration::from_millis(350), "{during:?} at 20 a second");
        assert!(before < during && after < during, "{before:?}, {during:?}, {after:?}");
    }
}
