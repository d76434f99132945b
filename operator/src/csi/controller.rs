//! The CSI Controller service: one line a method. What is not offered is not listed, and answers Unimplemented.

use std::time::{Duration, Instant};

use csi_proto_rs::csi::v1::controller_server::Controller;
use csi_proto_rs::csi::v1::controller_service_capability::{Rpc, Type, rpc};
use csi_proto_rs::csi::v1::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse,
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse,
    ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse,
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ControllerListVolumeHealthRequest,
    ControllerListVolumeHealthResponse, ControllerModifyVolumeRequest,
    ControllerModifyVolumeResponse, ControllerPublishVolumeRequest,
    ControllerPublishVolumeResponse, ControllerServiceCapability, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse, CreateSnapshotRequest, CreateSnapshotResponse,
    CreateVolumeRequest, CreateVolumeResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse,
    GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse,
    ListVolumesRequest, ListVolumesResponse, ValidateVolumeCapabilitiesRequest,
    ValidateVolumeCapabilitiesResponse,
};
use futures::Future;
use tokio::time::{Instant as Until, timeout_at};
use tonic::{Code, Request, Response, Status};
use tracing::Instrument;

use super::deadline::deadline;
use super::{
    Service, capacity, create, delete, expand, health, list, snapshot, snapshots, validate,
};
use crate::error::Error;
use crate::fault::{Point, pass};
use crate::metrics::{Method, Metrics};

/// What is offered; csi-sanity tests every line of it.
const OFFERED: [rpc::Type; 11] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::ExpandVolume,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::CreateDeleteSnapshot,
    rpc::Type::ListSnapshots,
    rpc::Type::GetSnapshot,
    rpc::Type::CloneVolume,
    rpc::Type::GetVolumeHealth,
    rpc::Type::ListVolumeHealth,
];

/// How much longer than its own waits a call may take: an API server that hangs must not hang us (I10).
const GRACE: Duration = Duration::from_millis(200);

/// Ends a call's timer however the call ends: answered, failed or dropped.
struct Timed<'a> {
    metrics: &'a Metrics,
    method: Method,
    began: Instant,
    code: Code,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.metrics.call_ended(self.method, self.code, self.began.elapsed());
    }
}

impl Service {
    /// Runs one call in a span and a timer of its own.
    pub(super) async fn call<T>(
        &self,
        method: Method,
        volume: &str,
        until: Until,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Response<T>, Status> {
        self.metrics.call_began();
        let (metrics, began) = (&*self.metrics, Instant::now());
        let mut timed = Timed { metrics, method, began, code: Code::Cancelled };
        let span = tracing::info_span!("csi", method = method.as_str(), volume);
        let late = || Error::Deadline { waiting: "the API server".into() };
        let work = timeout_at(until + GRACE, work.instrument(span.clone()));
        let mut done = work.await.unwrap_or_else(|_| Err(late()));
        if done.is_ok() {
            let passed = pass(&*self.faults, Point::Reply(method)).await;
            done = passed.map_err(Error::from).and(done);
        }
        let done = done.map_err(Status::from);
        timed.code = done.as_ref().map_or_else(Status::code, |_| Code::Ok);
        span.in_scope(|| match &done {
            Ok(_) => tracing::debug!(took_ms = began.elapsed().as_millis(), "answered"),
            Err(status) => tracing::info!(code = ?status.code(), "{}", status.message()),
        });
        done.map(Response::new)
    }
}

fn not_offered<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not listed in ControllerGetCapabilities"))
}

#[tonic::async_trait]
impl Controller for Service {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.name.clone();
        self.call(Method::CreateVolume, &name, until, create::create(self, request, until)).await
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.volume_id.clone();
        self.call(Method::DeleteVolume, &name, until, delete::delete(self, request, until)).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.volume_id.clone();
        self.call(
            Method::ControllerExpandVolume,
            &name,
            until,
            expand::expand(self, request, until),
        )
        .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.volume_id.clone();
        let method = Method::ValidateVolumeCapabilities;
        self.call(method, &name, until, validate::validate(self, request)).await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        self.call(Method::ListVolumes, "", until, async { list::list(self, &request) }).await
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        self.call(Method::GetCapacity, "", until, async { capacity::capacity(self, request) }).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capability = |offer: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: offer.into() })),
        };
        let capabilities = OFFERED.map(capability).to_vec();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn controller_publish_volume(
        &self,
        _: Request<ControllerPublishVolumeRequest>,
    ) -> Result<Response<ControllerPublishVolumeResponse>, Status> {
        not_offered()
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<ControllerUnpublishVolumeResponse>, Status> {
        not_offered()
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<ControllerListVolumeHealthRequest>,
    ) -> Result<Response<ControllerListVolumeHealthResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let work = async { health::list(self, &request) };
        self.call(Method::ControllerListVolumeHealth, "", until, work).await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<ControllerGetVolumeHealthResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.volume_id.clone();
        let work = health::get(self, request);
        self.call(Method::ControllerGetVolumeHealth, &name, until, work).await
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.name.clone();
        let work = snapshot::create(self, request, until);
        self.call(Method::CreateSnapshot, &name, until, work).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.snapshot_id.clone();
        let work = snapshot::delete(self, request, until);
        self.call(Method::DeleteSnapshot, &name, until, work).await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let work = async { snapshots::list(self, &request) };
        self.call(Method::ListSnapshots, "", until, work).await
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let until = deadline(request.metadata());
        let request = request.into_inner();
        let name = request.snapshot_id.clone();
        self.call(Method::GetSnapshot, &name, until, snapshot::get(self, request)).await
    }

    async fn controller_get_volume(
        &self,
        _: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        not_offered()
    }

    async fn controller_modify_volume(
        &self,
        _: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        not_offered()
    }
}
