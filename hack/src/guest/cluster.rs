//! The whole cluster in one User Mode Linux: `hack/up` and `hack/test` as they are, on a disk of the guest. All is built here before,
//! since a compiler in the guest takes too long, and what it reads may change under it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::conformance;
use crate::guest::boot::Which;
use crate::guest::{Host, Job, Shape, quoted, words};
use crate::paths::Paths;
use crate::run::Progress;
use crate::test::{list_stories, search_path};
use crate::tools::{self, Tools};
use crate::up::{self, Content};

/// Arguments of `hack/guest cluster`.
#[derive(Args)]
pub(crate) struct Cluster {
    #[command(flatten)]
    node: Node,
    /// The command, run in the same folder as here, as administrator of the cluster.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Arguments of `hack/guest stories`.
#[derive(Args)]
pub(crate) struct Stories {
    #[command(flatten)]
    node: Node,
    /// The backend of every pool that a story does not give another: on a disk of the guest, unless it is file.
    #[arg(long, default_value = "file", value_parser = ["file", "lvm", "lvmThin"])]
    backend: String,
    /// Those whose name contains this, or one of several words; all without it.
    #[arg(default_value = "")]
    name: String,
}

/// Arguments of `hack/guest conformance`.
#[derive(Args)]
pub(crate) struct Conformance {
    #[command(flatten)]
    node: Node,
    /// What `hack/conformance` is told besides, such as --focus RE.
    #[arg(last = true)]
    more: Vec<String>,
}

/// What the cluster runs on.
#[derive(Args)]
struct Node {
    #[command(flatten)]
    shape: Shape,
    /// Take our programs as they were last built.
    #[arg(long)]
    no_build: bool,
}

impl Cluster {
    /// Gives the command's status.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { node, command } = self;
        let cwd = std::env::current_dir()?.display().to_string();
        let script = format!(
            "export KUBECONFIG={}\n\"$program\" up --no-example --no-build --durable >&2 || exit 126\ncd {} || exit 126\n{}\n",
            quoted(&paths.kubeconfig().display().to_string()),
            quoted(&cwd),
            words(&command)
        );
        node.run(paths, progress, &script, &[])
    }
}

impl Stories {
    /// Fails if one of them does.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { node, backend, name } = self;
        tools::ensure_cargo_tools(paths, progress)?;
        let lists = paths.cache.join(format!("guest/lists-{}", std::process::id()));
        fs::create_dir_all(&lists)?;
        let ended = list_stories(paths, progress, &lists).and_then(|()| {
            let files = fs::read_dir(&lists)?.flatten().map(|entry| entry.path());
            let script = format!(
                "export TERRACE_STORY_BACKEND={backend}\n\"$program\" test --built \"$TERRACE_SHARE\" --story {}\n",
                quoted(&name)
            );
            node.run(paths, progress, &script, &files.collect::<Vec<_>>())
        });
        fs::remove_dir_all(&lists)?;
        ended
    }
}

impl Conformance {
    /// Fails if a spec fails or does not run.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { mut node, more } = self;
        conformance::provide(paths, progress)?;
        node.shape.disks = node.shape.disks.max(1);
        let script =
            format!("\"$program\" conformance --class lvm-thin --no-build {}\n", words(&more));
        node.run(paths, progress, &script, &[])
    }
}

impl Node {
    /// Boots and runs the script on the rig's disk, as its last command.
    fn run(
        self,
        paths: &Paths,
        progress: &Progress,
        script: &str,
        files: &[PathBuf],
    ) -> Result<ExitCode> {
        let Self { mut shape, no_build } = self;
        tools::ensure_cluster_tools(paths, progress)?;
        let content = if no_build { Content::ProductAsBuilt } else { Content::Product };
        up::images(paths, progress, content)?;
        // This very program: another clone's build may lie under its name by now.
        let mut taken = vec![("xtask".to_owned(), PathBuf::from("/proc/self/exe"))];
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            taken.push((name.into_owned(), file.clone()));
        }
        let script = format!(
            "export PATH={} CARGO_TARGET_DIR={}\nrig={}\n{RIG}{script}",
            quoted(&search_path(&Tools::locate(paths)?)),
            quoted(&paths.target.display().to_string()),
            quoted(&paths.rig.display().to_string()),
        );
        // The last disk is the rig's folder, with all the state of the cluster.
        shape.disks += 1;
        shape.disk_size.get_or_insert(16 << 10);
        shape.memory.get_or_insert(4096);
        shape.seconds.get_or_insert(1800);
        let host = Host::take(Which::Uml, paths, progress)?;
        Ok(ExitCode::from(host.run(Job { shape, script: &script, files: &taken })?))
    }
}

/// Takes the last disk away from TERRACE_DISKS.
const RIG: &str = r#"
for disk in $TERRACE_DISKS; do state=$disk; done
export TERRACE_DISKS="${TERRACE_DISKS%"$state"*}"
blkid "$state" > /dev/null || mkfs.ext4 -q "$state" || exit 126
mkdir -p "$rig" && mount "$state" "$rig" || exit 126
program=$TERRACE_SHARE/xtask
trap 'mkdir -p "$TERRACE_SHARE/log"; cp "$rig"/log/* "$TERRACE_SHARE/log"; [ ! -d "$rig/conformance" ] || cp -r "$rig/conformance" "$TERRACE_SHARE"' EXIT
"#;
