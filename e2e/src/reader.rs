//! A Pod that reads from its claim without end, past the page cache, and a throttle on the volume below it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::rig::on_node;
use crate::story::{Story, apply, class_yaml, until};
use crate::throttle::Throttle;

/// One after the other, until the Pod ends.
const READS: &str =
    "(while :; do dd if=/data/file of=/dev/null bs=4k iflag=direct; done) >/dev/null 2>&1 &";

/// The claim `data` of a class of the story's own whose p99 is to stay below `target`, such as 10ms, and the Pod `reader`.
///
/// # Errors
/// Where the cluster does not do it.
pub fn reader(name: &str, target: &str) -> Result<Story> {
    let story = Story::begin(name)?;
    let class = format!("{name}-class");
    let parameters = format!(
        "{{terrace.storage/pool: stories, terrace.storage/fs-type: xfs, terrace.storage/latency-p99: {target}}}"
    );
    apply(&class_yaml(&class, &parameters, "WaitForFirstConsumer", "Delete"))?;
    story.claim("data", &class, "320Mi", "")?;
    story.pod("reader", "data", "", "")?;
    story.runs("reader")?;
    story.exec("reader", "dd if=/dev/zero of=/data/file bs=4k count=2000 && sync")?;
    story.exec("reader", READS)?;
    Ok(story)
}

/// Lets the reader do so many operations a second on its volume, until it is dropped.
///
/// # Errors
/// No such Pod or device, no cgroup v1.
pub fn throttle(story: &Story, volume: &Value, per_second: u64) -> Result<Throttle> {
    let path = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = story.kubectl(&["get", "pod", "reader", "-o", path])?;
    let id = id.trim_start_matches("containerd://").to_owned();
    let image = volume["status"]["device"].as_str().context("the volume names no device")?;
    let number = on_node(&format!("losetup --noheadings --output MAJ:MIN --associated {image}"))?;
    let (major, minor) = number.trim().split_once(':').context("no loop device")?;
    Throttle::of_container(&id, (major.trim().parse()?, minor.trim().parse()?), per_second)
}

/// Waits until the condition LatencyHigh of the claim's volume is so; how long that took, and the volume.
///
/// # Errors
/// Not within so many seconds.
pub fn turns(story: &Story, status: &str, seconds: u64) -> Result<(Duration, Value)> {
    let start = Instant::now();
    let volume = until(&format!("LatencyHigh={status}"), seconds, || {
        let volume = story.volume("data")?;
        let high = condition(&volume, "LatencyHigh");
        Ok(if high["status"] == status { Ok(volume) } else { Err(high.to_string()) })
    })?;
    Ok((start.elapsed(), volume))
}

/// A condition of an object; null if it has none of that type.
#[must_use]
pub fn condition(object: &Value, kind: &str) -> Value {
    let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}
