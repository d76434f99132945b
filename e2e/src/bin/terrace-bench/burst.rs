//! `hack/bench burst`: many claims at once on the one node, from each one's create call until the watch says Bound. Class
//! of mode Immediate, no Pods: nothing is mounted, so the node's limit of volumes in use plays no part. It takes away what
//! it made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::PostParams;
use terrace_e2e::rig;
use terrace_e2e::story::{Story, apply, class_yaml};

use crate::peers;
use crate::provision::{claim_of, next_of, watch_bound};
use crate::times::{Summary, seconds, summarise};

/// A class whose volumes are small enough for hundreds of them.
pub(crate) const CLASS: &str = "bench-small";
/// The smallest ext4.
pub(crate) const SIZE: &str = "16Mi";
/// Create calls under way at once.
const AT_ONCE: usize = 50;
/// The goal for the average.
const GOAL: Duration = Duration::from_secs(20);

/// Arguments of `hack/bench burst`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Claims.
    #[arg(long, default_value_t = 300)]
    claims: usize,
}

/// The class, on the stories' pool.
pub(crate) fn prepare() -> Result<()> {
    let parameters = "{terrace.storage/pool: stories, terrace.storage/fs-type: ext4}";
    apply(&class_yaml(CLASS, parameters, "Immediate", "Delete")).map(drop)
}

/// Makes the claims, waits for them, tells.
#[tokio::main]
pub(crate) async fn measure(arguments: &Arguments) -> Result<()> {
    let Arguments { claims } = *arguments;
    let story = Story::begin("bench-burst")?;
    prepare()?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(rig::client().await?, &story.namespace);
    let mut bound = watch_bound(api.clone());
    let first = Instant::now();
    let mut starts: BTreeMap<String, Instant> = stream::iter(0..claims)
        .map(|number| create(&api, number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let asked = first.elapsed();
    let mut times = Vec::new();
    while !starts.is_empty() {
        let names: Vec<&str> = starts.keys().map(String::as_str).collect();
        match next_of(&mut bound, &names).await {
            Ok((name, at)) => {
                times.extend(starts.remove(&name).map(|start| at.saturating_duration_since(start)));
            }
            Err(error) => {
                eprintln!("{error:#}");
                break;
            }
        }
    }
    let all = first.elapsed();
    print!("{}", table(claims, summarise(&times, claims), asked, all));
    print!("{}", peers::table(&peers::BURST));
    let failed = starts.len();
    story.end()?;
    if failed != 0 {
        bail!("{failed} claims were not bound");
    }
    Ok(())
}

async fn create(api: &Api<PersistentVolumeClaim>, number: usize) -> Result<(String, Instant)> {
    let name = format!("burst-{number}");
    let start = Instant::now();
    api.create(&PostParams::default(), &claim_of(&name, CLASS, SIZE)?).await?;
    Ok((name, start))
}

fn table(claims: usize, summary: Summary, asked: Duration, all: Duration) -> String {
    let Summary { average, p50, p99, maximum, failed } = summary;
    let verdict = if average < GOAL && failed == 0 { "reached" } else { "missed" };
    format!(
        "{claims} claims of {SIZE}, class {CLASS} (Immediate, ext4, no Pods), all asked for within {}, all bound after {}\n\n\
         | claims | average | p50 | p99 | maximum | failed | goal: average < {} |\n|---|---|---|---|---|---|---|\n\
         | {claims} | {} | {} | {} | {} | {failed} | {verdict} |\n",
        seconds(asked),
        seconds(all),
        seconds(GOAL),
        seconds(average),
        seconds(p50),
        seconds(p99),
        seconds(maximum),
    )
}
