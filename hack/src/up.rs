//! `hack/up` and `hack/down`: from a work tree to a running volume, and back to a clean machine.
//! A cluster that is not the rig gets the chart alone, and only when it is named.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::cluster::{self, Extent};
use crate::down;
use crate::holder::Holder;
use crate::image::{self, Archive, Ours};
use crate::kinds;
use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{Progress, output, run, succeeds};
use crate::tools::{self, Tools};

/// Where Terrace runs.
pub(crate) const NAMESPACE: &str = "terrace-system";
const EXAMPLE: &str = "charts/terrace/examples/quickstart.yaml";

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// pause and busybox: for a cluster without Terrace.
    Test,
    /// These and ours and the sidecars.
    Product,
    /// The same, with our programs as they lie in the target folder.
    ProductAsBuilt,
    /// As `Product`, with our programs as they are released.
    Released,
    /// As `Product`, with our programs' fault points compiled in.
    Crash,
    /// The same, with our programs as they lie in the target folder.
    CrashAsBuilt,
}

impl Content {
    /// Which of our images it has, if any.
    const fn ours(self) -> Option<Ours> {
        match self {
            Self::Test => None,
            Self::Product | Self::ProductAsBuilt => Some(Ours::Product),
            Self::Released => Some(Ours::Released),
            Self::Crash | Self::CrashAsBuilt => Some(Ours::Crash),
        }
    }
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
    /// Take our programs as they were last built.
    #[arg(long)]
    no_build: bool,
    /// Our programs as they are released: small and without the checks of tests; minutes to build.
    #[arg(long, conflicts_with_all = ["no_build", "cluster", "only_cluster", "api_only"])]
    released: bool,
    /// Its state outlives a power loss, and is taken up by the next call: for a guest that is killed.
    #[arg(long, hide = true, conflicts_with = "cluster")]
    durable: bool,
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
        let Self { cluster, only_cluster, api_only, no_example, no_build, released, durable, helm } =
            self;
        tools::ensure_cluster_tools(paths, progress)?;
        let tools = Tools::locate(paths)?;
        if let Some(context) = cluster {
            return install(
                helm_command(paths, &tools)?.args(["--kube-context", &context]),
                paths,
                &helm,
            );
        }
        let _lock = lock(paths, progress)?;
        if durable && !paths.durable().exists() {
            ensure!(Holder::find(paths)?.is_none(), "a rig runs already; end it with hack/down");
            down::sweep(paths)?;
            fs::write(paths.durable(), "")?;
        }
        if api_only {
            cluster::start(paths, &tools, progress, Extent::Api, &[])?;
            return tell(paths, "an API server");
        }
        let content = match (only_cluster, no_build, released) {
            (true, _, _) => Content::Test,
            (false, true, _) => Content::ProductAsBuilt,
            (false, false, true) => Content::Released,
            (false, false, false) => Content::Product,
        };
        bring_up(paths, &tools, progress, content, &helm)?;
        if only_cluster {
            return tell(paths, "a node without Terrace");
        }
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
            let mut helm = helm_command(paths, &tools)?;
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
        let _lock = lock(paths, progress)?;
        down::main(paths, progress)
    }
}

/// The rig with this content, and Terrace installed where there is any; more values for the chart come last. The caller
/// holds [`lock`].
pub(crate) fn bring_up(
    paths: &Paths,
    tools: &Tools,
    progress: &Progress,
    content: Content,
    helm: &[String],
) -> Result<()> {
    let images = images(paths, progress, content)?;
    cluster::start(paths, tools, progress, Extent::Node, &images)?;
    let Some(ours) = content.ours() else { return Ok(()) };
    progress.say("installing the chart");
    kinds::apply(paths, tools)?;
    let mut rig_helm = helm_command(paths, tools)?;
    rig_helm.arg("--kubeconfig").arg(paths.kubeconfig());
    let tag = ["--set-string".to_owned(), format!("image.tag={}", ours.tag())].to_vec();
    let values = [of_rig(), tag, restart_on_new_image(&images, ours), helm.to_vec()];
    install(&mut rig_helm, paths, &values.concat())?;
    progress.say("Terrace is installed");
    Ok(())
}

