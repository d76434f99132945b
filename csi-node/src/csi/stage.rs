//! Stage and unstage: the kubelet's staging path. Works from host tags alone, so it goes on while the API
//! server is away.

use std::path::Path;

use csi_proto_rs::csi::v1::{NodeStageVolumeRequest, NodeUnstageVolumeRequest};
use terrace_device_types::{FsType, Intent, OperationId, VolumeMode};

use super::request::{ValidStage, parse_path, parse_text, validate_stage};
use super::status::Error;
use super::target::take_away;
use crate::context::{Context, observe_and_plan};
use crate::host::{Host, Probe};
use crate::inventory::{self, Located, Scope, Wanted};
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{CALL_PATIENCE, Job};

/// Mounts or attaches a volume for this node.
///
/// # Errors
/// [`Error`].
pub async fn stage(context: &Context, request: NodeStageVolumeRequest) -> Result<(), Error> {
    let ValidStage { volume: name, uuid, pool, target, capability } = validate_stage(request)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid, pool: pool.as_deref(), scope: Scope::InService };
    let located = context.find(&cluster, wanted).await??;
    let job = call_job(OpKind::Stage, &located, &target);
    let (dir, volume) = (located.pool.dir, located.tag.volume);
    let mode = capability.mode.unwrap_or_else(|| mounted_mode(located.tag.mode));
    let plan = move |host: &dyn Host, operation: &OperationId| {
        let (options, access) = (capability.options, capability.access);
        let operation = operation.clone();
        let intent = Intent::Stage { volume, cluster, mode, target, options, access, operation };
        observe_and_plan(host, &dir, volume, Probe::Look, &intent)
    };
    context.runner.run(job, plan).await?;
    context.tell_changed(&name);
    Ok(())
}

/// Undoes [`stage`]. A volume that is gone and a path where nothing is mounted are no error.
///
/// # Errors
/// [`Error`].
pub async fn unstage(context: &Context, request: NodeUnstageVolumeRequest) -> Result<(), Error> {
    let NodeUnstageVolumeRequest { volume_id, staging_target_path } = request;
    let name = parse_text("volume_id", volume_id)?;
    let target = parse_path("staging_target_path", staging_target_path)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid: None, pool: None, scope: Scope::Any };
    let located = match context.find(&cluster, wanted).await? {
        Ok(located) => located,
        Err(inventory::Error::NotFound { .. }) => {
            return take_away(context, OpKind::Unstage, name, target).await;
        }
        Err(error) => return Err(error.into()),
    };
    let job = call_job(OpKind::Unstage, &located, &target);
    let (dir, volume) = (located.pool.dir, located.tag.volume);
    let intent = Intent::Unstage { volume, cluster, target };
    let plan = move |host: &dyn Host, _: &OperationId| {
        observe_and_plan(host, &dir, volume, Probe::Skip, &intent)
    };
    context.runner.run(job, plan).await?;
    context.tell_changed(&name);
    Ok(())
}

/// A job of the kubelet on a volume.
pub(super) fn call_job(kind: OpKind, located: &Located, target: &Path) -> Job {
    let subject = Subject {
        volume: Some(located.tag.volume),
        pool: Some(located.pool.uuid),
        name: located.tag.name.clone(),
        target: Some(target.to_owned()),
        to: None,
    };
    Job::on_volume(kind, subject, Priority::Call, CALL_PATIENCE)
}

/// The filesystem to mount when the caller names none: the volume's own. A raw volume has none, and the
/// plan will say so.
const fn mounted_mode(tagged: VolumeMode) -> VolumeMode {
    match tagged {
        VolumeMode::Filesystem { fs } => VolumeMode::Filesystem { fs },
        VolumeMode::Block => VolumeMode::Filesystem { fs: FsType::Xfs },
    }
}
