//! The kinds the rig's API server learns before the chart is installed: ours, and those of snapshots, which on other
//! clusters are there with the snapshot-controller. It only hands files on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{command, output, run, wait_for};
use crate::tools::Tools;

/// The Go module in which their files lie; its version is that of the snapshot-controller (hack/go/csi/go.mod).
const SNAPSHOT_MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
/// Where they are kept, beside the programs.
const SNAPSHOT_KINDS: &str = "snapshot-kinds";

/// Copies the files of the snapshot kinds beside the programs, so that they are there without Go's module cache.
pub(crate) fn ensure_snapshot_kinds(source: &Path, beside: &Path) -> Result<()> {
    let to = beside.join(SNAPSHOT_KINDS);
    if to.exists() {
        return Ok(());
    }
    let mut ask = command("go", ["mod", "download", "-json", SNAPSHOT_MODULE]);
    let told: Value = serde_json::from_str(&output(ask.current_dir(source))?)?;
    let dir = told["Dir"].as_str().with_context(|| format!("go tells no folder: {told}"))?;
    // Copied beside and renamed, so that a killed copy is not taken for a whole one.
    let partial = beside.join(format!(".{SNAPSHOT_KINDS}.{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    for file in definitions(&Path::new(dir).join("config/crd"))? {
        let name = file.file_name().context("a file without a name")?;
        fs::write(partial.join(name), fs::read(&file)?)?;
    }
    fs::rename(&partial, &to).with_context(|| format!("rename to {}", to.display()))
}

/// Ours are applied apart from the chart: helm never updates what lies in a chart's crds folder.
pub(crate) fn apply(paths: &Paths, tools: &Tools) -> Result<()> {
    let mut apply = kubectl(paths, tools)?;
    apply.args(["apply", "--server-side", "--force-conflicts", "--filename"]);
    apply.arg(paths.repo.join("crds/yaml"));
    apply.arg("--filename").arg(tools.path(SNAPSHOT_KINDS)?);
    run(apply.stdout(Stdio::null()))?;
    // The chart leaves out what the API server does not know yet.
    let groups = ["snapshot.storage.k8s.io", "groupsnapshot.storage.k8s.io"];
    wait_for("the kinds of snapshots", Duration::from_secs(60), &paths.log(), || {
        groups.iter().all(|group| kinds_of(paths, tools, group).is_ok_and(|count| count == 3))
    })
}

/// How many kinds of a group the API server tells of.
fn kinds_of(paths: &Paths, tools: &Tools, group: &str) -> Result<usize> {
    let mut ask = kubectl(paths, tools)?;
    ask.args(["api-resources", "--output=name", "--api-group", group]);
    Ok(output(&mut ask)?.lines().count())
}

/// Every definition of a folder; what else lies there is for kustomize.
fn definitions(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if fs::read_to_string(&path)?.contains("\nkind: CustomResourceDefinition\n") {
            found.push(path);
        }
    }
    found.sort();
    anyhow::ensure!(!found.is_empty(), "{} holds no definition of a kind", dir.display());
    Ok(found)
}
