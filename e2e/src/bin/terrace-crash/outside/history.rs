//! A node that has seen a thousand volumes come and go is as quick as a new one, and keeps nothing of them.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};

use super::look::Told;
use crate::place::Place;

const ROUNDS: usize = 10;
const A_ROUND: usize = 100;
/// Claims timed one at a time.
const TIMED: usize = 10;
const CLASS: &str = "stories-history";

/// What is compared.
struct Figures {
    bound: Duration,
    restart: Duration,
    memory_kib: u64,
    journal_bytes: u64,
    status_bytes: usize,
}

pub(super) fn of_a_thousand(place: &Place) -> Result<Told> {
    let story = Story::begin("outside-history")?;
    apply(&class_yaml(CLASS, "{terrace.storage/pool: stories}", "Immediate", "Delete"))?;
    let before = figures(&story, place)?;
    for round in 0..ROUNDS {
        come_and_go(&story, round)?;
    }
    let over = Instant::now();
    let after = figures(&story, place)?;
    let normal = Some(over.elapsed());
    let saw = format!(
        "claim to Bound p50 {} ms before, {} ms after; csi-node killed to Ready {:.1} s, {:.1} s; its memory {} KiB, {} KiB; journal {} KiB, {} KiB; StorageNode {} B, {} B",
        before.bound.as_millis(),
        after.bound.as_millis(),
        before.restart.as_secs_f64(),
        after.restart.as_secs_f64(),
        before.memory_kib,
        after.memory_kib,
        before.journal_bytes >> 10,
        after.journal_bytes >> 10,
        before.status_bytes,
        after.status_bytes
    );
    kubectl(&["delete", "sc", CLASS, "--ignore-not-found"])?;
    story.end()?;
    Ok(Told { saw, normal, ..Told::default() })
}

fn come_and_go(story: &Story, round: usize) -> Result<()> {
    let mut all = String::new();
    for number in 0..A_ROUND {
        let _ = write!(
            all,
            "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: h{round}-{number}}}\nspec: {{accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: {CLASS}, resources: {{requests: {{storage: 1Mi}}}}}}\n"
        );
    }
    story.apply(&all)?;
    story.kubectl(&[
        "wait",
        "pvc",
        "--all",
        "--for=jsonpath={.status.phase}=Bound",
        "--timeout=120s",
    ])?;
    story.kubectl(&["delete", "pvc", "--all", "--timeout=120s"])?;
    until("the volumes are gone", 120, || {
        let left = kubectl(&["get", "sv", "-o", "name"])?;
        Ok(if left.trim().is_empty() {
            Ok(())
        } else {
            Err(format!("{} left", left.lines().count()))
        })
    })
}

fn figures(story: &Story, place: &Place) -> Result<Figures> {
    let mut times = Vec::new();
    for number in 0..TIMED {
        let name = format!("timed-{number}");
        let start = Instant::now();
        story.claim(&name, CLASS, "1Mi", ", volumeMode: Block")?;
        story.binds(&name)?;
        times.push(start.elapsed());
    }
    story.kubectl(&["delete", "pvc", "--all", "--timeout=120s"])?;
    times.sort();
    let bound = times.get(TIMED / 2).copied().unwrap_or_default();
    let restart = restart(place)?;
    let pid = *place.pids("terrace-node").first().context("terrace-node does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let memory_kib = line.trim().trim_end_matches(" kB").parse()?;
    let journal_bytes = fs::metadata(place.path("/var/lib/terrace/journal.redb"))?.len();
    let status_bytes = kubectl(&["get", "snode", "node-a", "-o", "jsonpath={.status}"])?.len();
    Ok(Figures { bound, restart, memory_kib, journal_bytes, status_bytes })
}

/// From SIGKILL until another csi-node is Ready.
fn restart(place: &Place) -> Result<Duration> {
    let counts = || {
        kubectl(&[
            "-n",
            "terrace-system",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=node",
            "-o",
            "jsonpath={.items[0].status.containerStatuses[0].restartCount} {.items[0].status.containerStatuses[0].ready}",
        ])
    };
    let before = counts()?;
    let pids = place.pids("terrace-node");
    ensure!(!pids.is_empty(), "terrace-node does not run");
    let start = Instant::now();
    for pid in pids {
        place.kill(pid, "terrace-node")?;
    }
    until("csi-node is Ready again", 120, || {
        let now = counts()?;
        Ok(if now != before && now.ends_with("true") { Ok(()) } else { Err(now) })
    })?;
    Ok(start.elapsed())
}
