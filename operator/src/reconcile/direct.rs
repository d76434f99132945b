//! What is read past the caches for a Direct volume that is not settled: the claim that it names, and whose the
//! PersistentVolume of its name is. It reads only.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use terrace_crds::StorageVolume;
use terrace_crds::names::volume_uuid;
use terrace_crds::volume::ClaimRef;
use terrace_plan::observe::{observe_claim, observe_stranger};
use terrace_plan::volume::needs_look;
use terrace_plan::world::{ClaimFound, Looked, name_of};

use super::Context;
use crate::error::Error;

/// Looks, where the plan for this volume cannot do without.
pub(super) async fn look(
    context: &Context,
    volume: &StorageVolume,
    persistent: Option<&PersistentVolume>,
) -> Result<Option<Looked>, Error> {
    let Some(claim) = &volume.spec.claim_ref else { return Ok(None) };
    if !needs_look(&context.caches.world(), volume, Timestamp::now()) {
        return Ok(None);
    }
    let name = name_of(&volume.metadata);
    let stranger = match persistent {
        Some(pv) => observe_stranger(pv, name),
        None => find_stranger(context, volume).await?,
    };
    let uuid = Some(volume_uuid(context.cluster, name).to_string());
    Ok(Some(Looked { uuid, claim: find_claim(context, claim).await?, stranger }))
}

/// Of a volume without a place the PersistentVolume was read before.
async fn find_stranger(context: &Context, volume: &StorageVolume) -> Result<Option<String>, Error> {
    if volume.spec.assignment.is_none() {
        return Ok(None);
    }
    let name = name_of(&volume.metadata);
    let api = Api::<PersistentVolume>::all(context.client.clone());
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| Error::api("get PersistentVolume", name, error))?;
    Ok(found.and_then(|pv| observe_stranger(&pv, name)))
}

async fn find_claim(context: &Context, claim: &ClaimRef) -> Result<ClaimFound, Error> {
    let ClaimRef { namespace, name } = claim;
    let claims = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), namespace);
    let found = claims.get_opt(name).await;
    let found = found.map_err(|error| Error::api("get PersistentVolumeClaim", name, error))?;
    if let Some(claim) = found {
        return Ok(ClaimFound::There(observe_claim(&claim)));
    }
    let spaces = Api::<Namespace>::all(context.client.clone());
    let space = spaces.get_opt(namespace).await;
    let space = space.map_err(|error| Error::api("get Namespace", namespace, error))?;
    Ok(space.map_or(ClaimFound::NoNamespace, |_| ClaimFound::Absent))
}
