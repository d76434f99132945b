//! A CSI driver of somebody else, as small as the kubelet takes one: a volume is a folder, bind-mounted for each Pod. It is there
//! so that stories can see what Terrace does about the volumes of other drivers, and knows nothing of Terrace.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use csi_proto_rs::csi::v1::identity_server::{Identity, IdentityServer};
use csi_proto_rs::csi::v1::node_server::{Node, NodeServer};
use csi_proto_rs::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, NodeExpandVolumeRequest, NodeExpandVolumeResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest,
    NodeGetInfoResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse,
    NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, ProbeRequest,
    ProbeResponse,
};
use csi_proto_rs::registration::registration_server::{Registration, RegistrationServer};
use csi_proto_rs::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use futures::stream::{Stream, unfold};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Serves until it is killed.
#[derive(Clone, Debug, Parser)]
struct Foreign {
    /// Name of the driver.
    #[arg(long, default_value = "foreign.example")]
    name: String,
    /// The node.
    #[arg(long, default_value = "node-a")]
    node: String,
    /// The kubelet's folder.
    #[arg(long, default_value = "/var/lib/kubelet")]
    kubelet: PathBuf,
    /// Where the folders of its volumes lie.
    #[arg(long)]
    data: PathBuf,
}

impl Foreign {
    fn socket(&self) -> PathBuf {
        self.kubelet.join("plugins").join(&self.name).join("csi.sock")
    }

    /// The kubelet sends this path, percent-encoded, as the HTTP/2 authority. A `%` may stand there only before an `@`; without
    /// one each call is reset, and the kubelet never learns of the driver.
    fn registry(&self) -> PathBuf {
        self.kubelet.join("plugins_registry").join(format!("foreign@{}.sock", self.name))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let foreign = Foreign::parse();
    let calls = listen(&foreign.socket())?;
    let registrations = listen(&foreign.registry())?;
    let csi = Server::builder()
        .add_service(IdentityServer::new(foreign.clone()))
        .add_service(NodeServer::new(foreign.clone()))
        .serve_with_incoming(calls);
    let registration = Server::builder()
        .add_service(RegistrationServer::new(foreign))
        .serve_with_incoming(registrations);
    tokio::try_join!(csi, registration)?;
    Ok(())
}

fn listen(path: &Path) -> Result<impl Stream<Item = io::Result<UnixStream>> + use<>> {
    fs::create_dir_all(path.parent().context("a socket needs a folder")?)?;
    if path.exists() {
        fs::remove_file(path)?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    Ok(unfold(listener, |listener| async {
        let came = listener.accept().await.map(|(stream, _)| stream);
        Some((came, listener))
    }))
}

fn failed(error: &dyn std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl Registration for Foreign {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: self.socket().to_string_lossy().into_owned(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        _: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[tonic::async_trait]
impl Identity for Foreign {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let (name, vendor_version) = (self.name.clone(), "1".to_owned());
        let manifest = HashMap::new();
        Ok(Response::new(GetPluginInfoResponse { name, vendor_version, manifest }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse::default()))
    }
}

#[tonic::async_trait]
impl Node for Foreign {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let NodePublishVolumeRequest { volume_id, target_path, .. } = request.into_inner();
        let folder = self.data.join(volume_id);
        fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        // The kubelet asks again after a restart; twice mounted would be once too many to unmount.
        if !Path::new(&target_path).exists() {
            fs::create_dir_all(&target_path).map_err(|error| failed(&error))?;
            mount_bind(&folder, &target_path).map_err(|error| failed(&error))?;
        }
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let NodeUnpublishVolumeRequest { volume_id: _, target_path } = request.into_inner();
        if Path::new(&target_path).exists() {
            unmount(&target_path, UnmountFlags::empty()).map_err(|error| failed(&error))?;
            // Of a folder that is no mount any more.
            fs::remove_dir(&target_path).map_err(|error| failed(&error))?;
        }
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse::default()))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let node_id = self.node.clone();
        Ok(Response::new(NodeGetInfoResponse { node_id, ..NodeGetInfoResponse::default() }))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn node_get_volume_health(
        &self,
        _: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }
}
