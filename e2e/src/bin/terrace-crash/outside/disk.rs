//! The disk fails: full by a stranger, errors under a Pod, an image that is not there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};

use super::look::{Told, troubles, warnings};

/// Long enough for whoever looks at all to have looked.
const LOOKED: Duration = Duration::from_secs(12);

/// The space that a pool reported is taken before a claim asks for it.
pub(super) fn is_full() -> Result<Told> {
    let story = Story::begin("outside-full")?;
    on_node(
        "mkdir -p /var/lib/terrace/pools/outside && truncate -s 2G /var/lib/terrace/outside.img && mkfs.xfs -q -f /var/lib/terrace/outside.img && mount -o loop /var/lib/terrace/outside.img /var/lib/terrace/pools/outside",
    )?;
    let told = full(&story);
    kubectl(&[
        "delete",
        "spool/outside",
        "sc/stories-outside",
        "--ignore-not-found",
        "--timeout=60s",
    ])?;
    until("the node forgets the pool", 60, || {
        let pools = kubectl(&["get", "snode", "-o", "jsonpath={.items[*].status.pools[*].name}"])?;
        Ok(if pools.contains("outside") { Err(pools) } else { Ok(()) })
    })?;
    on_node(
        "umount /var/lib/terrace/pools/outside; rm -rf /var/lib/terrace/pools/outside /var/lib/terrace/outside.img",
    )?;
    let told = told?;
    story.end()?;
    Ok(told)
}

fn full(story: &Story) -> Result<Told> {
    let pool = "apiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {name: outside}\nspec: {tier: outside, file: {directory: /var/lib/terrace/pools/outside}}\n";
    let class =
        class_yaml("stories-outside", "{terrace.storage/pool: outside}", "Immediate", "Delete");
    apply(&format!("{pool}{class}"))?;
    kubectl(&["wait", "spool/outside", "--for=condition=Ready", "--timeout=60s"])?;
    on_node("fallocate -l 1500M /var/lib/terrace/pools/outside/stranger")?;
    story.claim("data", "stories-outside", "1Gi", "")?;
    story.event("data", "free", 90)?;
    let conditions = troubles()?;
    let torso = on_node("find /var/lib/terrace/pools/outside -name 't-*'")?;
    ensure!(torso.is_empty(), "left behind: {torso}");
    let (events, codes) = warnings(story)?;
    on_node("rm /var/lib/terrace/pools/outside/stranger")?;
    let over = Instant::now();
    story.binds("data")?;
    let normal = Some(over.elapsed());
    story.kubectl(&["delete", "pvc", "data", "--timeout=60s"])?;
    Ok(Told {
        saw: events.join("; "),
        conditions: conditions.into_iter().chain(codes).collect(),
        normal,
    })
}

/// The filesystem of a volume in use is shut down, as a disk that fails would have it. What was made durable is there again
/// once the Pod has been replaced.
pub(super) fn gives_errors() -> Result<Told> {
    let story = Story::begin("outside-eio")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let at = mount_of(&story, "one", "data")?;
    on_node(&format!("xfs_io -x -c 'shutdown' {at}"))?;
    let said = story
        .exec("one", "echo more >> /data/f; sync; ls /data; true")
        .unwrap_or_else(|error| format!("{error:#}"));
    let refused = story.exec("one", "echo x > /data/g");
    ensure!(refused.is_err(), "a write to a filesystem that is shut down went well: {said}");
    let told = refused.err().map(|error| last_line(&format!("{error:#}"))).unwrap_or_default();
    std::thread::sleep(LOOKED);
    let conditions = troubles()?;
    let (events, codes) = warnings(&story)?;
    let over = Instant::now();
    story.kubectl(&["delete", "pod", "one", "--timeout=90s"])?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f && echo x > /data/g && sync")?;
    let normal = Some(over.elapsed());
    let saw = [
        vec![format!("the Pod's write: {told}")],
        events,
        vec!["a new Pod has every synced byte".to_owned()],
    ];
    story.drop_pod("two")?;
    story.end()?;
    Ok(Told {
        saw: saw.concat().join("; "),
        conditions: conditions.into_iter().chain(codes).collect(),
        normal,
    })
}

/// Where the node has a Pod's volume.
fn mount_of(story: &Story, pod: &str, claim: &str) -> Result<String> {
    let uid = story.kubectl(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])?;
    let volume = story.kubectl(&["get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}"])?;
    Ok(format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount"))
}

fn last_line(text: &str) -> String {
    let mut lines = text.lines().filter(|line| line.contains("rror"));
    let line = lines.next_back().unwrap_or(text);
    line.rsplit_once("exit status: 1: ").map_or(line, |(_, said)| said).to_owned()
}

/// The image of a volume that no Pod uses is moved away, and put back.
pub(super) fn image_is_gone() -> Result<Told> {
    let story = Story::begin("outside-gone")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let volume: Value = story.volume("data")?;
    story.drop_pod("one")?;
    let uuid = volume["spec"]["volumeUUID"].as_str().context("no UUID")?;
    let (image, aside) = (bytes_of(uuid)?, format!("/var/lib/terrace/aside-{uuid}"));
    until("the image is at rest", 60, || {
        let held = on_node(&format!("losetup -j {image}"))?;
        Ok(if held.trim().is_empty() { Ok(()) } else { Err(held) })
    })?;
    // The same filesystem: the image and its tag are moved, not copied.
    on_node(&format!("mv {image} {aside}"))?;
    story.pod("two", "data", "", "")?;
    let told = story.event("two", "code = ", 90);
    std::thread::sleep(LOOKED);
    let conditions = troubles();
    let made = on_node(&format!("ls {image} 2>/dev/null; true"))?;
    let seen = warnings(&story);
    on_node(&format!("mv {aside} {image}"))?;
    let over = Instant::now();
    ensure!(made.trim().is_empty(), "an image was made in place of the one that is gone");
    told?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    let normal = Some(over.elapsed());
    let (events, codes) = seen?;
    story.drop_pod("two")?;
    story.end()?;
    Ok(Told {
        saw: events.join("; "),
        conditions: conditions?.into_iter().chain(codes).collect(),
        normal,
    })
}
