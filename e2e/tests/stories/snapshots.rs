//! Snapshots, restores, clones and groups on the real node, of images and of subvolumes, through Kubernetes' own objects.

use anyhow::{Result, ensure};
use terrace_e2e::story::{Story, kubectl, until};

use crate::lvm::on_thin;
use crate::pools::{BTRFS, LVM_THIN, XFS, on_pool};

/// Room for a handful of volumes of 400Mi and their copies.
const DISK: &str = "12G";

fn on(backend: &str, name: &str, tell: impl Fn(&Story, &str) -> Result<()>) -> Result<()> {
    on_pool(&format!("copies-{name}"), backend, DISK, tell)
}

fn snapshot(story: &Story, name: &str, claim: &str) -> Result<()> {
    story.apply(&format!(
        "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {{name: {name}}}\nspec: {{volumeSnapshotClassName: terrace, source: {{persistentVolumeClaimName: {claim}}}}}\n"
    ))?;
    let ready = "--for=jsonpath={.status.readyToUse}=true";
    story.kubectl(&["wait", &format!("volumesnapshot/{name}"), ready, "--timeout=90s"]).map(drop)
}

fn from_snapshot(name: &str) -> String {
    format!(
        ", dataSource: {{apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: {name}}}"
    )
}

fn from_claim(name: &str) -> String {
    format!(", dataSource: {{kind: PersistentVolumeClaim, name: {name}}}")
}

/// A Pod with each of these claims at `/<claim>`.
fn pod(story: &Story, name: &str, claims: &[&str]) -> Result<()> {
    let mounts: String =
        claims.iter().map(|claim| format!("{{name: {claim}, mountPath: /{claim}}}, ")).collect();
    let volumes: String = claims
        .iter()
        .map(|claim| format!("{{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}, "))
        .collect();
    story.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: c, image: 'localhost/busybox:1', imagePullPolicy: IfNotPresent, command: [/bin/sh, -c, 'exec sleep 1000000'], volumeMounts: [{mounts}]}}\n  volumes: [{volumes}]\n"
    ))?;
    story.runs(name)
}

fn sizes(story: &Story, pod: &str, path: &str) -> Result<u64> {
    let blocks = story.exec(pod, &format!("df -P -k {path} | tail -1 | awk '{{print $2}}'"))?;
    Ok(blocks.trim().parse::<u64>()? * 1024)
}

/// The original, what was restored larger, and the clone, each with its own bytes, mounted side by side in one Pod; then the source goes
/// before its snapshot.
fn side_by_side(story: &Story, class: &str, backend: &str) -> Result<()> {
    story.claim("data", class, "400Mi", "")?;
    pod(story, "writer", &["data"])?;
    story.exec("writer", "echo before > /data/file && sync")?;
    snapshot(story, "before", "data")?;
    story.exec("writer", "echo after > /data/file && sync")?;
    story.claim("restored", class, "800Mi", &from_snapshot("before"))?;
    story.claim("clone", class, "400Mi", &from_claim("data"))?;
    pod(story, "all", &["data", "restored", "clone"])?;
    let read = story.exec("all", "cat /data/file /restored/file /clone/file")?;
    ensure!(read == "after\nbefore\nafter\n", "it reads {read:?}");
    if backend != BTRFS {
        let (original, restored) =
            (sizes(story, "all", "/data")?, sizes(story, "all", "/restored")?);
        ensure!(restored > original * 3 / 2, "restored larger: {original} and {restored} bytes");
    }
    story.exec("all", "echo mine > /restored/file && echo mine > /clone/own && sync")?;
    let read = story.exec("all", "cat /data/file; ls /data/own 2>/dev/null; true")?;
    ensure!(read == "after\n", "a copy is not its source: {read:?}");
    println!("{}", kubectl(&["get", "sv,ssnap,volumesnapshotcontents", "-o", "wide"])?);
    println!("{}", story.kubectl(&["get", "volumesnapshot,pvc"])?);
    story.drop_pod("all")?;
    story.drop_pod("writer")?;
    story.kubectl(&["delete", "pvc", "data", "--timeout=90s"])?;
    story.claim("later", class, "400Mi", &from_snapshot("before"))?;
    pod(story, "late", &["later"])?;
    let read = story.exec("late", "cat /later/file")?;
    ensure!(read == "before\n", "the snapshot outlives its source: {read:?}");
    story.kubectl(&["delete", "volumesnapshot", "before", "--timeout=90s"])?;
    until("the StorageSnapshot is gone", 60, || {
        let left = kubectl(&["get", "ssnap", "-o", "name"])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })
}

