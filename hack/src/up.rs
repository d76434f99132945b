//! `hack/up` and `hack/down`: from a work tree to a running volume, and back to a clean machine.
//! A cluster that is not the rig gets the chart alone, and only when it is named.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cluster::{self, Extent};
use crate::down;
use crate::image::{self, Archive};
use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{Progress, run, succeeds};
use crate::tools::{self, Tools};

const NAMESPACE: &str = "terrace-system";
const EXAMPLE: &str = "charts/terrace/examples/quickstart.yaml";

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// pause and busybox: for a cluster without Terrace.
    Test,
    /// These and ours and the sidecars.
    Product,
}

/// Arguments of `hack/up`.
#[derive(Args)]
pub(crate) struct Up {
    /// Install the chart into this context of your kubeconfig; no rig, no example.
    #[arg(long, value_name = "CONTEXT", conflicts_with_all = ["only_cluster", "api_only", "no_example"])]
    cluster: Option<String>,
    /// A node that runs Pods, without Terrace.
    #[arg(long)]
    only_cluster: bool,
    /// An API server alone.
    #[arg(long, conflicts_with = "only_cluster")]
    api_only: bool,
    /// Terrace without the example pool, class, claim and Pod.
    #[arg(long)]
    no_example: bool,
    /// More arguments for helm.
    #[arg(last = true)]
    helm: Vec<String>,
}

/// Arguments of `hack/down`.
#[derive(Args)]
pub(crate) struct Down {
    /// Uninstall from this context of your kubeconfig; volumes and kinds stay.
    #[arg(long, value_name = "CONTEXT")]
    cluster: Option<String>,
    /// Wait for the end of standard input first: however the process at its other end dies, the rig goes with it.
    #[arg(long, hide = true)]
    after_stdin: bool,
}

impl Up {
    /// Idempotent: what is built is not built again, what runs is left running.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<()> {
        let Self { cluster, only_cluster, api_only, no_example, helm } = self;
        tools::ensure_cluster_tools(paths, progress)?;
        let tools = Tools::locate(paths)?;
        if let Some(context) = cluster {
            return install(helm_command(&tools)?.args(["--kube-context", &context]), paths, &helm);
        }
        let _lock = lock(paths)?;
        if api_only {
            cluster::start(paths, &tools, progress, Extent::Api, &[])?;
            return tell(paths, "an API server");
        }
        let content = if only_cluster { Content::Test } else { Content::Product };
        let images = images(paths, progress, content)?;
        cluster::start(paths, &tools, progress, Extent::Node, &images)?;
        if only_cluster {
            return tell(paths, "a node without Terrace");
        }
        progress.say("installing the chart");
        kinds(paths, &tools)?;
        install(helm_command(&tools)?.arg("--kubeconfig").arg(paths.kubeconfig()), paths, &helm)?;
        progress.say("Terrace is installed");
        if no_example {
            return tell(paths, "Terrace without the example");
        }
        example(paths, &tools, progress)?;
        tell(paths, "Terrace with an example")
    }
}

impl Down {
    /// Ends the rig, or uninstalls the chart.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<()> {
        let Self { cluster, after_stdin } = self;
        if after_stdin {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        if let Some(context) = cluster {
            let tools = Tools::locate(paths)?;
            let mut helm = helm_command(&tools)?;
            return run(helm.args([
                "--kube-context",
                &context,
                "uninstall",
                "terrace",
                "--namespace",
                NAMESPACE,
                "--wait",
            ]));
        }
        if !paths.rig.exists() {
            fs::create_dir_all(&paths.rig)?;
        }
        let _lock = lock(paths)?;
        down::main(paths, progress)
    }
}

/// Builds programs and images that are missing or changed.
pub(crate) fn images(paths: &Paths, progress: &Progress, content: Content) -> Result<Vec<Archive>> {
    let mut archives = image::test_images(paths, progress)?;
    if content == Content::Product {
        tools::ensure_sidecars(paths, progress)?;
        image::build_programs(paths, progress)?;
        archives.extend(image::product_images(paths, &Tools::locate(paths)?, progress)?);
    }
    Ok(archives)
}

/// One `up` or `down` at a time in a work tree; the lock ends with this process.
fn lock(paths: &Paths) -> Result<File> {
    fs::create_dir_all(&paths.rig)?;
    let dir = File::open(&paths.rig)?;
    if dir.try_lock().is_err() {
        bail!("another hack/up or hack/down is at work on {}", paths.rig.display());
    }
    Ok(dir)
}

fn helm_command(tools: &Tools) -> Result<Command> {
    Ok(Command::new(tools.path("helm")?))
}

/// The kinds are applied apart: helm never updates what lies in a chart's crds folder.
fn kinds(paths: &Paths, tools: &Tools) -> Result<()> {
    let dir = paths.repo.join("crds/yaml");
    let mut apply = kubectl(paths, tools)?;
    apply
        .args(["apply", "--server-side", "--force-conflicts", "--filename"])
        .arg(dir)
        .stdout(std::process::Stdio::null());
    run(&mut apply)
}

fn install(helm: &mut Command, paths: &Paths, more: &[String]) -> Result<()> {
    helm.args(["upgrade", "--install", "terrace"]).arg(paths.repo.join("charts/terrace"));
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "3m"])
        .args(more);
    run(helm.stdout(std::process::Stdio::null()))
}

fn example(paths: &Paths, tools: &Tools, progress: &Progress) -> Result<()> {
    let file = paths.repo.join(EXAMPLE);
    run(kubectl(paths, tools)?.args(["apply", "--filename"]).arg(&file))?;
    progress.say("waiting for the example's Pod");
    let wait = ["wait", "--for=condition=Ready", "--timeout=120s", "pod", "--all"];
    if !succeeds(kubectl(paths, tools)?.args(wait)) {
        run(kubectl(paths, tools)?.args(["describe", "pod,pvc"]))
            .context("describe what is not ready")?;
        bail!("the example's Pod is not ready");
    }
    run(kubectl(paths, tools)?.args(["get", "storagevolume,pvc,pod", "--output", "wide"]))?;
    Ok(())
}

fn tell(paths: &Paths, what: &str) -> Result<()> {
    println!("\nRunning: {what}. Go on with:");
    println!("  export KUBECONFIG={}", paths.kubeconfig().display());
    println!("  kubectl get storagevolumes,pvc,pods");
    println!("  hack/rig --help        stop, start, look inside");
    println!("  hack/down              take it away without a trace");
    Ok(())
}
