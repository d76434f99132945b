//! A volume in use: written, read again, full, raw, shared by group, read-only, ephemeral.

use anyhow::{Result, ensure};
use terrace_e2e::story::{Story, pod_yaml};

fn written_and_read_again(fs: &str) -> Result<()> {
    let story = Story::begin(&format!("life-{fs}"))?;
    story.claim("data", &format!("stories-{fs}"), "512Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    let mounts = story.exec("one", "grep ' /data ' /proc/mounts")?;
    ensure!(mounts.contains(fs), "/data is no {fs}: {mounts}");
    story.exec(
        "one",
        "dd if=/dev/urandom of=/data/f bs=1M count=64 && sync && md5sum /data/f > /data/sum",
    )?;
    story.drop_pod("one")?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "cd / && md5sum -c /data/sum")?;
    let volume = story.volume("data")?;
    ensure!(volume["status"]["phase"] == "InUse", "phase is {}", volume["status"]["phase"]);
    ensure!(volume["spec"]["fsType"] == fs, "fsType is {}", volume["spec"]["fsType"]);
    story.end()
}

#[test]
fn bytes_on_xfs_outlive_the_pod() -> Result<()> {
    written_and_read_again("xfs")
}

#[test]
fn bytes_on_ext4_outlive_the_pod() -> Result<()> {
    written_and_read_again("ext4")
}

#[test]
fn bytes_on_btrfs_outlive_the_pod() -> Result<()> {
    written_and_read_again("btrfs")
}

#[test]
fn a_full_volume_hurts_its_own_pod_alone_and_the_other_volume_stays_as_it_was() -> Result<()> {
    let story = Story::begin("full")?;
    for name in ["small", "other"] {
        story.claim(name, "stories-xfs", "320Mi", "")?;
        story.pod(name, name, "", "")?;
    }
    story.runs("small")?;
    story.runs("other")?;
    story.exec("other", "echo mine > /data/f && sync")?;
    let filled = story.exec("small", "dd if=/dev/zero of=/data/big bs=1M; echo \"code $?\"; dd if=/dev/zero of=/data/more bs=1M count=1 2>&1 || true")?;
    ensure!(filled.contains("No space left on device"), "no ENOSPC: {filled}");
    story.exec(
        "other",
        "dd if=/dev/zero of=/data/g bs=1M count=100 && grep -q mine /data/f && ! test -e /data/big",
    )?;
    story.event("small", "resize the volume or clean up data", 90)?;
    story.end()
}

#[test]
fn a_raw_block_volume_keeps_its_bytes() -> Result<()> {
    let story = Story::begin("raw")?;
    story.claim("raw", "stories-plain", "64Mi", ", volumeMode: Block")?;
    let device = "volumeDevices: [{name: v, devicePath: /dev/raw}]";
    let volume = "persistentVolumeClaim: {claimName: raw}";
    story.apply(&pod_yaml("one", "", device, volume))?;
    story.runs("one")?;
    story.exec(
        "one",
        "test -b /dev/raw && echo terrace | dd of=/dev/raw bs=512 seek=2048 conv=sync && sync",
    )?;
    story.drop_pod("one")?;
    story.apply(&pod_yaml("two", "", device, volume))?;
    story.runs("two")?;
    let read = story.exec("two", "dd if=/dev/raw bs=512 skip=2048 count=1 2>/dev/null; blockdev --getsize64 /dev/raw 2>/dev/null || true")?;
    ensure!(read.starts_with("terrace"), "read {read:?}");
    story.end()
}

#[test]
fn a_pods_group_owns_the_volume() -> Result<()> {
    let story = Story::begin("group")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod(
        "one",
        "data",
        "securityContext: {fsGroup: 4242, runAsUser: 1000, runAsGroup: 1000}",
        "",
    )?;
    story.runs("one")?;
    let seen = story.exec("one", "echo x > /data/f && stat -c %g /data/f && stat -c %g /data")?;
    ensure!(seen.split_whitespace().all(|group| group == "4242"), "groups {seen}");
    story.end()
}

#[test]
fn a_read_only_mount_refuses_writes_and_reads() -> Result<()> {
    let story = Story::begin("read-only")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo x > /data/f && sync")?;
    story.drop_pod("one")?;
    let volume = "persistentVolumeClaim: {claimName: data, readOnly: true}";
    story.apply(&pod_yaml("two", "", "volumeMounts: [{name: v, mountPath: /data}]", volume))?;
    story.runs("two")?;
    let seen = story.exec("two", "cat /data/f; touch /data/g 2>&1 || true")?;
    ensure!(seen.contains('x') && seen.contains("Read-only file system"), "{seen}");
    story.end()
}

#[test]
fn mount_options_reach_the_mount() -> Result<()> {
    let story = Story::begin("options")?;
    let class = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: stories-options}\nprovisioner: csi.terrace.storage\nvolumeBindingMode: WaitForFirstConsumer\nmountOptions: [noatime]\nparameters: {terrace.storage/pool: stories}\n";
    story.apply(class)?;
    story.claim("data", "stories-options", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    let mounts = story.exec("one", "grep ' /data ' /proc/mounts")?;
    ensure!(mounts.contains("noatime"), "{mounts}");
    story.kubectl(&["delete", "storageclass", "stories-options"])?;
    story.end()
}

#[test]
fn a_generic_ephemeral_volume_comes_and_goes_with_its_pod() -> Result<()> {
    let story = Story::begin("ephemeral")?;
    let volume = "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOncePod], storageClassName: stories-xfs, resources: {requests: {storage: 320Mi}}}}}";
    story.apply(&pod_yaml("one", "", "volumeMounts: [{name: v, mountPath: /data}]", volume))?;
    story.runs("one")?;
    story.exec("one", "echo x > /data/f")?;
    let uuid = story.volume("one-v")?["spec"]["volumeUUID"].as_str().unwrap_or_default().to_owned();
    story.drop_pod("one")?;
    terrace_e2e::story::host_is_rid_of(&uuid)?;
    story.end()
}