/// Builds programs and images that are missing or changed.
pub(crate) fn images(paths: &Paths, progress: &Progress, content: Content) -> Result<Vec<Archive>> {
    let mut archives = image::test_images(paths, progress)?;
    let Some(ours) = content.ours() else { return Ok(archives) };
    match content {
        Content::Product | Content::Released | Content::Crash => {
            image::build_programs(paths, progress, ours)?
        }
        Content::ProductAsBuilt | Content::CrashAsBuilt | Content::Test => {}
    }
    tools::ensure_sidecars(paths, progress)?;
    archives.extend(image::product_images(paths, &Tools::locate(paths)?, progress, ours)?);
    Ok(archives)
}

/// One `up` or `down` at a time in a work tree; the lock ends with this process.
pub(crate) fn lock(paths: &Paths, progress: &Progress) -> Result<File> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the rig makes namespaces, mounts and loop devices: run it as root, or use --cluster CONTEXT"
        );
    }
    fs::create_dir_all(&paths.rig)?;
    let dir = File::open(&paths.rig)?;
    if dir.try_lock().is_err() {
        progress
            .say(format!("waiting for another hack/up or hack/down on {}", paths.rig.display()));
        dir.lock()?;
    }
    Ok(dir)
}

/// helm with folders of its own: it neither reads nor writes the user's.
pub(crate) fn helm_command(paths: &Paths, tools: &Tools) -> Result<Command> {
    let mut helm = Command::new(tools.path("helm")?);
    for (variable, dir) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        helm.env(variable, paths.cache.join("helm").join(dir));
    }
    Ok(helm)
}

/// The tag stays the same when the image changes, so the digest goes into an annotation of the Pods.
fn restart_on_new_image(images: &[Archive], ours: Ours) -> Vec<String> {
    let reference = ours.reference();
    let ours = images.iter().find(|image| image.reference == reference);
    let set = |part: &str, digest: &str| {
        ["--set-string".to_owned(), format!("{part}.podAnnotations.image={digest}")]
    };
    ours.map(|image| [set("operator", &image.digest), set("node", &image.digest)].concat())
        .unwrap_or_default()
}

/// What a cluster of yours has of its own, and the rig does not.
pub(crate) fn of_rig() -> Vec<String> {
    ["--set", "snapshotController.install=true"].map(str::to_owned).to_vec()
}

/// Installs or upgrades the chart of a work tree, and waits until it is rolled out.
pub(crate) fn install(helm: &mut Command, paths: &Paths, more: &[String]) -> Result<()> {
    helm.args(["upgrade", "--install", "terrace"]).arg(paths.repo.join("charts/terrace"));
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "3m"])
        .args(more);
    run(helm.stdout(std::process::Stdio::null()))
}

fn example(paths: &Paths, tools: &Tools, progress: &Progress) -> Result<()> {
    let file = paths.repo.join(EXAMPLE);
    run(kubectl(paths, tools)?.args(["apply", "--filename"]).arg(&file))?;
    for (namespace, name) in pods_of(&output(
        kubectl(paths, tools)?.args(["get", "--output", "json", "--filename"]).arg(&file),
    )?)? {
        progress.say(format!("waiting for Pod {name}"));
        let wait = [
            "wait",
            "--for=condition=Ready",
            "--timeout=120s",
            "--namespace",
            &namespace,
            "pod",
            &name,
        ];
        if !succeeds(kubectl(paths, tools)?.args(wait)) {
            run(kubectl(paths, tools)?.args(["describe", "--namespace", &namespace, "pod,pvc"]))
                .context("describe what is not ready")?;
            bail!("the example's Pod {name} is not ready");
        }
        progress.say(format!("Pod {name} is ready"));
    }
    run(kubectl(paths, tools)?
        .args(["get", "storagevolumes.terrace.storage,persistentvolumeclaims,pods"]))?;
    Ok(())
}

/// Namespace and name of each Pod of a list in JSON.
fn pods_of(list: &str) -> Result<Vec<(String, String)>> {
    let list: Value = serde_json::from_str(list)?;
    let items = list["items"].as_array().context("the example is not a list of objects")?;
    let text = |value: &Value| value.as_str().unwrap_or("default").to_owned();
    let pods = items.iter().filter(|item| item["kind"] == "Pod").map(|item| &item["metadata"]);
    Ok(pods.map(|meta| (text(&meta["namespace"]), text(&meta["name"]))).collect())
}

fn tell(paths: &Paths, what: &str) -> Result<()> {
    println!("\nRunning: {what}. Go on with:");
    println!("  export KUBECONFIG={}", paths.kubeconfig().display());
    println!("  kubectl get storagevolumes,pvc,pods");
    println!("  hack/rig --help        stop, start, look inside");
    println!("  hack/down              take it away without a trace");
    Ok(())
}
