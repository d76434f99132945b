//! Taking a path away from a volume of which nothing is left here: the kubelet must be able to finish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use terrace_device_types::{MountPoint, OperationId, Step};

use super::status::Error;
use crate::audit::Asked;
use crate::context::Context;
use crate::host::Host;
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{self, CALL_PATIENCE, Job};

/// Unmounts `target` if it is the kubelet's own path or nothing at all; a mount elsewhere is somebody's
/// and is left alone (I4).
///
/// # Errors
/// [`Error::Stranger`], or what the steps say.
pub(super) async fn take_away(
    context: &Context,
    kind: OpKind,
    name: String,
    target: PathBuf,
) -> Result<(), Error> {
    let view = context.look(|host| host.mounts()).await?.map_err(runner::Error::Observe)?;
    validate_kubelets(&view.mounts, &context.kubelet_dir, &name, &target)?;
    let subject = Subject { name, target: Some(target.clone()), ..Subject::default() };
    let locks = BTreeMap::new();
    let (priority, patience) = (Priority::Call, CALL_PATIENCE);
    let job = Job { kind, subject, locks, priority, patience, asked: Asked::Kubelet };
    let plan = move |host: &dyn Host, _: &OperationId| plan_away(host, kind, &target);
    context.runner.run(job, plan).await?;
    Ok(())
}

/// Refuses a mount that is neither of the volume nor below the kubelet's folder.
///
/// # Errors
/// [`Error::Stranger`].
pub(super) fn validate_kubelets(
    mounts: &[MountPoint],
    kubelet_dir: &Path,
    volume: &str,
    target: &Path,
) -> Result<(), Error> {
    let Some(mount) = mounts.iter().rev().find(|mount| mount.at == target) else { return Ok(()) };
    if target.starts_with(kubelet_dir) {
        return Ok(());
    }
    Err(Error::Stranger {
        volume: volume.to_owned(),
        path: target.display().to_string(),
        found: mount.source.clone(),
    })
}

fn plan_away(host: &dyn Host, kind: OpKind, target: &Path) -> Result<Vec<Step>, runner::Error> {
    let view = host.mounts().map_err(runner::Error::Observe)?;
    let unmount = view.mount_at(target).map(|_| Step::Unmount { target: target.to_owned() });
    // The staging path was made by the kubelet and stays; the Pod's path was made by us.
    let remove = (kind == OpKind::Unpublish && target.exists())
        .then(|| Step::RemoveTarget { target: target.to_owned() });
    Ok(unmount.into_iter().chain(remove).collect())
}
