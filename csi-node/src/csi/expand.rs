//! Expand: the filesystem follows the image, which the agent has grown before. The answer is given only
//! when the filesystem itself says that it spans the device.

use csi_proto_rs::csi::v1::NodeExpandVolumeRequest;
use terrace_device_types::{Bytes, Intent, OperationId, View, VolumeMode};

use super::request::{ValidExpand, validate_expand};
use super::stage::call_job;
use super::status::Error;
use crate::context::{Context, observe_and_plan};
use crate::host::{Host, Probe};
use crate::inventory::{Located, Scope, Wanted};
use crate::operation::OpKind;
use crate::runner;

/// Grows a staged volume's filesystem to its image; answers the image's size in bytes.
///
/// # Errors
/// [`Error`].
pub async fn expand(context: &Context, request: NodeExpandVolumeRequest) -> Result<i64, Error> {
    let ValidExpand { volume: name, path, required, limit } = validate_expand(request)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid: None, pool: None, scope: Scope::InService };
    let located = context.find(&cluster, wanted).await??;
    let (dir, volume) = (located.pool.dir.clone(), located.tag.volume);
    let view = context.look(move |host| host.volume(&dir, volume, None, Probe::Skip)).await?;
    let view = view.map_err(runner::Error::Observe)?;
    validate_staged(&view, &located, &name)?;
    let size = located.image.apparent;
    validate_size(&name, size, required, limit)?;
    let mut job = call_job(OpKind::Expand, &located, &path);
    job.subject.to = Some(size);
    let dir = located.pool.dir;
    let intent = Intent::Grow { volume, cluster, to: size };
    let plan = move |host: &dyn Host, _: &OperationId| {
        observe_and_plan(host, &dir, volume, Probe::Skip, &intent)
    };
    context.runner.run(job, plan).await?;
    context.tell_changed(&name);
    Ok(i64::try_from(size.0).unwrap_or(i64::MAX))
}

/// A mounted filesystem, or an attached device: only these can be grown now.
fn validate_staged(view: &View, located: &Located, name: &str) -> Result<(), Error> {
    let staged = match located.tag.mode {
        VolumeMode::Filesystem { .. } => view.volume_mounts().next().is_some(),
        VolumeMode::Block => view.volume.has_device(),
    };
    if staged { Ok(()) } else { Err(Error::NotStaged { volume: name.to_owned() }) }
}

fn validate_size(name: &str, has: Bytes, required: u64, limit: Option<u64>) -> Result<(), Error> {
    let volume = || name.to_owned();
    match limit {
        Some(limit) if limit < has.0 => {
            Err(Error::OverLimit { volume: volume(), has: has.0, limit })
        }
        Some(_) | None if has.0 < required => {
            Err(Error::NotGrownYet { volume: volume(), has: has.0, asked: required })
        }
        Some(_) | None => Ok(()),
    }
}
