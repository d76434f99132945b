//! Kubernetes' own parts fail: under a Pod that writes, and under a claim and a Pod that are asked for meanwhile.

use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use terrace_e2e::rig::{repository, rig};
use terrace_e2e::story::{Story, kubectl, until};

use super::look::{Told, troubles, warnings};
use crate::place::Place;

/// Longest that a writer may stand still while only Kubernetes' parts fail.
const STILL: u64 = 5;
/// A line each fifth of a second, with the time: gaps show where it stood still.
const WRITER: &str =
    "(while :; do date +%s >> /data/log; sync /data/log; sleep 0.2; done) >/dev/null 2>&1 &";

pub(super) fn part_is_killed(part: &str, away: Duration) -> Result<Told> {
    under(&format!("away-{part}"), || {
        rig(&["kill", part])?;
        Ok(move || {
            sleep(away);
            rig(&["start", part]).map(drop)
        })
    })
}

/// Stopped and let go in turns by signals: this kernel has no netem.
pub(super) fn api_is_slow(place: &Place) -> Result<Told> {
    let file = repository().join(".rig/run/kube-apiserver.pid");
    let line = format!(
        "p=$(cat {}); i=0; while [ $i -lt 6 ]; do kill -STOP $p; sleep 4; kill -CONT $p; sleep 1; i=$((i+1)); done",
        file.display()
    );
    under("slow-api", || {
        let place = place.clone();
        let pulses = spawn(move || place.shell(&line));
        Ok(move || pulses.join().ok().context("the pulses")?.map(drop))
    })
}

pub(super) fn connections_are_cut(place: &Place) -> Result<Told> {
    under("cut", || {
        let place = place.clone();
        let cuts = spawn(move || -> Result<String> {
            let mut cut = String::new();
            for _ in 0..10 {
                cut = place.shell(
                    "ss --no-header --numeric --kill state established '( sport = :443 )' | wc -l",
                )?;
                sleep(Duration::from_secs(1));
            }
            Ok(cut)
        });
        Ok(move || cuts.join().ok().context("the cuts")?.map(drop))
    })
}

/// A writer from before, the fault, a claim and a Pod that are asked for under it; then its end, and the way back.
fn under<E: FnOnce() -> Result<()>>(name: &str, begin: impl FnOnce() -> Result<E>) -> Result<Told> {
    let story = Story::begin(name)?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", WRITER)?;
    let end = begin()?;
    // Asked once as a user asks, who then waits for the fault to pass.
    let asked = ask(&story);
    let mut saw: Vec<String> =
        asked.as_ref().err().map(|error| format!("kubectl: {error:#}")).into_iter().collect();
    end()?;
    let over = Instant::now();
    until("the claim and the Pod are asked for", 120, || {
        Ok(ask(&story).map_err(|error| format!("{error:#}")))
    })?;
    story.runs("two")?;
    story.exec("two", "echo here > /data/f && sync")?;
    let normal = Some(over.elapsed());
    let conditions = troubles()?;
    let (events, codes) = warnings(&story)?;
    saw.extend(events);
    let gap = longest_gap(&story)?;
    ensure!(gap <= STILL, "the Pod that was running stood still for {gap} s");
    saw.push(format!("the running Pod wrote on (longest pause {gap} s)"));
    settle(story)?;
    Ok(Told {
        saw: saw.join("; "),
        conditions: conditions.into_iter().chain(codes).collect(),
        normal,
    })
}

fn ask(story: &Story) -> Result<()> {
    story.claim("later", "stories-ext4", "320Mi", "")?;
    story.pod("two", "later", "", "")
}

/// Seconds between two lines of the writer, at most.
fn longest_gap(story: &Story) -> Result<u64> {
    let text = until("the writer's log can be read", 60, || {
        Ok(story.exec("one", "cat /data/log").map_err(|error| error.to_string()))
    })?;
    let times: Vec<u64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    ensure!(times.len() > 20, "the writer wrote {} lines", times.len());
    Ok(times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).max().unwrap_or(0))
}

/// Everything goes; then the parts are as they should be, so that the next fault meets a quiet node.
fn settle(story: Story) -> Result<()> {
    kubectl(&["wait", "node/node-a", "--for=condition=Ready", "--timeout=120s"])?;
    for workload in ["ds/terrace-node", "deploy/terrace-operator"] {
        kubectl(&["-n", "terrace-system", "rollout", "status", workload, "--timeout=120s"])?;
    }
    story.kubectl(&["delete", "pod", "--all", "--timeout=90s"])?;
    story.kubectl(&["delete", "pvc", "--all", "--timeout=90s"])?;
    story.end()
}
