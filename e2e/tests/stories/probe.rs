//! The probe on the real node: what a volume does is in its status; a volume made slow is told, and told again when it is over;
//! a probe that dies costs no count and nobody anything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};
use terrace_e2e::throttle::Throttle;

use crate::explain::terrace;

/// Reads past the page cache, one after the other, until the Pod ends.
const READS: &str =
    "(while :; do dd if=/data/file of=/dev/null bs=4k iflag=direct; done) >/dev/null 2>&1 &";
/// Operations a second that a throttled container may do: some of them wait for a tenth of a second.
const SLOWLY: u64 = 50;

fn condition(volume: &Value, kind: &str) -> Value {
    let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

/// Waits until the condition LatencyHigh of the claim's volume is so; how long that took, and the volume.
fn turns(story: &Story, claim: &str, status: &str, seconds: u64) -> Result<(Duration, Value)> {
    let start = Instant::now();
    let volume = until(&format!("LatencyHigh={status}"), seconds, || {
        let volume = story.volume(claim)?;
        let high = condition(&volume, "LatencyHigh");
        Ok(if high["status"] == status { Ok(volume) } else { Err(high.to_string()) })
    })?;
    Ok((start.elapsed(), volume))
}

/// A claim of a class with a target of 10 ms, and a Pod that reads from it without end.
fn reader(name: &str) -> Result<Story> {
    let story = Story::begin(name)?;
    let parameters = "{terrace.storage/pool: stories, terrace.storage/fs-type: xfs, terrace.storage/latency-p99: 10ms}";
    apply(&class_yaml("stories-fast", parameters, "WaitForFirstConsumer", "Delete"))?;
    story.claim("data", "stories-fast", "320Mi", "")?;
    story.pod("reader", "data", "", "")?;
    story.runs("reader")?;
    story.exec("reader", "dd if=/dev/zero of=/data/file bs=4k count=2000 && sync")?;
    story.exec("reader", READS)?;
    Ok(story)
}

fn throttle(story: &Story, volume: &Value) -> Result<Throttle> {
    let path = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = story.kubectl(&["get", "pod", "reader", "-o", path])?;
    let id = id.trim_start_matches("containerd://").to_owned();
    let image = volume["status"]["device"].as_str().context("the volume names no device")?;
    let number = on_node(&format!("losetup --noheadings --output MAJ:MIN --associated {image}"))?;
    let (major, minor) = number.trim().split_once(':').context("no loop device")?;
    Throttle::of_container(&id, (major.trim().parse()?, minor.trim().parse()?), SLOWLY)
}

#[test]
fn what_a_claim_does_is_in_its_volume_and_in_the_terminal() -> Result<()> {
    let story = reader("probe-figures")?;
    ensure!(story.volume("data")?["spec"]["latencyTarget"]["p99"] == "10ms");
    let volume = until("figures in the status", 60, || {
        let volume = story.volume("data")?;
        let figures = &volume["status"]["latency"]["read"];
        Ok(if figures["p99"].is_string() { Ok(volume) } else { Err(volume["status"].to_string()) })
    })?;
    let name = volume["metadata"]["name"].as_str().context("no name")?;
    ensure!(volume["status"]["access"]["last"].is_string(), "{}", volume["status"]["access"]);
    let high = condition(&volume, "LatencyHigh");
    ensure!(high["status"] != "Unknown", "{high}");
    let table = kubectl(&["get", "sv", name])?;
    print!("{table}");
    let p99 = volume["status"]["latency"]["p99"].as_str().context("no p99")?;
    ensure!(table.contains("P99") && p99.ends_with('s'), "{table}");
    let top = terrace(&["top", "--once", "-n", &story.namespace])?;
    let line = top.lines().find(|line| line.contains("/data")).context("the claim is not shown")?;
    ensure!(line.contains("read") && line.contains("node-a"), "{line}");
    let of_pods = terrace(&["top", "--once", "--by", "pod", "-n", &story.namespace])?;
    ensure!(of_pods.contains(&format!("{}/reader", story.namespace)), "{of_pods}");
    let drawn = terrace(&["latency", &format!("{}/data", story.namespace)])?;
    ensure!(drawn.contains("read: ") && drawn.contains('█'), "{drawn}");
    let none = terrace(&["latency", "nothing", "-n", &story.namespace]);
    ensure!(none.is_err_and(|error| error.to_string().contains("no running Pod uses")));
    story.end()
}

#[test]
fn a_volume_made_slow_is_told_and_told_again_when_it_is_over() -> Result<()> {
    let story = reader("probe-slow")?;
    let (_, volume) = turns(&story, "data", "False", 60)?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    let slow = throttle(&story, &volume)?;
    let (took, volume) = turns(&story, "data", "True", 60)?;
    println!("{} s to LatencyHigh=True", took.as_secs_f64());
    let high = condition(&volume, "LatencyHigh");
    println!("{high}");
    for words in ["p99 of read", "target of 10ms", "check I/O patterns and scaling"] {
        ensure!(high["message"].as_str().is_some_and(|said| said.contains(words)), "{high}");
    }
    print!("{}", kubectl(&["get", "sv", &name, "-o", "wide"])?);
    println!("{}", story.event("data", "above the target", 60)?);
    println!("{}", story.event("reader", "above the target", 60)?);
    let top = terrace(&["top", "--once", "-n", &story.namespace])?;
    ensure!(top.contains("High"), "{top}");
    drop(slow);
    let (took, _) = turns(&story, "data", "False", 90)?;
    println!("{} s to LatencyHigh=False", took.as_secs_f64());
    ensure!(took >= Duration::from_secs(10), "it was over at once: the dwell is not kept");
    story.end()
}

/// A row of the probe's page, read on its node: the sum of what begins so.
fn counted(begins: &str, claim: &str) -> Result<f64> {
    let path = "jsonpath={.items[0].status.podIP}";
    let ip = kubectl(&[
        "-n",
        "terrace-system",
        "get",
        "pod",
        "-l",
        "app.kubernetes.io/component=node",
        "-o",
        path,
    ])?;
    let page = on_node(&format!("curl -fsS http://{ip}:9810/metrics"))?;
    let is_asked = |line: &&str| line.starts_with(begins) && line.contains(claim);
    let values = page.lines().filter(is_asked).filter_map(|line| line.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
}

fn restarts() -> Result<u64> {
    let path = "jsonpath={.items[0].status.containerStatuses[?(@.name==\"probe\")].restartCount}";
    let said = kubectl(&[
        "-n",
        "terrace-system",
        "get",
        "pod",
        "-l",
        "app.kubernetes.io/component=node",
        "-o",
        path,
    ])?;
    said.trim().parse().with_context(|| format!("no container probe: {said:?}"))
}

#[test]
fn i7_a_probe_that_is_killed_costs_no_count_and_disturbs_nobody() -> Result<()> {
    const COUNT: &str = "terrace_volume_operation_duration_seconds_count";
    let story = reader("probe-killed")?;
    turns(&story, "data", "False", 60)?;
    let claim = format!("namespace=\"{}\"", story.namespace);
    let (before, times) = (counted(COUNT, &claim)?, restarts()?);
    ensure!(before > 0.0, "nothing is counted");
    on_node("kill -9 $(pgrep -x terrace-probe)")?;
    let reads = "dd if=/data/file of=/dev/null bs=4k count=500 iflag=direct 2>&1 | tail -1";
    story.exec("reader", reads)?;
    until("the probe is back", 120, || {
        let now = restarts()?;
        Ok(if now > times { Ok(()) } else { Err(now.to_string()) })
    })?;
    let after = until("its page is back", 60, || {
        Ok(counted(COUNT, &claim).map_err(|error| error.to_string()))
    })?;
    println!("{before} operations before the kill, {after} after it");
    ensure!(after >= before + 500.0, "{before} before the kill, {after} after it");
    let node = "jsonpath={.items[0].status.containerStatuses[?(@.name==\"node\")].restartCount}";
    let agent = kubectl(&[
        "-n",
        "terrace-system",
        "get",
        "pod",
        "-l",
        "app.kubernetes.io/component=node",
        "-o",
        node,
    ])?;
    println!("the agent was restarted {agent} times in all");
    let held =
        on_node("grep -c /var/lib/kubelet/pods /proc/$(pgrep -x terrace-probe)/mountinfo || true")?;
    ensure!(held.trim() == "0", "the probe holds {} mounts of Pods", held.trim());
    story.drop_pod("reader")?;
    story.end()
}
