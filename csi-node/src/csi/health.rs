//! Health in the words of CSI 1.13 (alpha there): of a volume, and of all that lies below the volumes of this node. It only looks;
//! what it says is what `Healthy` and `LatencyHigh` say.

use csi_proto_rs::csi::v1::node_get_storage_health_response::StorageBackendHealth;
use csi_proto_rs::csi::v1::volume_health::VolumeHealthEntry;
use csi_proto_rs::csi::v1::{
    NodeGetVolumeHealthRequest, StorageHealthErrorType, VolumeHealth, VolumeHealthErrorType,
};
use jiff::Timestamp;
use terrace_crds::{ConditionType, Reason};
use terrace_device_types::{ClusterUid, StageState, VolumeMode};
use terrace_probe_abi::wire::Turned;

use super::request::parse_text;
use super::status::Error;
use crate::agent::health::{Ailment, FilesystemState, Health, Watched, filesystem_state};
use crate::agent::probe::board::{Board, Link};
use crate::agent::probe::known::pv_name;
use crate::agent::probe::status::high_message;
use crate::agent::{Agent, report};
use crate::context::Context;
use crate::inventory::{self, Located, Scope, Wanted};

/// A pool that is not where it was; no condition has this word.
const POOL_UNREACHABLE: &str = "PoolUnreachable";

/// What speaks against a volume; an empty list: nothing is known.
///
/// # Errors
/// [`Error`]; `NotFound` if no pool of this node has it.
pub async fn volume(
    context: &Context,
    agent: Option<&Agent>,
    request: NodeGetVolumeHealthRequest,
) -> Result<VolumeHealth, Error> {
    let NodeGetVolumeHealthRequest { volume_id, volume_publish_path: _, staging_target_path: _ } =
        request;
    let name = parse_text("volume_id", volume_id)?;
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let wanted = Wanted { name: &name, uuid: None, pool: None, scope: Scope::Any };
    let located = match context.find(&cluster, wanted).await? {
        Err(error @ inventory::Error::Unknown { .. }) if is_assigned(agent, &name) => {
            let entry = VolumeHealthEntry {
                status: VolumeHealthErrorType::Inaccessible.into(),
                reason: POOL_UNREACHABLE.to_owned(),
                message: report::chain(&error),
            };
            return Ok(VolumeHealth { volume_id: name, health_statuses: vec![entry] });
        }
        found => found?,
    };
    let pool = located.pool.uuid;
    let filesystem = look(context, located).await?;
    let board = agent.map(|agent| (&*agent.probe, pv_of(agent, &name)));
    let now = Timestamp::now();
    let failing = board.as_ref().and_then(|(board, pv)| board.failing(pv, now));
    let disks = agent.and_then(|agent| agent.pool_ailments().get(&pool).cloned());
    let health = Health { disks, filesystem, failing, watched: Watched::Enough };
    let slow = board.as_ref().and_then(|(board, pv)| high(board, pv)).map(|turned| {
        let (status, reason) = (VolumeHealthErrorType::Degraded, ConditionType::LatencyHigh);
        let message = high_message(&turned);
        VolumeHealthEntry { status: status.into(), reason: reason.to_string(), message }
    });
    let health_statuses = health.ailments().into_iter().map(entry).chain(slow).collect();
    Ok(VolumeHealth { volume_id: name, health_statuses })
}

fn is_assigned(agent: Option<&Agent>, name: &str) -> bool {
    let volumes = agent.map(|agent| agent.objects.volumes()).unwrap_or_default();
    volumes.iter().any(|volume| volume.metadata.name.as_deref() == Some(name))
}

fn pv_of(agent: &Agent, name: &str) -> String {
    let volumes = agent.objects.volumes();
    let volume = volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name));
    volume.and_then(|volume| pv_name(volume)).unwrap_or(name).to_owned()
}

/// Its last turn, if that was for the worse and a probe still watches.
fn high(board: &Board, pv: &str) -> Option<Turned> {
    match board.link() {
        Link::Up { .. } => board.reading(pv)?.turned.filter(|turned| turned.high),
        Link::Down { .. } => None,
    }
}

/// What its filesystem does, if it is staged.
async fn look(context: &Context, located: Located) -> Result<FilesystemState, Error> {
    let (StageState::At { boot: _, target }, VolumeMode::Filesystem { .. }) =
        (located.tag.stage, located.tag.mode)
    else {
        return Ok(FilesystemState::NotSeen);
    };
    let state = context.look(move |host| {
        let mounts = host.mounts().ok()?;
        let mount = mounts.mount_at(&target)?;
        Some(filesystem_state(mount, host.usage(&target).as_ref().err()))
    });
    Ok(state.await?.unwrap_or_default())
}

fn entry(ailment: Ailment) -> VolumeHealthEntry {
    let Ailment { reason, message } = ailment;
    let status = if reason == Reason::FilesystemShutDown {
        VolumeHealthErrorType::Inaccessible
    } else {
        VolumeHealthErrorType::Degraded
    };
    VolumeHealthEntry { status: status.into(), reason: reason.to_string(), message }
}

/// What speaks against all that lies here: pools that are not where they were, and volumes that are slow.
///
/// # Errors
/// [`Error`].
pub async fn storage(
    context: &Context,
    agent: Option<&Agent>,
) -> Result<Vec<StorageBackendHealth>, Error> {
    let cluster = context.cluster().ok_or(Error::Starting)?;
    let unreachable = unreachable(context, cluster).await?;
    let slow = agent.and_then(slow);
    Ok(unreachable.into_iter().chain(slow).collect())
}

async fn unreachable(
    context: &Context,
    cluster: ClusterUid,
) -> Result<Option<StorageBackendHealth>, Error> {
    let pools = context.pools.clone();
    let listed = context.look(move |host| {
        let failed = inventory::list(host, &pools, &cluster).failed;
        let told =
            failed.iter().map(|(pool, why)| format!("{}: {}", pool.name, report::chain(why)));
        told.collect::<Vec<String>>()
    });
    let failed = listed.await?;
    Ok((!failed.is_empty()).then(|| StorageBackendHealth {
        status: StorageHealthErrorType::StorageUnreachable.into(),
        reason: POOL_UNREACHABLE.to_owned(),
        message: failed.join("; "),
        volume_capability: None,
    }))
}

fn slow(agent: &Agent) -> Option<StorageBackendHealth> {
    let volumes = agent.objects.volumes();
    let slow = volumes
        .iter()
        .filter(|volume| pv_name(volume).is_some_and(|pv| high(&agent.probe, pv).is_some()));
    let slow = slow.count();
    (slow > 0).then(|| StorageBackendHealth {
        status: StorageHealthErrorType::StorageDegraded.into(),
        reason: ConditionType::LatencyHigh.to_string(),
        message: format!("{slow} of {} volumes take longer than their target", volumes.len()),
        volume_capability: None,
    })
}
