//! Worlds in, prose out: every `tests/golden/*.yaml` is planned and compared with the `.plan` beside it.
//! `BLESS=1` writes the `.plan` files anew; read the difference before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use terrace_crds::{
    LifecyclePolicy, StorageNode, StoragePool, StorageSnapshot, StorageVolume, TieringPolicy,
};
use terrace_plan::heal::{Lost, plan_heal};
use terrace_plan::lifecycle::plan_lifecycle;
use terrace_plan::listed::Listed;
use terrace_plan::pool::plan_pool;
use terrace_plan::snapshot::plan_snapshot;
use terrace_plan::space::Sums;
use terrace_plan::tiering::plan_tiering;
use terrace_plan::volume::plan_volume;
use terrace_plan::world::{Host, Looked, Persistent, World};

/// A story: the world, and everything in it is planned for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    now: Timestamp,
    #[serde(default)]
    volumes: Vec<StorageVolume>,
    #[serde(default)]
    snapshots: Vec<StorageSnapshot>,
    #[serde(default)]
    pools: Vec<StoragePool>,
    #[serde(default)]
    nodes: Vec<StorageNode>,
    #[serde(default)]
    hosts: Vec<Host>,
    #[serde(default)]
    persistent: Vec<Persistent>,
    #[serde(default)]
    looked: BTreeMap<String, Looked>,
    #[serde(default)]
    gone: BTreeSet<String>,
    #[serde(default)]
    lost: Vec<Lost>,
    #[serde(default)]
    lifecycle: Vec<LifecyclePolicy>,
    #[serde(default)]
    tiering: Vec<TieringPolicy>,
}

fn listed<T>(all: Vec<T>) -> Listed<T> {
    all.into_iter().collect()
}

/// The plan of every object, in the order of the story.
fn told(story: Story) -> String {
    let Story {
        now,
        volumes,
        snapshots,
        pools,
        nodes,
        hosts,
        persistent,
        looked,
        gone,
        lost,
        lifecycle,
        tiering,
    } = story;
    let (volumes, snapshots) = (listed(volumes), listed(snapshots));
    let (pools, nodes) = (listed(pools), listed(nodes));
    let (hosts, persistent) = (listed(hosts), listed(persistent));
    let sums = Sums::default();
    let world = World { volumes, snapshots, pools, nodes, hosts, persistent, looked, gone, sums };
    let mut text = String::new();
    let mut tell = |kind: &str, name: &Option<String>, plan: String| {
        let name = name.as_deref().unwrap_or_default();
        text.push_str(&format!("# {kind} {name}\n{plan}"));
    };
    for volume in &world.volumes {
        tell("volume", &volume.metadata.name, plan_volume(&world, volume, now).to_string());
    }
    for snapshot in &world.snapshots {
        let plan = plan_snapshot(&world, snapshot, now);
        tell("snapshot", &snapshot.metadata.name, plan.to_string());
    }
    for lost in &lost {
        let name = Some(lost.persistent.name.clone());
        tell("lost", &name, plan_heal(&world, lost).to_string());
    }
    for pool in &world.pools {
        tell("pool", &pool.metadata.name, plan_pool(&world, pool, now).to_string());
    }
    for policy in &lifecycle {
        tell("lifecycle", &policy.metadata.name, plan_lifecycle(policy, now).to_string());
    }
    for policy in &tiering {
        tell("tiering", &policy.metadata.name, plan_tiering(policy, now).to_string());
    }
    text
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(folder).expect("the folder of stories is there");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

#[test]
fn every_story_ends_as_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let paths = stories();
    assert!(paths.len() >= 12, "stories are missing");
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let mut story: Vec<Story> = terrace_crds::yaml::from_yaml(&text)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        let plan = told(story.pop().expect("one document a story"));
        let golden = path.with_extension("plan");
        if bless {
            fs::write(&golden, plan).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != plan {
            wrong.push(format!("{}:\n{plan}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
