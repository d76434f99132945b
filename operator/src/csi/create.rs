//! CreateVolume: write the intent, wait until the node says Ready, reply. Where no place is found, the intent
//! that came to nothing is taken back, so that the scheduler may try another node.

use std::time::Duration;

use csi_proto_rs::csi::v1::{CreateVolumeRequest, CreateVolumeResponse};
use jiff::Timestamp;
use terrace_crds::condition::{ConditionType, Reason, Truth, find, is_true};
use terrace_crds::volume::SourceKind;
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_plan::create::{Original, ValidCreate, default_fs, validate_create};
use terrace_plan::delete::{plan_delete, waits_for};
use terrace_plan::effect::{Effect, ObjectRef, Tone};
use terrace_plan::snapshot::conditions_of as snapshot_conditions;
use terrace_plan::volume::conditions_of;
use tokio::time::Instant;
use uuid::Uuid;

use super::wait::{gone, wait_for};
use super::{Service, wire};
use crate::error::Error;
use crate::metrics::Method;

/// How long the watch may take to tell what was read past it.
const CACHE_LAG: Duration = Duration::from_millis(20);

/// Makes a volume, or finds the one that is there.
///
/// # Errors
/// [`Error`], as CSI names them.
pub async fn create(
    service: &Service,
    request: CreateVolumeRequest,
    deadline: Instant,
) -> Result<CreateVolumeResponse, Error> {
    let original = find_original(service, &request).await?;
    let parameters = wire::sorted(request.parameters.clone());
    let default_fs = default_fs(&service.caches.pools.all(), &parameters);
    let valid = validate_create(wire::parse_create(request, original, default_fs)?)?;
    let name = &valid.name.name;
    let _guard = service.calls.enter(name, Method::CreateVolume)?;
    let there = intend(service, &valid, deadline).await?;
    let uid = there.metadata.uid.as_deref().unwrap_or_default();
    loop {
        let caches = &service.caches;
        let error = match wait_for(&caches.volumes, (name, uid), deadline, "its node", judge).await
        {
            Ok(volume) => {
                return Ok(CreateVolumeResponse { volume: Some(wire::volume(caches, &volume)) });
            }
            Err(error) => error,
        };
        // One that got its place after all is waited for again: answered with the refusal, it would be nobody's.
        match take_back(service, name, &error).await {
            Back::Taken => return Err(error),
            // The cache tells in a moment what the API server knows already.
            Back::Stands => tokio::time::sleep(CACHE_LAG).await,
        }
    }
}

/// What the new volume is to be a copy of: it must be there, and whole.
async fn find_original(
    service: &Service,
    request: &CreateVolumeRequest,
) -> Result<Option<Original>, Error> {
    let Some((kind, name)) = wire::parse_source(request.volume_content_source.as_ref())? else {
        return Ok(None);
    };
    let waiting = || Error::Deadline { waiting: format!("{name}: it is not ready to be copied") };
    match kind {
        SourceKind::Snapshot => {
            let found = service.read_object::<StorageSnapshot>(&name).await?;
            let snapshot = found.ok_or_else(|| Error::NoSnapshot { name: name.clone() })?;
            let ready = is_true(snapshot_conditions(&snapshot), ConditionType::Ready);
            if !ready || snapshot.metadata.deletion_timestamp.is_some() {
                return Err(waiting());
            }
            Ok(Some(Original::of_snapshot(&snapshot)))
        }
        SourceKind::Volume => {
            let found = service.read(&name).await?;
            let volume = found.ok_or_else(|| Error::NotFound { name: name.clone() })?;
            let ready = is_true(conditions_of(&volume), ConditionType::Ready);
            if !ready || volume.metadata.deletion_timestamp.is_some() {
                return Err(waiting());
            }
            Original::of_volume(&volume).map(Some).ok_or_else(waiting)
        }
    }
}

