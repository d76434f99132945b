//! Volumes of a btrfs pool: a subvolume each, on a btrfs that the node makes on a blank device.

use anyhow::{Result, ensure};
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, kubectl, until};

use crate::pools::{BTRFS, on_pool};

const GROW: &str = r#"{"spec":{"resources":{"requests":{"storage":"400Mi"}}}}"#;

/// A story with a btrfs pool of its own, on a disk of its own, and a class that uses it.
fn on_btrfs(name: &str, tell: impl Fn(&Story, &str) -> Result<()>) -> Result<()> {
    on_pool(&format!("subvolumes-{name}"), BTRFS, "1G", tell)
}

/// Bytes that fit into a file of the Pod, up to so many MiB, and what the shell said.
fn fill(story: &Story, file: &str, mib: u32) -> Result<String> {
    story.exec(
        "one",
        &format!("dd if=/dev/zero of=/data/{file} bs=1M count={mib} conv=fsync 2>&1; true"),
    )
}

#[test]
fn a_volume_of_a_btrfs_pool_keeps_its_files_when_its_pod_comes_again() -> Result<()> {
    on_btrfs("life", |story, class| {
        story.claim("data", class, "200Mi", "")?;
        story.pod("one", "data", "", "")?;
        story.runs("one")?;
        story.exec("one", "echo kept > /data/file && mkdir /data/dir && sync")?;
        story.drop_pod("one")?;
        story.pod("one", "data", "", "")?;
        story.runs("one")?;
        let kept = story.exec("one", "cat /data/file && test -d /data/dir")?;
        ensure!(kept.trim() == "kept", "it reads {kept:?}");
        let volume = story.volume("data")?;
        ensure!(volume["status"]["backend"] == "btrfs", "{volume:#}");
        let device = volume["status"]["device"].as_str().unwrap_or_default().to_owned();
        let shown =
            on_node(&format!("btrfs subvolume show {device}/volume | grep -i 'subvolume id'"))?;
        println!(
            "{}\n{device}: {}",
            kubectl(&["get", "sv,spool,snode", "-o", "wide"])?,
            shown.trim()
        );
        Ok(())
    })
}

#[test]
fn a_subvolume_over_its_quota_is_told_so_and_grows_while_it_is_written() -> Result<()> {
    on_btrfs("quota", |story, class| {
        for claim in ["data", "other"] {
            story.claim(claim, class, "200Mi", "")?;
        }
        story.pod("one", "data", "", "")?;
        story.runs("one")?;
        story.pod("two", "other", "", "")?;
        story.runs("two")?;
        let said = fill(story, "big", 300)?;
        println!("{said}");
        ensure!(
            said.contains("quota exceeded") || said.contains("No space left"),
            "it said {said}"
        );
        story.exec("two", "dd if=/dev/zero of=/data/file bs=1M count=100 conv=fsync 2>&1")?;
        story.exec(
            "one",
            "(while :; do date >> /data/log 2>/dev/null; sync; done) >/dev/null 2>&1 & echo $! > /tmp/pid",
        )?;
        story.kubectl(&["patch", "pvc", "data", "-p", GROW])?;
        let wait = "--for=jsonpath={.status.capacity.storage}=400Mi";
        story.kubectl(&["wait", "pvc/data", wait, "--timeout=90s"])?;
        until("there is room again", 60, || {
            let said = fill(story, "more", 100)?;
            Ok(if said.contains("quota exceeded") { Err(said) } else { Ok(()) })
        })?;
        story.exec("one", "kill $(cat /tmp/pid); test $(wc -l < /data/log) -gt 0").map(drop)
    })
}

#[test]
fn what_a_btrfs_pool_cannot_hold_is_refused_with_a_sentence() -> Result<()> {
    on_btrfs("refused", |story, class| {
        story.claim("raw", class, "200Mi", ", volumeMode: Block")?;
        story.apply(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: raw}\nspec:\n  containers:\n  - name: c\n    image: localhost/busybox:1\n    command: [/bin/sh, -c, \"sleep 1000000\"]\n    volumeDevices: [{name: v, devicePath: /dev/raw}]\n  volumes:\n  - name: v\n    persistentVolumeClaim: {claimName: raw}\n"
        )?;
        println!("{}", story.event("raw", "block", 60)?);
        Ok(())
    })
}
