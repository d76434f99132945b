//! `hack/upgrade`: an earlier release of this repository runs in the rig with volumes in use, then this one takes over by the
//! commands that the README gives. What the volumes were told to keep is compared with what can be read.

mod previous;
mod report;
mod stage;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::previous::{Previous, TAG};
use self::report::Report;
use self::stage::{Stage, WRITTEN};
use crate::cluster::{self, Extent};
use crate::holder::Holder;
use crate::image::{self, Archive};
use crate::kinds;
use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{Progress, output};
use crate::test::guard_rig;
use crate::tools::{self, Tools};
use crate::up::{self, Content};

/// Blocks on each volume before and after what is done to the cluster.
const ENOUGH: usize = 200;

/// Arguments of `hack/upgrade`.
#[derive(Args)]
pub(crate) struct Upgrade {
    /// The earlier release: any commit of this clone.
    #[arg(long, value_name = "REF", default_value = "25d5c57")]
    from: String,
    /// Leave the cluster running afterwards.
    #[arg(long)]
    keep: bool,
}

impl Upgrade {
    /// Builds both, runs the upgrade, prints the table. The cluster goes, however this ends.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { from, keep } = self;
        tools::ensure_cluster_tools(paths, progress)?;
        let previous = Previous::ensure(paths, progress, &from)?;
        let mut images = up::images(paths, progress, Content::Product)?;
        images.push(previous.image.clone());
        images.push(image::writer_image(paths, progress)?);
        if Holder::find(paths)?.is_some() {
            bail!("a rig runs; end it with hack/down");
        }
        let guard = if keep { None } else { Some(guard_rig(&std::env::current_exe()?)?) };
        let mut report = Report::new(progress);
        let done = upgrade(paths, progress, &previous, &images, &mut report);
        println!("\n{report}");
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            ensure!(guard.wait()?.success(), "the rig left something behind");
        }
        done?;
        Ok(ExitCode::SUCCESS)
    }
}

fn upgrade(
    paths: &Paths,
    progress: &Progress,
    previous: &Previous,
    images: &[Archive],
    report: &mut Report<'_>,
) -> Result<()> {
    let tools = Tools::locate(paths)?;
    let mut started = None;
    report.step("a cluster", || {
        let _lock = up::lock(paths, progress)?;
        started = Some(cluster::start(paths, &tools, progress, Extent::Node, images)?);
        Ok("one node")
    })?;
    let Some(holder) = started else { bail!("the cluster has no first process") };
    let stage = Stage { paths, tools: &tools, holder };
    before(&stage, previous, report)?;
    let known = stage.reported()?;
    take_over(&stage, report)?;
    report.step("the node reports what it reported", || {
        let now = stage.reported()?;
        ensure!(now == known, "before {known:?}, now {now:?}");
        Ok(format!("{} UUIDs of pools and host objects", now.len()))
    })?;
    after(&stage, report)?;
    judge(&stage, report)
}

/// The earlier release, its volumes, and the writer.
fn before(stage: &Stage<'_>, previous: &Previous, report: &mut Report<'_>) -> Result<()> {
    report.step(&format!("release {} installed", previous.commit), || {
        apply_kinds(stage, &previous.paths)?;
        helm(stage, &previous.paths, &[format!("--set=image.tag={TAG}")])
    })?;
    report.step("volumes made and written", || {
        stage.apply("before.yaml")?;
        for claim in ["xfs", "block", "waiting", "doomed"] {
            stage.wait(&format!("pvc/{claim}"), "jsonpath={.status.phase}=Bound")?;
        }
        stage.apply("writer.yaml")?;
        stage.wait("pod/writer", "condition=Ready")?;
        stage.writes_on(ENOUGH)
    })
}

/// The README's section on upgrading, command by command.
fn take_over(stage: &Stage<'_>, report: &mut Report<'_>) -> Result<()> {
    report.step("kubectl apply --server-side --force-conflicts -f crds/yaml/", || {
        apply_kinds(stage, stage.paths)?;
        Ok("applied")
    })?;
    report.step("the earlier release under the later kinds", || stage.writes_on(ENOUGH))?;
    report.step("helm upgrade", || {
        // The snapshot-controller and its kinds are the cluster's; the rig has no other.
        kinds::apply(stage.paths, stage.tools)?;
        let values = ["--reset-then-reuse-values", "--set=image.tag=dev"].map(str::to_owned);
        helm(stage, stage.paths, &[&values[..], &up::of_rig()].concat())?;
        stage.no_pod_has_tag(TAG)
    })?;
    report.step("pool and volumes are Ready", || {
        stage.wait("storagepools.terrace.storage/upgrade", "condition=Ready")?;
        stage.kubectl(&[
            "wait",
            "storagevolumes.terrace.storage",
            "--all",
            "--for=condition=Ready",
            "--timeout=60s",
        ])?;
        Ok("all")
    })
}

/// What the later release does with the earlier one's volumes, under the writer.
fn after(stage: &Stage<'_>, report: &mut Report<'_>) -> Result<()> {
    report.step("a volume in use grown: xfs", || stage.grow("xfs", "2Gi"))?;
    report.step("a volume in use grown: block", || stage.grow("block", "2Gi"))?;
    report.step("a new volume, and the first Pod of an earlier one", || {
        stage.apply("after.yaml")?;
        stage.wait("pod/user", "condition=Ready")?;
        Ok("written")
    })?;
    report.step("an earlier volume deleted", || stage.delete("doomed"))?;
    report.step("the writer goes on", || stage.writes_on(ENOUGH))
}

/// Every acknowledged block is there: where it was written, and after the volumes were staged anew.
fn judge(stage: &Stage<'_>, report: &mut Report<'_>) -> Result<()> {
    report.step("the writer stopped", || stage.stop_writer())?;
    for (claim, target) in WRITTEN {
        report.step(&format!("{claim} read in place"), || stage.verify("writer", claim, target))?;
    }
    report.step("staged anew for another Pod", || {
        stage.in_namespace(&["delete", "pod", "writer", "--timeout=90s"])?;
        stage.apply("reader.yaml")?;
        stage.wait("pod/reader", "condition=Ready")?;
        Ok("Pod reader")
    })?;
    for (claim, target) in WRITTEN {
        report.step(&format!("{claim} read again"), || stage.verify("reader", claim, target))?;
    }
    report.step("everything deleted", || stage.delete_all())
}

/// As the README says.
fn apply_kinds(stage: &Stage<'_>, of: &Paths) -> Result<()> {
    let mut apply = kubectl(stage.paths, stage.tools)?;
    apply
        .args(["apply", "--server-side", "--force-conflicts", "--filename"])
        .arg(of.repo.join("crds/yaml"));
    output(&mut apply).map(drop)
}

fn helm(stage: &Stage<'_>, of: &Paths, more: &[String]) -> Result<String> {
    let mut helm = up::helm_command(stage.paths, stage.tools)?;
    helm.arg("--kubeconfig").arg(stage.paths.kubeconfig());
    up::install(&mut helm, of, more)?;
    Ok("rolled out".to_owned())
}
