//! CSI Identity: who the plugin is, what it can do, and whether it is up.

use csi_proto_rs::csi::v1::identity_server::Identity;
use csi_proto_rs::csi::v1::plugin_capability::{
    Service, Type, VolumeExpansion, service, volume_expansion,
};
use csi_proto_rs::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, PluginCapability, ProbeRequest, ProbeResponse,
};
use terrace_crds::names;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What the whole driver can do, its controller included; the same on every socket.
const SERVICES: [service::Type; 2] =
    [service::Type::ControllerService, service::Type::VolumeAccessibilityConstraints];

/// Answers who we are.
#[derive(Clone, Debug)]
pub struct IdentityService {
    ready: watch::Receiver<bool>,
}

impl IdentityService {
    /// Reports ready once `ready` is true.
    #[must_use]
    pub fn new(ready: watch::Receiver<bool>) -> Self {
        Self { ready }
    }
}

fn capabilities() -> Vec<PluginCapability> {
    let service = |kind: service::Type| Type::Service(Service { r#type: kind.into() });
    let online = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
    let kinds = SERVICES.into_iter().map(service).chain([Type::VolumeExpansion(online)]);
    kinds.map(|kind| PluginCapability { r#type: Some(kind) }).collect()
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: names::DRIVER.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: Default::default(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities: capabilities() }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(*self.ready.borrow()) }))
    }
}
