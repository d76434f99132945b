//! Whether what a pool of ours lies on still carries it: what was a pool once is never made a second time (I2).

use std::path::Path;

use terrace_backends::{BackendKind, backend};
use terrace_device_types::{ClusterUid, DeviceView, PoolFileReading, PoolUuid, Signature, Wipe};

use super::Fault;
use crate::agent::Agent;
use crate::agent::pool_plan::Place;
use crate::journal::KnownPool;
use crate::runner;

/// The UUID in the pool file, if that is ours and of this name; a folder that was a pool and is not marked
/// now is refused, never marked anew: its disk may not be mounted.
pub(super) async fn validate_known(
    agent: &Agent,
    name: &str,
    uuid: PoolUuid,
    kind: BackendKind,
    place: &Place,
    cluster: &ClusterUid,
    known: &[KnownPool],
) -> Result<PoolUuid, Fault> {
    let was_here = |dir: &Path| known.iter().any(|pool| pool.uuid == uuid && pool.dir == dir);
    let (path, is_gone) = match place {
        Place::Directory(dir) => (dir.clone(), was_here(dir)),
        // Not mounted yet is how a device looks after a reboot.
        Place::Device { dir, .. } | Place::Group { dir, .. } => (dir.clone(), false),
    };
    let dir = path.display().to_string();
    let view = agent.context.look(move |host| host.pool(&path)).await?;
    let view = view.map_err(runner::Error::Observe)?;
    match &view.file {
        PoolFileReading::Read(file) if file.cluster_uid == *cluster && file.pool == name => {
            Ok(file.pool_uuid)
        }
        PoolFileReading::Absent if is_gone => Err(Fault::Gone { dir, uuid }),
        PoolFileReading::Absent => validate_device(agent, uuid, kind, place, &was_here).await,
        PoolFileReading::Read(_) | PoolFileReading::Unreadable(_) => Ok(uuid),
    }
}

/// Devices that were this pool must carry it still: those that look blank now are broken, wiped or others, and nothing is
/// made on them a second time (I2).
async fn validate_device(
    agent: &Agent,
    uuid: PoolUuid,
    kind: BackendKind,
    place: &Place,
    was_here: &impl Fn(&Path) -> bool,
) -> Result<PoolUuid, Fault> {
    if !was_here(place.dir()) {
        return Ok(uuid);
    }
    let device = match place {
        Place::Directory(_) => return Ok(uuid),
        Place::Device { device, .. } => device,
        Place::Group { devices, .. } => return validate_group(agent, uuid, devices).await,
    };
    let asked = (**device).clone();
    let probed = agent.context.look(move |host| host.probe_device(asked)).await?;
    let found = probed.map_err(runner::Error::Observe)?.signature;
    let fs = backend(kind).device_filesystem();
    if found == (Signature::Filesystem { fs, uuid: uuid.filesystem_uuid() }) {
        return Ok(uuid);
    }
    Err(Fault::Wiped { device: device.id.clone(), uuid, found: found.to_string() })
}

async fn validate_group(
    agent: &Agent,
    uuid: PoolUuid,
    devices: &[(DeviceView, Wipe)],
) -> Result<PoolUuid, Fault> {
    let asked = devices.to_vec();
    let place = agent.context.look(move |host| host.group(asked, uuid)).await?;
    if place.map_err(runner::Error::Observe)?.group.is_some() {
        return Ok(uuid);
    }
    let names: Vec<&str> = devices.iter().map(|(device, _)| device.id.as_str()).collect();
    let found = "no part of its volume group".to_owned();
    Err(Fault::Wiped { device: names.join(", "), uuid, found })
}
