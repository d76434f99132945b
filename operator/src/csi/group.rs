//! The CSI GroupController service: snapshots of several volumes that show one moment. A group is the StorageSnapshots that carry its
//! name; their node takes them at once, or none.

use csi_proto_rs::csi::v1::group_controller_server::GroupController;
use csi_proto_rs::csi::v1::group_controller_service_capability::{Rpc, Type, rpc};
use csi_proto_rs::csi::v1::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse,
    DeleteVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotResponse,
    GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse,
    GroupControllerServiceCapability,
};
use futures::future::try_join_all;
use kube::Api;
use kube::api::ListParams;
use terrace_crds::snapshot::SnapshotGroup;
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_plan::group::{check_members, plan_group, validate_parameters};
use terrace_plan::snapshot::validate_name;
use terrace_plan::world::name_of;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::deadline::deadline;
use super::{Service, snapshot, wire};
use crate::error::Error;
use crate::metrics::Method;

/// Takes a group, or finds the one that is there.
async fn create(
    service: &Service,
    request: CreateVolumeGroupSnapshotRequest,
    until: Instant,
) -> Result<CreateVolumeGroupSnapshotResponse, Error> {
    let CreateVolumeGroupSnapshotRequest { name, source_volume_ids, secrets: _, parameters } =
        request;
    validate_name(&name)?;
    validate_parameters(wire::sorted(parameters))?;
    if source_volume_ids.is_empty() {
        return Err(Error::Field { field: "source_volume_ids" });
    }
    let _guard =
        service.calls.enter(&format!("group {name}"), Method::CreateVolumeGroupSnapshot)?;
    let there = members_of(service, &name).await?;
    let sources =
        if there.is_empty() { read_all(service, &source_volume_ids).await? } else { Vec::new() };
    let world = service.caches.world();
    let (group, members) =
        plan_group(&world, service.cluster, &name, &source_volume_ids, &sources)?;
    check_members(&name, &group, &there)?;
    let intend = members
        .iter()
        .map(|(member, source)| snapshot::intend(service, member, source, Some(group.clone())));
    let written = try_join_all(intend).await?;
    let waits = written.iter().map(|member| snapshot::wait_until_ready(service, member, until));
    match try_join_all(waits).await {
        Ok(taken) => {
            let group_snapshot = Some(wire::group(&name, &taken));
            Ok(CreateVolumeGroupSnapshotResponse { group_snapshot })
        }
        Err(error) => Err(take_back(service, &name, error).await),
    }
}

/// A group of which one member came to nothing shows no moment: all of it is taken back, so that a retry takes a new one. A group of
/// which every member was taken once was told of as whole: what is left of it is its owner's to delete (I1).
async fn take_back(service: &Service, name: &str, error: Error) -> Error {
    if !matches!(error, Error::SnapshotRefused { .. }) {
        return error;
    }
    let members = match members_of(service, name).await {
        Ok(members) => members,
        Err(fault) => {
            tracing::warn!(group = name, %fault, "refused group not taken back");
            return error;
        }
    };
    if members.iter().all(snapshot::was_made) {
        return error;
    }
    for member in members {
        let name = name_of(&member.metadata).to_owned();
        if let Err(fault) = snapshot::stamp_and_delete(service, member).await {
            tracing::warn!(snapshot = name, %fault, "member of a refused group not taken back");
        }
    }
    error
}

async fn read_all(service: &Service, names: &[String]) -> Result<Vec<StorageVolume>, Error> {
    let read = names.iter().map(|name| async move {
        let found = service.read(name).await?;
        found.ok_or_else(|| Error::NotFound { name: name.clone() })
    });
    try_join_all(read).await
}

/// Members of a group, as the API server has them now, by name.
async fn members_of(service: &Service, name: &str) -> Result<Vec<StorageSnapshot>, Error> {
    let api = Api::<StorageSnapshot>::all(service.client.clone());
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|error| Error::api("list StorageSnapshots of", name, error))?;
    let is_of = |group: &SnapshotGroup| group.name == name;
    let mut members: Vec<_> =
        all.items.into_iter().filter(|it| it.spec.group.as_ref().is_some_and(is_of)).collect();
    members.sort_by(|one, two| name_of(&one.metadata).cmp(name_of(&two.metadata)));
    Ok(members)
}

async fn delete(
    service: &Service,
    request: DeleteVolumeGroupSnapshotRequest,
    until: Instant,
) -> Result<DeleteVolumeGroupSnapshotResponse, Error> {
    let DeleteVolumeGroupSnapshotRequest { group_snapshot_id: name, snapshot_ids, secrets: _ } =
        request;
    if name.is_empty() {
        return Err(Error::Field { field: "group_snapshot_id" });
    }
    let _guard =
        service.calls.enter(&format!("group {name}"), Method::DeleteVolumeGroupSnapshot)?;
    let members = members_of(service, &name).await?;
    let mut names: Vec<&str> = members.iter().map(|member| name_of(&member.metadata)).collect();
    // Members whose objects were lost are known to the caller alone.
    names.extend(snapshot_ids.iter().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    try_join_all(names.into_iter().map(|name| snapshot::remove(service, name, until))).await?;
    Ok(DeleteVolumeGroupSnapshotResponse {})
}

async fn get(
    service: &Service,
    request: GetVolumeGroupSnapshotRequest,
) -> Result<GetVolumeGroupSnapshotResponse, Error> {
    let GetVolumeGroupSnapshotRequest { group_snapshot_id: name, snapshot_ids, secrets: _ } =
        request;
    if name.is_empty() {
        return Err(Error::Field { field: "group_snapshot_id" });
    }
    let members = members_of(service, &name).await?;
    if members.is_empty() {
        return Err(Error::NoSnapshot { name });
    }
    let is_member = |id: &String| members.iter().any(|member| name_of(&member.metadata) == id);
    if !snapshot_ids.iter().all(is_member) {
        return Err(Error::Field { field: "snapshot_ids" });
    }
    Ok(GetVolumeGroupSnapshotResponse { group_snapshot: Some(wire::group(&name, &members)) })
}

#[tonic::async_trait]
impl GroupController for Service {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let offer = rpc::Type::CreateDeleteGetVolumeGroupSnapshot;
        let capability = GroupControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: offer.into() })),
        };
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities: vec![capability] }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let (name, method) = (request.name.clone(), Method::CreateVolumeGroupSnapshot);
        self.call(method, &name, until, create(self, request, until)).await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let (name, method) = (request.group_snapshot_id.clone(), Method::DeleteVolumeGroupSnapshot);
        self.call(method, &name, until, delete(self, request, until)).await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let (name, method) = (request.group_snapshot_id.clone(), Method::GetVolumeGroupSnapshot);
        self.call(method, &name, until, get(self, request)).await
    }
}