/// The volume with this name, written if it is not there. One that is on its way out is waited for: the caller would
/// only ask again and again.
async fn intend(
    service: &Service,
    valid: &ValidCreate,
    deadline: Instant,
) -> Result<StorageVolume, Error> {
    let name = &valid.name.name;
    if let Some(there) = service.read(name).await? {
        if there.metadata.deletion_timestamp.is_none() {
            valid.check_same(&there)?;
            return Ok(there);
        }
        let uid = there.metadata.uid.as_deref().unwrap_or_default();
        let waits = |volume: &StorageVolume| {
            let node = waits_for(&service.caches.world(), volume);
            format!("an earlier volume of this name is being deleted, which waits for {node}")
        };
        let read = || service.read(name);
        gone(&service.caches.volumes, (name, uid), deadline, read, waits).await?;
    }
    let volume = valid.volume(service.cluster, terrace_telemetry::inject());
    service.effects.apply(&Effect::CreateVolume { volume: Box::new(volume) }).await?;
    say_rounding(service, valid).await;
    service.read(name).await?.ok_or_else(|| Error::Changed { name: name.clone() })
}

/// Tells the claim that its volume is larger than asked.
async fn say_rounding(service: &Service, valid: &ValidCreate) {
    let said: Vec<String> = valid.granted.said.iter().map(ToString::to_string).collect();
    let Some(claim) = valid.parameters.claim.clone().filter(|_| !said.is_empty()) else { return };
    let (tone, reason, note) = (Tone::Normal, Reason::SizeRounded, said.join("; "));
    let tell = Effect::Tell { claim, tone, reason, note };
    // The caller need not wait for it, nor hear that it could not be written.
    let effects = service.effects.clone();
    tokio::spawn(async move { effects.apply(&tell).await });
}

fn judge(volume: &StorageVolume) -> Option<Result<StorageVolume, Error>> {
    let ready = find(conditions_of(volume), ConditionType::Ready)?;
    if ready.status == Truth::True.as_str() {
        return volume.spec.assignment.is_some().then(|| Ok(volume.clone()));
    }
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason)?;
    // What was said before the volume got its place says nothing about that place.
    let told_of_this = ready.observed_generation >= volume.metadata.generation;
    let refused = is_final(*reason) && told_of_this && !was_touched(volume);
    refused.then(|| {
        let name = volume.metadata.name.clone().unwrap_or_default();
        Err(Error::Refused { name, reason: *reason, message: ready.message.clone() })
    })
}

/// Reasons that do not pass by waiting: another node, or another class, may do.
fn is_final(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoCapacity
            | Reason::NoMatchingPool
            | Reason::NoNode
            | Reason::PoolFull
            | Reason::FacilityMissing
            | Reason::Invalid
            | Reason::NotSupported
    )
}

/// Whether a node reported anything of it: then it is never taken back by a refusal.
fn was_touched(volume: &StorageVolume) -> bool {
    let status = volume.status.as_ref();
    status.is_some_and(|status| status.capacity.is_some() || status.formatted.is_some())
}

/// What became of a refused volume.
enum Back {
    /// It is gone, or on its way; or it was no refusal.
    Taken,
    /// It is refused no more.
    Stands,
}

/// Takes a volume back that was refused before anything of it was made. Whatever goes wrong here, the caller
/// hears of the refusal, and its retry finds what is there.
async fn take_back(service: &Service, name: &str, error: &Error) -> Back {
    /// Collisions with the leader and the node.
    const ROUNDS: usize = 12;
    if !matches!(error, Error::Refused { .. }) {
        return Back::Taken;
    }
    for _ in 0..ROUNDS {
        match try_take_back(service, name).await {
            Ok(back) => return back,
            Err(Error::Changed { .. }) => {}
            Err(fault) => {
                tracing::warn!(volume = name, %fault, "refused volume not taken back");
                return Back::Taken;
            }
        }
    }
    Back::Taken
}

async fn try_take_back(service: &Service, name: &str) -> Result<Back, Error> {
    let Some(volume) = service.read(name).await? else { return Ok(Back::Taken) };
    if volume.metadata.deletion_timestamp.is_some() {
        return Ok(Back::Taken);
    }
    if !matches!(judge(&volume), Some(Err(_))) {
        return Ok(Back::Stands);
    }
    if volume.spec.assignment.is_none() {
        let volume = ObjectRef::of(&volume.metadata);
        service.effects.apply(&Effect::DeleteVolume { volume }).await?;
        return Ok(Back::Taken);
    }
    // Its node has it: the stamp lets the node remove what it may have begun.
    super::delete::carry_out(service, volume, |volume| {
        plan_delete(volume, Uuid::new_v4(), Timestamp::now())
    })
    .await?;
    Ok(Back::Taken)
}