#[test]
fn original_restored_and_clone_of_xfs_are_mounted_side_by_side() -> Result<()> {
    on(XFS, "side", |story, class| side_by_side(story, class, XFS))
}

#[test]
fn original_restored_and_clone_of_a_subvolume_are_mounted_side_by_side() -> Result<()> {
    on(BTRFS, "side", |story, class| side_by_side(story, class, BTRFS))
}

#[test]
fn original_restored_and_clone_of_a_thin_logical_volume_are_mounted_side_by_side() -> Result<()> {
    on_thin("side", |story, class| side_by_side(story, class, LVM_THIN))
}

/// A writer puts each number into the log before it puts it into the data: no group may show it the other way round.
fn one_moment(story: &Story, class: &str) -> Result<()> {
    for claim in ["log", "data"] {
        story.claim(claim, class, "400Mi", "")?;
        story.kubectl(&["label", "pvc", claim, "group=ledger"])?;
    }
    pod(story, "writer", &["log", "data"])?;
    story.exec(
        "writer",
        "(n=0; while :; do n=$((n+1)); echo $n > /log/n; sync /log/n; echo $n > /data/n; sync /data/n; done) >/dev/null 2>&1 & until test -s /data/n; do :; done",
    )?;
    story.apply("apiVersion: groupsnapshot.storage.k8s.io/v1\nkind: VolumeGroupSnapshot\nmetadata: {name: both}\nspec: {volumeGroupSnapshotClassName: terrace, source: {selector: {matchLabels: {group: ledger}}}}\n")?;
    let ready = "--for=jsonpath={.status.readyToUse}=true";
    story.kubectl(&["wait", "volumegroupsnapshot/both", ready, "--timeout=90s"])?;
    let of = "jsonpath={range .items[*]}{.spec.source.persistentVolumeClaimName}{.status.boundVolumeSnapshotContentName} {.metadata.name}{\"\\n\"}{end}";
    println!(
        "{}\n{}",
        story.kubectl(&["get", "volumegroupsnapshot,volumesnapshot", "-o", "wide"])?,
        story.kubectl(&["get", "volumesnapshot", "-o", of])?
    );
    println!("{}", kubectl(&["get", "ssnap", "-o", "wide"])?);
    let members = members(story)?;
    ensure!(members.len() == 2, "members: {members:?}");
    for (claim, snapshot) in &members {
        story.claim(&format!("{claim}-then"), class, "400Mi", &from_snapshot(snapshot))?;
    }
    pod(story, "reader", &["log-then", "data-then"])?;
    let number = |path: &str| -> Result<u64> {
        Ok(story.exec("reader", &format!("cat {path}"))?.trim().parse()?)
    };
    let (log, data) = (number("/log-then/n")?, number("/data-then/n")?);
    println!("the group shows log {log}, data {data}");
    ensure!(log == data || log == data + 1, "log {log}, data {data}: not one moment");
    story.kubectl(&["delete", "volumegroupsnapshot", "both", "--timeout=90s"])?;
    until("the members are gone", 60, || {
        let left = kubectl(&["get", "ssnap", "-o", "name"])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })
}

/// Claim and VolumeSnapshot of each member of the group.
fn members(story: &Story) -> Result<Vec<(String, String)>> {
    let snapshots = story.kubectl(&["get", "volumesnapshot", "-o", "json"])?;
    let snapshots: serde_json::Value = serde_json::from_str(&snapshots)?;
    let mut members = Vec::new();
    for item in snapshots["items"].as_array().into_iter().flatten() {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let content = text(&item["status"]["boundVolumeSnapshotContentName"]);
        let path = "jsonpath={.status.snapshotHandle}";
        let handle = kubectl(&["get", "volumesnapshotcontent", &content, "-o", path])?;
        let volume = kubectl(&["get", "ssnap", &handle, "-o", "jsonpath={.spec.sourceVolume}"])?;
        let claim = kubectl(&["get", "sv", &volume, "-o", "jsonpath={.spec.claimRef.name}"])?;
        members.push((claim, text(&item["metadata"]["name"])));
    }
    Ok(members)
}

#[test]
fn a_group_of_images_shows_one_moment() -> Result<()> {
    on(XFS, "group", one_moment)
}

#[test]
fn a_group_of_subvolumes_shows_one_moment() -> Result<()> {
    on(BTRFS, "group", one_moment)
}

#[test]
fn a_group_of_thin_logical_volumes_shows_one_moment() -> Result<()> {
    on_thin("group", one_moment)
}
