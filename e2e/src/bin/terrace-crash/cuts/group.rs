//! A pool that is a volume group on the guest's disks, by the node's own planner and executor, and what lies in it by LVM's own word.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use terrace_backends::{BackendKind, backend};
use terrace_device_types::{PoolFile, PoolIntent, PoolPlace, Wipe};
use terrace_node::host::{Host, RealHost};

/// What a step of making a pool may take.
const STEP: Duration = Duration::from_secs(60);
/// Looks until a group is made, active and mounted.
const LOOKS: usize = 8;

/// Makes the group, or finds it again after a boot.
pub(super) fn make_group(file: &PoolFile, dir: &Path, disks: &[PathBuf]) -> Result<()> {
    let host = RealHost::new();
    for _ in 0..LOOKS {
        let all = host.devices()?.into_iter();
        let ours = all.filter(|device| disks.contains(&device.path));
        let ours = ours.map(|device| (device, Wipe::Never)).collect();
        let place = PoolPlace::Group(Box::new(host.group(ours, file.pool_uuid)?));
        let intent = PoolIntent::Make { file: file.clone(), place };
        let planner = backend(BackendKind::Lvm);
        let steps = planner.plan_pool(&intent, &host.pool(dir)?, &host.mounts()?.mounts)?;
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            host.execute(&step, STEP).with_context(|| step.to_string())?;
        }
    }
    bail!("the group in {} is never made", dir.display())
}

/// Names of the logical volumes of all groups, and of device-mapper's devices: nothing of Terrace looks.
pub(super) fn names() -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let volumes = said("lvm", &["lvs", "--noheadings", "-o", "lv_name"])?;
    let devices = said("dmsetup", &["ls"])?;
    let devices = devices.lines().filter(|line| !line.starts_with("No devices"));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok((volumes.lines().filter_map(first).collect(), devices.filter_map(first).collect()))
}

fn said(program: &str, words: &[&str]) -> Result<String> {
    let ended = Command::new(program).args(words).output().context("start it")?;
    ensure!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(String::from_utf8(ended.stdout)?)
}
