//! The community's own suite, csi-sanity v5.6.0, against the operator's and csi-node's real sockets.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use terrace_e2e::rig::{XTASK, on_node, repository};
use terrace_e2e::story::kubectl;

use crate::lvm::{on_lvm, on_thin};
use crate::pools::{BTRFS, XFS, on_pool};

#[test]
fn csi_sanity_passes_on_images_and_skips_nothing_that_a_listed_capability_covers() -> Result<()> {
    on_pool("sanity", XFS, "60G", |_, pool| sanity(pool, Copies::Made))
}

#[test]
fn csi_sanity_passes_on_subvolumes_and_skips_nothing_that_a_listed_capability_covers() -> Result<()>
{
    on_pool("sanity", BTRFS, "60G", |_, pool| sanity(pool, Copies::Made))
}

#[test]
fn csi_sanity_passes_on_logical_volumes_but_for_what_makes_copies() -> Result<()> {
    on_lvm("sanity", |_, pool| sanity(pool, Copies::Refused))
}

#[test]
fn csi_sanity_passes_on_thin_logical_volumes_and_skips_nothing_that_a_listed_capability_covers()
-> Result<()> {
    on_thin("sanity", |_, pool| sanity(pool, Copies::Made))
}

/// Whether a pool makes snapshots and clones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Made,
    Refused,
}

/// The suite's specs that need a copy, by name.
const COPYING: [&str; 8] = [
    "CreateSnapshot",
    "DeleteSnapshot",
    "ListSnapshots",
    "GetSnapshot",
    "GroupController",
    "from an existing source snapshot",
    "from an existing source volume",
    "source volume is not found",
];

/// Where the two sockets are, and where the suite may write.
const NODE: &str = "/var/lib/kubelet/plugins/csi.terrace.storage/csi.sock";
const FOLDER: &str = "/var/lib/kubelet/sanity";

/// Capabilities that the drivers list.
const LISTED: [&str; 10] = [
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
];

/// The suite, on volumes of that pool. It asks the first socket whether there are groups, and those are the operator's: its part
/// on groups is run against the operator alone.
fn sanity(pool: &str, copies: Copies) -> Result<()> {
    let operator = operator_socket()?;
    on_node(&format!(
        "mkdir -p {FOLDER}; echo 'terrace.storage/pool: {pool}' > {FOLDER}/parameters.yaml"
    ))?;
    let skip: Vec<String> = match copies {
        Copies::Made => Vec::new(),
        Copies::Refused => COPYING.iter().map(|name| format!("--ginkgo.skip='{name}'")).collect(),
    };
    let done = suite(NODE, &operator, &skip.join(" ")).and_then(|all| {
        // What was skipped must be for a capability that the drivers do not list; the suite says so for each.
        let wrong: Vec<&str> = all
            .lines()
            .filter(|line| {
                line.contains("not supported") && LISTED.iter().any(|name| line.contains(name))
            })
            .collect();
        ensure!(wrong.is_empty(), "skipped though listed: {wrong:?}");
        if copies == Copies::Refused {
            println!("left out, since they need a copy: {}", COPYING.join(", "));
            return Ok(());
        }
        let groups = suite(&operator, &operator, "--ginkgo.focus=GroupController")?;
        ensure!(!groups.contains("not supported"), "groups were skipped: {groups}");
        Ok(())
    });
    on_node(&format!("rm -rf {FOLDER}"))?;
    done
}

fn operator_socket() -> Result<String> {
    let line = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let pods = kubectl(&["-n", "terrace-system", "get", "pods", "-o", line])?;
    let mut of = pods.lines().filter_map(|line| line.strip_prefix("terrace-operator"));
    let uid = of.next().and_then(|line| line.split(' ').nth(1)).context("no operator Pod")?;
    let socket = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/*/csi.sock");
    Ok(on_node(&format!("ls {socket}"))?.trim().to_owned())
}

/// What the suite said, if nothing failed.
fn suite(socket: &str, operator: &str, more: &str) -> Result<String> {
    let line = format!(
        "csi-sanity --ginkgo.no-color --csi.endpoint={socket} --csi.controllerendpoint={operator} \
         --csi.stagingdir={FOLDER}/staging --csi.mountdir={FOLDER}/mount --csi.testvolumeparameters={FOLDER}/parameters.yaml \
         --csi.testvolumesize=1073741824 --csi.testvolumeexpandsize=2147483648 --ginkgo.v {more} 2>&1"
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
    let summary = text
        .lines()
        .rfind(|line| line.contains(" Passed | "))
        .context("csi-sanity gave no summary")?;
    println!("{summary}");
    ensure!(output.status.success() && summary.contains("| 0 Failed |"), "{text}");
    Ok(text)
}
