//! Free space as the scheduler sees it: published for each node and class, followed within seconds, and shared by many
//! Pods of which only some fit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_crds::Size;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, pod_yaml, until};
use terrace_e2e::watch::follow;

use crate::pools::rid_of;

const FOLDER: &str = "/var/lib/terrace/pools/capacity";
const IMAGE: &str = "/var/lib/terrace/story-capacity.img";
const POOL: &str = "apiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {name: capacity}\nspec: {tier: capacity, file: {directory: /var/lib/terrace/pools/capacity}}\n";
const MIB: u64 = 1 << 20;
/// Free space is read every 5 s; two more for the call, the write and the watch.
const FRESH: Duration = Duration::from_secs(7);
/// How many Pods ask for a volume at once; more by `TERRACE_STORY_PODS`.
const PODS: usize = 24;
/// How many of them fit.
const ROOM: usize = 12;

/// A story with a pool whose size nobody else changes, and two classes of it.
fn with_pool(name: &str, work: impl FnOnce(&Story) -> Result<()>) -> Result<()> {
    let story = Story::begin(name)?;
    let done = set_up().and_then(|()| work(&story));
    let ended = story.end();
    kubectl(&["delete", "sc", "capacity-late", "capacity-now", "--ignore-not-found"])?;
    rid_of(&["capacity"])?;
    on_node(&format!("umount {FOLDER}; rm -rf {FOLDER} {IMAGE}"))?;
    done.and(ended)
}

fn set_up() -> Result<()> {
    on_node(&format!(
        "mkdir -p {FOLDER} && truncate -s 1G {IMAGE} && mkfs.xfs -q -f {IMAGE} && mount -o loop {IMAGE} {FOLDER}"
    ))?;
    let parameters = "{terrace.storage/pool: capacity, terrace.storage/fs-type: ext4}";
    let late = class_yaml("capacity-late", parameters, "WaitForFirstConsumer", "Delete");
    let now = class_yaml("capacity-now", parameters, "Immediate", "Delete");
    apply(&format!("{POOL}{late}{now}"))?;
    kubectl(&["wait", "spool/capacity", "--for=condition=Ready", "--timeout=60s"]).map(drop)
}

/// Every CSIStorageCapacity of a class.
fn published(class: &str) -> Result<Vec<Value>> {
    let all = kubectl(&["-n", "terrace-system", "get", "csistoragecapacities", "-o", "json"])?;
    let all: Value = serde_json::from_str(&all)?;
    let items = all["items"].as_array().into_iter().flatten();
    Ok(items.filter(|item| item["storageClassName"] == class).cloned().collect())
}

/// The one of our node: its name and the bytes it tells of.
fn of_our_node(class: &str) -> Result<(String, u64)> {
    until(&format!("free space for class {class} is published"), 30, || {
        let all = published(class)?;
        let [one] = all.as_slice() else { return Ok(Err(format!("{} objects", all.len()))) };
        let topology = &one["nodeTopology"]["matchLabels"];
        ensure!(topology["topology.terrace.storage/node"] == "node-a", "{one}");
        ensure!(one["metadata"]["ownerReferences"][0]["kind"] == "Deployment", "{one}");
        let name = one["metadata"]["name"].as_str().context("no name")?;
        // Read before the pool was in service, it tells of nothing; the next reading is 5 s later.
        Ok(match bytes(&one["capacity"])? {
            0 => Err(format!("{name} tells of no free space")),
            free => Ok((name.to_owned(), free)),
        })
    })
}

fn bytes(size: &Value) -> Result<u64> {
    Ok(serde_json::from_value::<Size>(size.clone())?.bytes()?)
}

/// Waits until the object tells of so many bytes; gives how long that took.
fn comes_to(object: &str, asked: u64, limit: Duration) -> Result<Duration> {
    let start = Instant::now();
    let line = "jsonpath={.capacity} {.maximumVolumeSize}{\"\\n\"}";
    let words = ["-n", "terrace-system", "get", "csistoragecapacity", object, "-o", line];
    follow(&format!("{object} tells of {asked} bytes"), limit, &words, |line| {
        let (all, largest) = line.split_once(' ').context("two sizes")?;
        let is_so = bytes(&all.into())? == asked && bytes(&largest.into())? == asked;
        Ok(is_so.then_some(start.elapsed()))
    })
}

