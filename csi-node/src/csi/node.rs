//! CSI Node: what the kubelet calls. Each call is checked, run and answered; what a call means for the
//! host is planned in terrace-backends, never here.

use std::sync::Arc;

use csi_proto_rs::csi::v1::node_server::Node;
use csi_proto_rs::csi::v1::node_service_capability::{Rpc as RpcCapability, Type, rpc};
use csi_proto_rs::csi::v1::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetStorageHealthRequest, NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest,
    NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability,
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, Topology,
};
use terrace_crds::names;
use tonic::{Request, Response, Status};

use super::{expand, health, publish, stage, stats};
use crate::agent::Agent;
use crate::context::Context;
use crate::fault::{Point, Rpc, pass};
use crate::runner;

/// What the node can do; `VOLUME_MOUNT_GROUP` is not listed: fsGroup is the kubelet's work.
const CAPABILITIES: [rpc::Type; 6] = [
    rpc::Type::StageUnstageVolume,
    rpc::Type::ExpandVolume,
    rpc::Type::GetVolumeStats,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::GetVolumeHealth,
    rpc::Type::GetStorageHealth,
];

/// Serves one node.
#[derive(Clone, Debug)]
pub struct NodeService {
    context: Context,
    node_name: String,
    volume_limit: u64,
    agent: Option<Arc<Agent>>,
}

impl NodeService {
    /// For the node of this name, which takes at most `volume_limit` volumes.
    #[must_use]
    pub fn new(context: Context, node_name: String, volume_limit: u64) -> Self {
        Self { context, node_name, volume_limit, agent: None }
    }

    /// The same, which tells in its reports of health what the agent knows beside what a look shows.
    #[must_use]
    pub fn informed_by(self, agent: Arc<Agent>) -> Self {
        Self { agent: Some(agent), ..self }
    }

    /// The answer, unless it is made to fail before it is sent.
    async fn reply<T>(&self, rpc: Rpc, answer: T) -> Result<Response<T>, Status> {
        let passed = pass(&*self.context.runner.faults, Point::Reply(rpc)).await;
        let passed = passed.map_err(|fault| super::status::Error::Run(runner::Error::Fault(fault)));
        passed.map(|()| Response::new(answer)).map_err(Status::from)
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    #[tracing::instrument(name = "NodeStageVolume", skip_all, fields(volume = request.get_ref().volume_id), err(level = "warn"))]
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        stage::stage(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Stage, NodeStageVolumeResponse {}).await
    }

    #[tracing::instrument(name = "NodeUnstageVolume", skip_all, fields(volume = request.get_ref().volume_id), err(level = "warn"))]
    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        stage::unstage(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Unstage, NodeUnstageVolumeResponse {}).await
    }

    #[tracing::instrument(name = "NodePublishVolume", skip_all, fields(volume = request.get_ref().volume_id), err(level = "warn"))]
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        publish::publish(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Publish, NodePublishVolumeResponse {}).await
    }

    #[tracing::instrument(name = "NodeUnpublishVolume", skip_all, fields(volume = request.get_ref().volume_id), err(level = "warn"))]
    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        publish::unpublish(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Unpublish, NodeUnpublishVolumeResponse {}).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let usage = stats::stats(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Stats, NodeGetVolumeStatsResponse { usage }).await
    }

    #[tracing::instrument(name = "NodeExpandVolume", skip_all, fields(volume = request.get_ref().volume_id), err(level = "warn"))]
    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let capacity_bytes = expand::expand(&self.context, request.into_inner()).await?;
        self.reply(Rpc::Expand, NodeExpandVolumeResponse { capacity_bytes }).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        // Nothing hangs on an answer that is not given: neither of these two has a fault point.
        let agent = self.agent.as_deref();
        let health = health::volume(&self.context, agent, request.into_inner()).await?;
        Ok(Response::new(NodeGetVolumeHealthResponse { volume_health: Some(health) }))
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        let backend_health = health::storage(&self.context, self.agent.as_deref()).await?;
        Ok(Response::new(NodeGetStorageHealthResponse { backend_health }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| NodeServiceCapability {
            r#type: Some(Type::Rpc(RpcCapability { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        self.reply(Rpc::Capabilities, NodeGetCapabilitiesResponse { capabilities }).await
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let segments = [(names::TOPOLOGY_NODE.to_owned(), self.node_name.clone())].into();
        let info = NodeGetInfoResponse {
            node_id: self.node_name.clone(),
            max_volumes_per_node: i64::try_from(self.volume_limit).unwrap_or(i64::MAX),
            accessible_topology: Some(Topology { segments }),
        };
        self.reply(Rpc::Info, info).await
    }
}
