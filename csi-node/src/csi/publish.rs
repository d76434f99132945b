//! Publish and unpublish: one Pod's path.

use csi_proto_rs::csi::v1::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use terrace_device_types::{Intent, OperationId, Step, View};

use super::request::{ValidPublish, parse_path, parse_text, validate_publish};
use super::stage::call_job;
use super::status::Error;
use super::target::{take_away, validate_kubelets};
use crate::context::{Context, observe_and_plan};
use crate::host::{Host, Probe};
use crate::inventory::{self, Scope, Wanted};
use crate::operation::OpKind;

/// Gives a staged volume to a Pod.
///
/// # Errors
/// [`Error`].
pub async fn publish(context: &Context, request: NodePublishVolumeRequest) -> Result<(), Error> {
    let ValidPublish { volume: name, uuid, pool, staging, target, capability, access } =
        validate_publish(request)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid, pool: pool.as_deref(), scope: Scope::InService };
    let located = context.find(&cluster, wanted).await??;
    let job = call_job(OpKind::Publish, &located, &target);
    let (dir, volume, sharing) = (located.pool.dir, located.tag.volume, capability.sharing);
    let intent = Intent::Publish { volume, cluster, staging, target, access, sharing };
    let plan = move |host: &dyn Host, _: &OperationId| {
        observe_and_plan(host, &dir, volume, Probe::Skip, &intent)
    };
    context.runner.run(job, plan).await?;
    context.tell_changed(&name);
    Ok(())
}

/// Undoes [`publish`]. A path where nothing is mounted any more is no error.
///
/// # Errors
/// [`Error`].
pub async fn unpublish(
    context: &Context,
    request: NodeUnpublishVolumeRequest,
) -> Result<(), Error> {
    let NodeUnpublishVolumeRequest { volume_id, target_path } = request;
    let name = parse_text("volume_id", volume_id)?;
    let target = parse_path("target_path", target_path)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid: None, pool: None, scope: Scope::Any };
    let located = match context.find(&cluster, wanted).await? {
        Ok(located) => located,
        // Nor does a pool that cannot be looked at keep a Pod from ending: the path is the kubelet's own.
        Err(inventory::Error::NotFound { .. } | inventory::Error::Unknown { .. }) => {
            return take_away(context, OpKind::Unpublish, name, target).await;
        }
        Err(error) => return Err(error.into()),
    };
    let (dir, volume) = (located.pool.dir.clone(), located.tag.volume);
    let view = context.look(move |host| host.volume(&dir, volume, None, Probe::Skip)).await?;
    let view: View = view.map_err(crate::runner::Error::Observe)?;
    if !view.mount_at(&target).is_some_and(|mount| view.is_of_volume(mount)) {
        validate_kubelets(&view.mounts, &context.kubelet_dir, &name, &target)?;
    }
    let job = call_job(OpKind::Unpublish, &located, &target);
    let dir = located.pool.dir;
    let plan = move |host: &dyn Host, _: &OperationId| {
        let gone = !target.exists();
        let steps =
            observe_and_plan(host, &dir, volume, Probe::Skip, &Intent::Unpublish { target })?;
        // A path that is gone needs no journal entry to be removed.
        Ok(steps
            .into_iter()
            .filter(|step| !(gone && matches!(step, Step::RemoveTarget { .. })))
            .collect())
    };
    context.runner.run(job, plan).await?;
    context.tell_changed(&name);
    Ok(())
}