#[test]
fn free_space_is_published_for_the_node_and_each_class_and_follows_within_seconds() -> Result<()> {
    with_pool("capacity", |story| {
        let (object, before) = of_our_node("capacity-late")?;
        // The other pool's classes have theirs; where no Pod is waited for, the scheduler does not ask.
        of_our_node("stories-xfs")?;
        ensure!(published("capacity-now")?.is_empty(), "published for an Immediate class");
        story.claim("one", "capacity-now", "64Mi", "")?;
        story.binds("one")?;
        let fell = comes_to(&object, before - 64 * MIB, FRESH)?;
        let volume = story.volume("one")?;
        let name = volume["metadata"]["name"].as_str().context("no name")?;
        story.kubectl(&["delete", "pvc", "one", "--timeout=60s"])?;
        kubectl(&["wait", &format!("sv/{name}"), "--for=delete", "--timeout=60s"])?;
        let rose = comes_to(&object, before, FRESH)?;
        println!(
            "fell {:.1} s after Bound, rose {:.1} s after the end",
            fell.as_secs_f64(),
            rose.as_secs_f64()
        );
        Ok(())
    })
}

/// Pods that each bring a claim of this size.
fn pods(count: usize, size: u64) -> String {
    let volume = format!(
        "ephemeral: {{volumeClaimTemplate: {{spec: {{accessModes: [ReadWriteOncePod], storageClassName: capacity-late, resources: {{requests: {{storage: \"{size}\"}}}}}}}}}}"
    );
    let mount = "volumeMounts: [{name: v, mountPath: /data}]";
    let all: Vec<String> =
        (0..count).map(|number| pod_yaml(&format!("p{number}"), "", mount, &volume)).collect();
    all.join("---\n")
}

/// Waits until so many Pods run that did not have their turn yet; gives their names.
fn next_ones(story: &Story, had: &BTreeSet<String>, count: usize) -> Result<BTreeSet<String>> {
    let line = "jsonpath={.metadata.name} {.status.phase} {.metadata.deletionTimestamp}{\"\\n\"}";
    let words = ["-n", &story.namespace, "get", "pods", "-o", line];
    let mut running = BTreeSet::new();
    follow(&format!("{count} Pods run"), Duration::from_secs(180), &words, |line| {
        if let [name, "Running"] = line.split_whitespace().collect::<Vec<_>>()[..]
            && !had.contains(name)
        {
            running.insert(name.to_owned());
        }
        Ok((running.len() >= count).then(|| running.clone()))
    })
}

/// What was refused for want of room left nothing behind: every StorageVolume of the pool is that of a Pod that runs.
fn only_these_have_volumes(running: &BTreeSet<String>) -> Result<()> {
    let claims: BTreeSet<String> = running.iter().map(|pod| format!("{pod}-v")).collect();
    until("every StorageVolume belongs to a Pod that runs", 30, || {
        let all: Value = serde_json::from_str(&kubectl(&["get", "sv", "-o", "json"])?)?;
        let items = all["items"].as_array().into_iter().flatten();
        let ours = items.filter(|item| item["spec"]["pool"] == "capacity");
        let found: Vec<String> = ours
            .map(|item| item["spec"]["claimRef"]["name"].as_str().unwrap_or("?").to_owned())
            .collect();
        let is_so = found.len() == claims.len() && found.iter().all(|name| claims.contains(name));
        Ok(if is_so { Ok(()) } else { Err(format!("{found:?} for {claims:?}")) })
    })
}

#[test]
fn of_many_pods_on_a_nearly_full_pool_those_that_fit_run_and_the_others_get_their_turn()
-> Result<()> {
    let count = std::env::var("TERRACE_STORY_PODS").map_or(Ok(PODS), |text| text.parse())?;
    with_pool("many", |story| {
        let (object, before) = of_our_node("capacity-late")?;
        let size = before / ROOM as u64 / MIB * MIB;
        ensure!(before / size == ROOM as u64, "{before} bytes hold {} of {size}", before / size);
        let start = Instant::now();
        story.apply(&pods(count, size))?;
        let mut had = BTreeSet::new();
        while had.len() < count {
            let running = next_ones(story, &had, ROOM.min(count - had.len()))?;
            only_these_have_volumes(&running)?;
            println!(
                "{:6.1} s  {} Pods run, {} had their turn",
                start.elapsed().as_secs_f64(),
                running.len(),
                had.len()
            );
            let mut delete = vec!["delete", "pod", "--wait=false"];
            delete.extend(running.iter().map(String::as_str));
            story.kubectl(&delete)?;
            had.extend(running);
        }
        comes_to(&object, before, Duration::from_secs(90))?;
        only_these_have_volumes(&BTreeSet::new())?;
        let left = on_node(&format!("find {FOLDER} -name '*-*-*-*-*'"))?;
        ensure!(left.is_empty(), "left behind: {left}");
        Ok(())
    })
}
