//! Volumes of an lvm or lvmThin pool: logical volumes of a group that the node makes on a blank disk. That takes device-mapper and a disk: `hack/guest stories --disks 3 logical`.

use std::io::Write as _;

use anyhow::{Result, ensure};
use terrace_e2e::ground::disks;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, kubectl, until};

use crate::pools::{LVM, LVM_THIN, on_pool};

/// A story with a volume group of its own; on a machine without a disk for it nothing is told, which is said.
pub(crate) fn on_lvm(name: &str, tell: impl Fn(&Story, &str) -> Result<()>) -> Result<()> {
    on_group(LVM, name, tell)
}

/// A story with a thin pool of its own, as [`on_lvm`].
pub(crate) fn on_thin(name: &str, tell: impl Fn(&Story, &str) -> Result<()>) -> Result<()> {
    on_group(LVM_THIN, name, tell)
}

fn on_group(backend: &str, name: &str, tell: impl Fn(&Story, &str) -> Result<()>) -> Result<()> {
    if disks().len() < 2 {
        let said = "left out: needs a machine with device-mapper and disks: hack/guest stories --disks 3 logical\n";
        // Past the capture of what a test prints: who reads a passed run must see it.
        std::io::stderr().write_all(said.as_bytes())?;
        return Ok(());
    }
    on_pool(&format!("logical-{name}"), backend, "", tell)
}

fn grow(story: &Story, claim: &str, size: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
    story.kubectl(&["patch", "pvc", claim, "-p", &patch])?;
    let wait = format!("--for=jsonpath={{.status.capacity.storage}}={size}");
    story.kubectl(&["wait", &format!("pvc/{claim}"), &wait, "--timeout=90s"]).map(drop)
}

const BLOCK: &str = "volumeDevices: [{name: v, devicePath: /dev/data}]";

#[test]
fn a_logical_volume_lives_grows_in_use_and_outlives_a_restart_of_its_node() -> Result<()> {
    on_lvm("life", |story, class| {
        story.claim("data", class, "301Mi", "")?;
        story.claim("raw", class, "64Mi", ", volumeMode: Block")?;
        story.pod("one", "data", "", "")?;
        story.apply(&terrace_e2e::story::pod_yaml(
            "two",
            "",
            BLOCK,
            "persistentVolumeClaim: {claimName: raw}",
        ))?;
        story.runs("one")?;
        story.runs("two")?;
        story.exec("one", "echo kept > /data/file && sync")?;
        story.exec("two", "echo kept | dd of=/dev/data bs=512 conv=sync,fsync 2>&1")?;
        on_node("pkill -KILL -x terrace-node")?;
        grow(story, "data", "450Mi")?;
        grow(story, "raw", "128Mi")?;
        let size = story.exec("one", "cat /data/file; df -P -m /data | tail -1")?;
        let raw = story
            .exec("two", "head -c 4 /dev/data; tail -c 67108864 /dev/data | tr -d '\\0' | wc -c")?;
        println!("{size}{raw}");
        ensure!(size.starts_with("kept"), "it reads {size:?}");
        ensure!(raw.trim() == "kept0", "what the raw volume gained is not zeros: {raw:?}");
        println!("{}", kubectl(&["get", "sv,spool,snode", "-o", "wide"])?);
        println!("{}", on_node("lvs -o lv_name,vg_name,lv_size 2>/dev/null; dmsetup ls")?);
        let volume = story.volume("data")?;
        ensure!(volume["status"]["backend"] == "lvm", "{volume:#}");
        Ok(())
    })
}

#[test]
fn a_copy_of_a_logical_volume_is_refused_with_what_to_do_instead() -> Result<()> {
    on_lvm("copies", |story, class| {
        story.claim("data", class, "301Mi", "")?;
        story.pod("one", "data", "", "")?;
        story.runs("one")?;
        story.apply("apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: now}\nspec: {volumeSnapshotClassName: terrace, source: {persistentVolumeClaimName: data}}\n")?;
        let words = "use an lvmThin, btrfs or file pool";
        let said = until("the snapshot says why not", 90, || {
            let status =
                story.kubectl(&["get", "volumesnapshot", "now", "-o", "jsonpath={.status}"])?;
            Ok(if status.contains(words) { Ok(status) } else { Err(status) })
        })?;
        println!("{said}");
        story.kubectl(&["delete", "volumesnapshot", "now", "--timeout=60s"])?;
        story.claim(
            "clone",
            class,
            "301Mi",
            ", dataSource: {kind: PersistentVolumeClaim, name: data}",
        )?;
        story.pod("two", "clone", "", "")?;
        println!("{}", story.event("clone", words, 90)?);
        Ok(())
    })
}

/// Three volumes, each nearly as large as the pool, which together promise more than it has. What is deleted in a filesystem comes back to the pool.
#[test]
fn thin_logical_volumes_grow_in_use_give_back_what_is_deleted_and_are_refused_once_the_pool_is_full()
-> Result<()> {
    on_thin("thin", |story, class| {
        let change = |spec: &str| kubectl(&["patch", "spool", class, "--type=merge", "-p", spec]);
        change(r#"{"spec":{"lvmThin":{"overprovision":3.0}}}"#)?;
        story.claim("data", class, "10Gi", "")?;
        story.claim("other", class, "10Gi", "")?;
        story.pod("one", "data", "", "")?;
        story.pod("two", "other", "", "")?;
        story.runs("one")?;
        story.runs("two")?;
        let empty = in_use(class)?;
        story.exec("one", "dd if=/dev/zero of=/data/large bs=1M count=300 conv=fsync 2>&1")?;
        story.exec("one", "echo kept > /data/file && rm /data/large && sync")?;
        grow(story, "data", "12Gi")?;
        until("the pool has back what was deleted", 150, || {
            let used = in_use(class)?;
            Ok(if used < empty + (200 << 20) {
                Ok(())
            } else {
                Err(format!("{used} bytes in use"))
            })
        })?;
        ensure!(story.exec("one", "cat /data/file")? == "kept\n", "another file");
        change(r#"{"spec":{"watermarks":{"data":5}}}"#)?;
        let part = free(class, "capacity")?.div_ceil(20) >> 20;
        story.exec(
            "two",
            &format!("dd if=/dev/zero of=/data/large bs=1M count={part} conv=fsync 2>&1"),
        )?;
        until("the node tells what is written", 20, || {
            let (used, size) = (in_use(class)?, free(class, "capacity")?);
            Ok(if used * 20 >= size { Ok(()) } else { Err(format!("{used} of {size}")) })
        })?;
        story.claim("late", class, "1Gi", "")?;
        story.pod("three", "late", "", "")?;
        println!("{}", story.event("late", "of the disk in use", 150)?);
        println!("{}", kubectl(&["get", "sv,spool", "-o", "wide"])?);
        ensure!(story.exec("one", "echo more >> /data/file && cat /data/file")? == "kept\nmore\n");
        let volume = story.volume("data")?;
        ensure!(volume["status"]["backend"] == "lvmThin", "{volume:#}");
        Ok(())
    })
}

/// Bytes of a pool, as its node lists them.
fn free(pool: &str, what: &str) -> Result<u64> {
    let path = format!("jsonpath={{.items[*].status.pools[?(@.name==\"{pool}\")].{what}}}");
    let size: terrace_crds::Size = kubectl(&["get", "snode", "-o", &path])?.parse()?;
    Ok(size.bytes()?)
}

fn in_use(pool: &str) -> Result<u64> {
    Ok(free(pool, "capacity")?.saturating_sub(free(pool, "free")?))
}
