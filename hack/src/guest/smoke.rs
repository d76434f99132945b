//! That a guest does what is said of it, in a few boots. It looks from outside: at statuses, at the host's files, at what a later guest finds.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::guest::boot::Which;
use crate::guest::{DIED, Host, Job, Shape, TIME_IS_UP};
use crate::paths::Paths;
use crate::run::Progress;

/// An emulated guest has BTF and a disk, runs a command, tells its status and dies when it should; the host stays as it was. Two boots.
pub(crate) fn emulated(paths: &Paths, progress: &Progress) -> Result<()> {
    let host = Host::take(Which::Qemu, paths, progress)?;
    let mark = paths.cache.join("guest/mark");
    let script = format!(
        "test -s /sys/kernel/btf/vmlinux && test -b /dev/vda && ! echo > /proc/nothing && echo > {} && exit 7",
        mark.display()
    );
    let run = |script: &str| {
        let shape = Shape {
            disks: 1,
            disk_size: Some(16),
            memory: Some(512),
            seconds: Some(120),
            ..Shape::default()
        };
        host.run(Job { shape, script, files: &[] })
    };
    expect("a command that ends with 7", run(&script)?, 7)?;
    ensure!(!mark.exists(), "what the guest wrote is on the host: {}", mark.display());
    expect("a guest that died", run("busybox poweroff -f")?, DIED)
}

/// A thin LV with a synced file, and the power cut.
const BEFORE: &str = r#"set -e
test -w /etc/passwd && echo > /etc/terrace-guest-mark
set -- $TERRACE_DISKS
test $# = 2
{ pvcreate "$1" "$2"; vgcreate vg "$1" "$2"; lvcreate --type thin-pool --size 200M --name pool vg
lvcreate --type thin --virtualsize 1G --thinpool pool --name thin vg; mkfs.ext4 /dev/vg/thin; } > /dev/null 2>&1
mount /dev/vg/thin /mnt
head -c 3000000 /dev/urandom > /mnt/synced
sync /mnt/synced /mnt
head -c 3000000 /dev/urandom > /mnt/unsynced
sha256sum < /mnt/synced
echo to the error stream >&2
echo > "$TERRACE_SHARE/cut"
sleep 600
"#;

/// The same disks in the next guest: what was synced is there and what was not is lost, and the filesystem grows while it is mounted.
const AFTER: &str = r#"set -e
vgchange --activate y vg > /dev/null
mount /dev/vg/thin /mnt
sha256sum < /mnt/synced
test ! -s /mnt/unsynced
before=$(stat --file-system --format %b /mnt)
{ lvextend --size 2G vg/thin; resize2fs /dev/vg/thin; } > /dev/null 2>&1
test "$(stat --file-system --format %b /mnt)" -gt "$before"
exit 7
"#;

/// A User Mode Linux makes a thin LV on its disks and is killed: the next one finds there what was synced. Three boots.
pub(crate) fn user_mode(paths: &Paths, progress: &Progress) -> Result<()> {
    let host = Host::take(Which::Uml, paths, progress)?;
    let keep = paths.cache.join(format!("guest/runs/{}", std::process::id()));
    let ended = lives(&host, &keep);
    fs::remove_dir_all(&keep)?;
    ended
}

fn lives(host: &Host<'_>, keep: &Path) -> Result<()> {
    let run = |script: &str, seconds: u64| {
        let shape = Shape {
            disks: 2,
            disk_size: Some(512),
            memory: Some(512),
            seconds: Some(seconds),
            keep: Some(keep.to_owned()),
            ..Shape::default()
        };
        host.run(Job { shape, script, files: &[] })
    };
    let said = |stream: &str| fs::read_to_string(keep.join(stream));
    expect("a guest whose power was cut", run(BEFORE, 120)?, DIED)?;
    let (sum, errors) = (said("out")?, said("err")?);
    ensure!(sum.len() > 64, "the guest said {sum}");
    ensure!(errors == "to the error stream\n", "the guest said {errors}");
    ensure!(!Path::new("/etc/terrace-guest-mark").exists(), "what the guest wrote is on the host");
    expect("a guest on the disks of one that was killed", run(AFTER, 120)?, 7)?;
    ensure!(said("out")? == sum, "what was synced is another after the power cut");
    expect("a guest that goes on for too long", run("sleep 600", 3)?, TIME_IS_UP)
}

fn expect(what: &str, status: u8, wanted: u8) -> Result<()> {
    ensure!(status == wanted, "{what} ended with {status}, not with {wanted}");
    Ok(())
}
