//! The probe on the real node: what a volume does is in its status; a volume made slow is told, and told again when it is over;
//! a probe that dies costs no count and nobody anything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use terrace_e2e::reader::{condition, reader, throttle, turns};
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{kubectl, until};

use crate::explain::terrace;

/// Operations a second that a throttled container may do: some of them wait for a tenth of a second.
const SLOWLY: u64 = 50;

#[test]
fn what_a_claim_does_is_in_its_volume_and_in_the_terminal() -> Result<()> {
    let story = reader("probe-figures", "10ms")?;
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
    let story = reader("probe-slow", "10ms")?;
    let (_, volume) = turns(&story, "False", 60)?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    let slow = throttle(&story, &volume, SLOWLY)?;
    let (took, volume) = turns(&story, "True", 60)?;
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
    let (took, _) = turns(&story, "False", 90)?;
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
    let story = reader("probe-killed", "10ms")?;
    turns(&story, "False", 60)?;
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

/// Lets Pods onto the node again, whatever became of the story.
struct Drained(String);

impl Drop for Drained {
    fn drop(&mut self) {
        if let Err(error) = kubectl(&["uncordon", &self.0]) {
            eprintln!("the node is still cordoned: {error:#}");
        }
    }
}

#[test]
fn i7_a_node_drained_while_the_probe_counts_holds_nothing_busy() -> Result<()> {
    let story = reader("probe-drain", "10ms")?;
    let (_, volume) = turns(&story, "False", 60)?;
    let image = volume["status"]["device"].as_str().context("the volume names no device")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?;
    let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let probe = on_node("pgrep -x terrace-probe")?;
    let drained = Drained(node.clone());
    let start = Instant::now();
    let all = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"];
    kubectl(&[&["drain", &node][..], &all].concat())?;
    until("nothing holds the volume", 60, || {
        let line =
            format!("losetup --noheadings --associated {image}; grep {name} /proc/mounts || true");
        let held = on_node(&line)?;
        Ok(if held.trim().is_empty() { Ok(()) } else { Err(held) })
    })?;
    println!("drained and detached in {:.1} s", start.elapsed().as_secs_f64());
    ensure!(on_node("pgrep -x terrace-probe")? == probe, "the probe was restarted");
    drop(drained);
    kubectl(&[
        "-n",
        "terrace-system",
        "wait",
        "deployment",
        "--all",
        "--for=condition=Available",
        "--timeout=180s",
    ])?;
    story.end()
}
