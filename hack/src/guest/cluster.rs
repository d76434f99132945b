//! The whole cluster in one User Mode Linux: `hack/up` as it is, on a disk of the guest.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::guest::boot::Which;
use crate::guest::{Host, Job, Shape, quoted, words};
use crate::paths::Paths;
use crate::run::Progress;
use crate::test::search_path;
use crate::tools::Tools;
use crate::up::{self, Content};

/// Arguments of `hack/guest cluster`.
#[derive(Args)]
pub(crate) struct Cluster {
    #[command(flatten)]
    shape: Shape,
    /// Take our programs as they were last built.
    #[arg(long)]
    no_build: bool,
    /// The command, run in the same folder as here, as administrator of the cluster.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Cluster {
    /// Builds here what the guest then finds built; gives the command's status.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { mut shape, no_build, command } = self;
        let content = if no_build { Content::ProductAsBuilt } else { Content::Product };
        up::images(paths, progress, content)?;
        let host = Host::take(Which::Uml, paths, progress)?;
        let program = std::env::current_exe()?.display().to_string();
        let script = format!(
            "PATH={}\nrig={}\nprogram={}\nexport KUBECONFIG={}\n{RIG}cd {} || exit 126\nexec {}\n",
            quoted(&search_path(&Tools::locate(paths)?)),
            quoted(&paths.rig.display().to_string()),
            quoted(&program),
            quoted(&paths.kubeconfig().display().to_string()),
            quoted(&std::env::current_dir()?.display().to_string()),
            words(&command)
        );
        // The last disk is the rig's folder, with all the state of the cluster.
        shape.disks += 1;
        shape.disk_size.get_or_insert(16 << 10);
        shape.memory.get_or_insert(4096);
        shape.seconds.get_or_insert(1800);
        Ok(ExitCode::from(host.run(Job { shape, script: &script, files: &[] })?))
    }
}

/// Takes the last disk away from TERRACE_DISKS.
const RIG: &str = r#"
for disk in $TERRACE_DISKS; do state=$disk; done
export TERRACE_DISKS="${TERRACE_DISKS%"$state"*}"
blkid "$state" > /dev/null || mkfs.ext4 -q "$state" || exit 126
mkdir -p "$rig" && mount "$state" "$rig" || exit 126
"$program" up --no-example --no-build >&2 || { mkdir -p "$TERRACE_SHARE/log"; cp "$rig"/log/* "$TERRACE_SHARE/log"; exit 126; }
"#;
