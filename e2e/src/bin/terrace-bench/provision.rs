//! How long a claim waits for its volume: from the create call's start until the watch says Bound. It takes away what
//! it made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use terrace_e2e::rig;
use terrace_e2e::story::Story;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::times::{Summary, summarise};

const SEQUENTIAL: usize = 50;
const BURST: usize = 100;
const DEADLINE: Duration = Duration::from_secs(180);

/// Claims one at a time, then a burst of them.
#[tokio::main]
pub(crate) async fn measure() -> Result<()> {
    let story = Story::begin("bench")?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(rig::client().await?, &story.namespace);
    let mut bound = watch_bound(api.clone());
    let mut alone = Vec::new();
    for number in 0..SEQUENTIAL {
        let name = format!("alone-{number}");
        let start = Instant::now();
        api.create(&PostParams::default(), &claim(&name)?).await?;
        let (_, at) = next_of(&mut bound, &[&name]).await?;
        alone.push(at.duration_since(start));
    }
    say("one at a time", &alone, SEQUENTIAL);
    let mut starts = BTreeMap::new();
    for number in 0..BURST {
        let name = format!("burst-{number}");
        starts.insert(name.clone(), Instant::now());
        api.create(&PostParams::default(), &claim(&name)?).await?;
    }
    let mut together = Vec::new();
    while !starts.is_empty() {
        let names: Vec<&str> = starts.keys().map(String::as_str).collect();
        match next_of(&mut bound, &names).await {
            Ok((name, at)) => {
                together.extend(starts.remove(&name).map(|start| at.duration_since(start)))
            }
            Err(error) => {
                eprintln!("{error:#}");
                break;
            }
        }
    }
    say("burst", &together, BURST);
    let failed = starts.len();
    story.end()?;
    if failed != 0 {
        bail!("{failed} claims were not bound within {} s", DEADLINE.as_secs());
    }
    Ok(())
}

fn claim(name: &str) -> Result<PersistentVolumeClaim> {
    claim_of(name, "stories-now", "300Mi")
}

/// A claim of this class and size.
pub(crate) fn claim_of(name: &str, class: &str, size: &str) -> Result<PersistentVolumeClaim> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": {"requests": {"storage": size}},
        },
    }))?)
}

/// Names of claims and when the watch said Bound.
pub(crate) fn watch_bound(api: Api<PersistentVolumeClaim>) -> UnboundedReceiver<(String, Instant)> {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut events =
            Box::pin(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
        while let Ok(Some(claim)) = events.try_next().await {
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Bound") && tell.send((claim.name_any(), Instant::now())).is_err() {
                return;
            }
        }
    });
    told
}

/// The next of these that is bound.
pub(crate) async fn next_of(
    bound: &mut UnboundedReceiver<(String, Instant)>,
    names: &[&str],
) -> Result<(String, Instant)> {
    tokio::time::timeout(DEADLINE, async {
        loop {
            let (name, at) = bound.recv().await.context("the watch ended")?;
            if names.contains(&name.as_str()) {
                return Ok((name, at));
            }
        }
    })
    .await
    .with_context(|| format!("{} claims still wait", names.len()))?
}

fn say(what: &str, times: &[Duration], asked: usize) {
    let Summary { average, p50, p99, maximum, failed } = summarise(times, asked);
    let ms = |time: Duration| time.as_millis();
    println!(
        "{what}: {asked} claims to Bound: average {} ms, p50 {} ms, p99 {} ms, maximum {} ms, failed {failed}",
        ms(average),
        ms(p50),
        ms(p99),
        ms(maximum),
    );
}
