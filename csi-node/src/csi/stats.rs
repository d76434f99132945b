//! Stats: bytes and inodes of a filesystem, the size of a raw device. The kubelet asks once a minute for each volume: no lock, no command, and
//! one look at one volume.

use std::path::{Path, PathBuf};

use csi_proto_rs::csi::v1::volume_usage::Unit;
use csi_proto_rs::csi::v1::{NodeGetVolumeStatsRequest, VolumeUsage};
use terrace_device_types::{ClusterUid, View, VolumeMode};

use super::request::parse_text;
use super::status::Error;
use crate::context::Context;
use crate::host::{Probe, Usage};
use crate::inventory::{Located, Scope, Wanted};
use crate::runner;

/// Use of a volume at a path where it is staged or published.
///
/// # Errors
/// [`Error`]; `NotThere` if the path is none of the volume's.
pub async fn stats(
    context: &Context,
    request: NodeGetVolumeStatsRequest,
) -> Result<Vec<VolumeUsage>, Error> {
    let NodeGetVolumeStatsRequest { volume_id, volume_path, staging_target_path: _ } = request;
    let name = parse_text("volume_id", volume_id)?;
    let path = PathBuf::from(parse_text("volume_path", volume_path)?);
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let located = match context.mounted(&cluster, &name, &path).await? {
        Some(located) => located,
        None => search(context, &cluster, &name, &path).await?,
    };
    match located.tag.mode {
        VolumeMode::Block => Ok(vec![size_only(located.image.apparent.0)]),
        VolumeMode::Filesystem { .. } => {
            let usage = context.look(move |host| host.usage(&path)).await?;
            Ok(both(&usage.map_err(runner::Error::Observe)?))
        }
    }
}

/// Through all pools: for what was never seen by this process, and for what is not as it says.
async fn search(
    context: &Context,
    cluster: &ClusterUid,
    name: &str,
    path: &Path,
) -> Result<Located, Error> {
    let wanted = Wanted { name, uuid: None, pool: None, scope: Scope::Any };
    let located = context.find(cluster, wanted).await??;
    let (dir, volume) = (located.pool.dir.clone(), located.tag.volume);
    let view = context.look(move |host| host.volume(&dir, volume, None, Probe::Skip)).await?;
    let view: View = view.map_err(runner::Error::Observe)?;
    if !view.mount_at(path).is_some_and(|mount| view.is_of_volume(mount)) {
        let staged_block = located.tag.mode == VolumeMode::Block && path.is_dir();
        if !(staged_block && view.volume.has_device()) {
            let (volume, path) = (name.to_owned(), path.display().to_string());
            return Err(Error::NotThere { volume, path });
        }
    }
    Ok(located)
}

fn size_only(bytes: u64) -> VolumeUsage {
    VolumeUsage { available: 0, total: count(bytes), used: 0, unit: Unit::Bytes.into() }
}

fn both(usage: &Usage) -> Vec<VolumeUsage> {
    let Usage { total, used, available, inodes, inodes_used, inodes_free } = usage;
    let bytes = VolumeUsage {
        available: count(available.0),
        total: count(total.0),
        used: count(used.0),
        unit: Unit::Bytes.into(),
    };
    let inodes = VolumeUsage {
        available: count(*inodes_free),
        total: count(*inodes),
        used: count(*inodes_used),
        unit: Unit::Inodes.into(),
    };
    vec![bytes, inodes]
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
