//! The StorageClasses that Kubernetes' own suite judges: each with a pool of its own on a disk image or a disk, made and removed
//! here. What is claimed of a class stands in `e2e/conformance/CLASS/driver.yaml`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::holder::Holder;
use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{output, run, succeeds};
use crate::tools::Tools;

/// One class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Backend `file` on xfs (for reflinks), xfs in the images.
    FileXfs,
    /// Backend `btrfs` on a folder of a btrfs.
    Btrfs,
    /// Backend `lvmThin` on a disk: only in a guest that has device-mapper, see `hack/guest conformance`.
    LvmThin,
}

/// What `--class` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    FileXfs,
    Btrfs,
    LvmThin,
    /// Those that need no disk.
    All,
}

impl Choice {
    pub(crate) fn classes(self) -> &'static [Class] {
        match self {
            Self::FileXfs => &[Class::FileXfs],
            Self::Btrfs => &[Class::Btrfs],
            Self::LvmThin => &[Class::LvmThin],
            Self::All => &[Class::FileXfs, Class::Btrfs],
        }
    }
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FileXfs => "file-xfs",
            Self::Btrfs => "btrfs",
            Self::LvmThin => "lvm-thin",
        }
    }

    /// How the filesystem of its disk image is made, where it has one.
    fn mkfs(self) -> Option<&'static str> {
        match self {
            Self::FileXfs => Some("mkfs.xfs -q -f"),
            Self::Btrfs => Some("mkfs.btrfs -q -f"),
            Self::LvmThin => None,
        }
    }

    fn file(self, paths: &Paths, name: &str) -> PathBuf {
        paths.repo.join("e2e/conformance").join(self.name()).join(name)
    }

    /// What the suite is told of the driver.
    pub(crate) fn driver_file(self, paths: &Paths) -> PathBuf {
        self.file(paths, "driver.yaml")
    }

    /// Makes the disk image on the node, then the pool and the StorageClass; idempotent.
    pub(crate) fn prepare(self, paths: &Paths, tools: &Tools, holder: &Holder) -> Result<()> {
        self.on_image(holder, MOUNT).context("make the disk image of the pool")?;
        let mut apply = kubectl(paths, tools)?;
        apply.args(["apply", "--filename"]).arg(self.file(paths, "pool.yaml"));
        run(apply.stdout(Stdio::null()))?;
        let pool = format!("storagepools.terrace.storage/conformance-{}", self.name());
        let wait = ["wait", "--for=condition=Ready", "--timeout=60s", &pool];
        if succeeds(kubectl(paths, tools)?.args(wait)) {
            return Ok(());
        }
        let found = output(kubectl(paths, tools)?.args(["get", &pool, "--output=yaml"]))?;
        anyhow::bail!("the pool did not become ready:\n{found}")
    }

    /// Takes class, pool and disk image away. The pool stays as long as volumes lie in it, and says so.
    pub(crate) fn remove(self, paths: &Paths, tools: &Tools, holder: &Holder) -> Result<()> {
        let mut delete = kubectl(paths, tools)?;
        delete.args(["delete", "--ignore-not-found", "--timeout=60s", "--filename"]);
        run(delete.arg(self.file(paths, "pool.yaml")).stdout(Stdio::null()))?;
        self.on_image(holder, UNMOUNT).context("remove the disk image of the pool")
    }

    fn on_image(self, holder: &Holder, script: &str) -> Result<()> {
        let Some(mkfs) = self.mkfs() else { return Ok(()) };
        run(holder.enter().args(["sh", "-ec", script, self.name(), mkfs]))
    }
}

/// `$0` is the name of the class, `$1` how its filesystem is made. The image is sparse and lies in the rig's state.
const MOUNT: &str = r#"
image=/var/lib/terrace/conformance-$0.img point=/var/lib/terrace/pools/conformance-$0
mkdir -p "$point"
mountpoint -q "$point" && exit 0
truncate -s 40G "$image"
$1 "$image"
mount -o loop "$image" "$point"
"#;

const UNMOUNT: &str = r#"
image=/var/lib/terrace/conformance-$0.img point=/var/lib/terrace/pools/conformance-$0
if mountpoint -q "$point"; then umount "$point"; fi
rm -f "$image"
rmdir "$point"
"#;

/// How many volumes the kubelet was told the node may hold.
pub(crate) fn volume_limit(paths: &Paths, tools: &Tools) -> Result<String> {
    let count =
        "jsonpath={.items[0].spec.drivers[?(@.name=='csi.terrace.storage')].allocatable.count}";
    output(kubectl(paths, tools)?.args(["get", "csinodes", "--output", count]))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::{Choice, Class};
    use crate::paths::Paths;

    /// Names as the suite spells them; it drops one it does not know without a word.
    const BOTH: &str = "persistence fsGroup exec snapshotDataSource pvcDataSource multipods controllerExpansion \
        nodeExpansion onlineExpansion offlineExpansion singleNodeVolume topology capacity readWriteOncePod \
        volumeLimits groupSnapshot";

    #[test]
    fn a_driver_file_claims_what_its_class_can_and_nothing_else() {
        let paths = Paths::from_env().unwrap();
        let classes = Choice::value_variants().iter().flat_map(|choice| choice.classes());
        for class in classes {
            let text = std::fs::read_to_string(class.driver_file(&paths)).unwrap();
            let claims = text.lines().filter_map(|line| line.trim().strip_suffix(": true"));
            let mut claims: Vec<&str> = claims.collect();
            let own = match class {
                Class::FileXfs | Class::LvmThin => "block",
                Class::Btrfs => "FSResizeFromSourceNotSupported",
            };
            let mut wanted: Vec<&str> = BOTH.split_whitespace().chain([own]).collect();
            claims.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(claims, wanted, "{}", class.name());
        }
    }
}
