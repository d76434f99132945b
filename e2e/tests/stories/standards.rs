//! The community's own suite, csi-sanity v5.6.0, against the operator's and csi-node's real sockets.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use terrace_e2e::rig::{XTASK, on_node, repository};
use terrace_e2e::story::kubectl;

use crate::pools::{BTRFS, XFS, on_pool};

#[test]
fn csi_sanity_passes_on_images_and_skips_nothing_that_a_listed_capability_covers() -> Result<()> {
    on_pool("sanity", XFS, "60G", |_, pool| sanity(pool))
}

#[test]
fn csi_sanity_passes_on_subvolumes_and_skips_nothing_that_a_listed_capability_covers() -> Result<()>
{
    on_pool("sanity", BTRFS, "60G", |_, pool| sanity(pool))
}

/// The suite, on volumes of that pool.
fn sanity(pool: &str) -> Result<()> {
    let pods = kubectl(&[
        "-n",
        "terrace-system",
        "get",
        "pods",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}",
    ])?;
    let uid = pods
        .lines()
        .find_map(|line| line.strip_prefix("terrace-operator")?.split(' ').nth(1))
        .context("no operator Pod")?
        .to_owned();
    let folder = "/var/lib/kubelet/sanity";
    let line = format!(
        "set -e; mkdir -p {folder}; printf 'terrace.storage/pool: {pool}\\n' > {folder}/parameters.yaml; \
         csi-sanity --ginkgo.no-color --csi.endpoint=/var/lib/kubelet/plugins/csi.terrace.storage/csi.sock \
         --csi.controllerendpoint=$(ls /var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/*/csi.sock) \
         --csi.stagingdir={folder}/staging --csi.mountdir={folder}/mount --csi.testvolumeparameters={folder}/parameters.yaml \
         --csi.testvolumesize=1073741824 --csi.testvolumeexpandsize=2147483648 --ginkgo.v 2>&1"
    );
    let mut command = match std::env::var(XTASK) {
        Ok(program) => {
            let mut command = Command::new(program);
            command.arg("rig");
            command
        }
        Err(_) => Command::new(repository().join("hack/rig")),
    };
    let output =
        command.args(["exec", "--", "sh", "-c", &line]).current_dir(repository()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    on_node(&format!("rm -rf {folder}"))?;
    let summary = text
        .lines()
        .rfind(|line| line.contains(" Passed | "))
        .context("csi-sanity gave no summary")?;
    println!("{summary}");
    ensure!(output.status.success() && summary.contains("| 0 Failed |"), "{text}");
    // What was skipped must be for a capability that the drivers do not list; the suite says so for each.
    let listed = [
        "CREATE_DELETE_VOLUME",
        "EXPAND_VOLUME",
        "STAGE_UNSTAGE_VOLUME",
        "GET_VOLUME_STATS",
        "LIST_VOLUMES",
        "GET_CAPACITY",
        "CREATE_DELETE_SNAPSHOT",
        "LIST_SNAPSHOTS",
        "GET_SNAPSHOT",
        "CLONE_VOLUME",
        "GroupController",
    ];
    let wrong: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.contains("not supported") && listed.iter().any(|name| line.contains(name))
        })
        .collect();
    ensure!(wrong.is_empty(), "skipped though listed: {wrong:?}");
    Ok(())
}
