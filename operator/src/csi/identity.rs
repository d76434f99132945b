//! The CSI Identity service: name, version, capabilities, and whether calls would be answered.

use std::collections::HashMap;
use std::sync::Arc;

use csi_proto_rs::csi::v1::identity_server::Identity;
use csi_proto_rs::csi::v1::plugin_capability::{self, Service, VolumeExpansion};
use csi_proto_rs::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, PluginCapability, ProbeRequest, ProbeResponse,
};
use futures::FutureExt;
use terrace_crds::names::DRIVER;
use tonic::{Request, Response, Status};

use crate::cache::Caches;

/// Who we are.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Ready once these have arrived.
    pub caches: Arc<Caches>,
}

#[tonic::async_trait]
impl Identity for Identified {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let (name, vendor_version) = (DRIVER.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Response::new(GetPluginInfoResponse { name, vendor_version, manifest: HashMap::new() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        use plugin_capability::Type;
        use plugin_capability::service::Type::{
            ControllerService, GroupControllerService, VolumeAccessibilityConstraints,
        };
        use plugin_capability::volume_expansion::Type::Online;
        let offers = [
            Type::Service(Service { r#type: ControllerService.into() }),
            Type::Service(Service { r#type: GroupControllerService.into() }),
            Type::Service(Service { r#type: VolumeAccessibilityConstraints.into() }),
            Type::VolumeExpansion(VolumeExpansion { r#type: Online.into() }),
        ];
        let capabilities =
            offers.into_iter().map(|offer| PluginCapability { r#type: Some(offer) }).collect();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let ready = self.caches.synced().now_or_never().is_some();
        Ok(Response::new(ProbeResponse { ready: Some(ready) }))
    }
}
