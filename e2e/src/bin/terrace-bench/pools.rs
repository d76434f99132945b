//! The classes that are measured where none is named: `file` with xfs, and `btrfs` on a filesystem made for the purpose.

use anyhow::Result;
use terrace_e2e::rig;
use terrace_e2e::story::{apply, class_yaml, kubectl};

/// The stories' class on backend `file`.
pub(crate) const FILE: &str = "stories-xfs";
/// The class that [`prepare`] makes.
pub(crate) const BTRFS: &str = "bench-btrfs";

const POOL: &str = "
apiVersion: terrace.storage/v1alpha1
kind: StoragePool
metadata: {name: bench-btrfs}
spec:
  tier: bench-btrfs
  btrfs: {directory: /var/lib/terrace/pools/bench-btrfs}
";

/// Direct I/O, so that the node's memory plays no part on either side.
const MOUNT: &str = r#"set -e
image=/var/lib/terrace/bench-btrfs.img point=/var/lib/terrace/pools/bench-btrfs
mkdir -p $point
mountpoint -q $point && exit 0
fallocate -l 6G $image
device=$(losetup --find --show --direct-io=on $image)
mkfs.btrfs -q -f $device
mount $device $point
losetup --detach $device
"#;

const UNMOUNT: &str = r#"set -e
image=/var/lib/terrace/bench-btrfs.img point=/var/lib/terrace/pools/bench-btrfs
if mountpoint -q $point; then umount $point; fi
rm -f $image
rmdir $point
"#;

/// Makes what the class needs; nothing for a class that is there.
pub(crate) fn prepare(class: &str) -> Result<()> {
    if class != BTRFS {
        return Ok(());
    }
    rig::on_node(MOUNT)?;
    let parameters = "{terrace.storage/pool: bench-btrfs}";
    apply(&[POOL, &class_yaml(BTRFS, parameters, "WaitForFirstConsumer", "Delete")].concat())?;
    kubectl(&["wait", "spool/bench-btrfs", "--for=condition=Ready", "--timeout=60s"]).map(drop)
}

/// Takes it away, once no volume is left.
pub(crate) fn remove(class: &str) -> Result<()> {
    if class != BTRFS {
        return Ok(());
    }
    kubectl(&["delete", "spool/bench-btrfs", "storageclass/bench-btrfs", "--timeout=60s"])?;
    rig::on_node(UNMOUNT).map(drop)
}
