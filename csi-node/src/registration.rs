//! The kubelet's plugin registration, served by the plugin itself so that no registrar sidecar is
//! needed: the kubelet finds our socket in `plugins_registry`, asks who we are and tells the outcome.

use std::path::PathBuf;

use csi_proto_rs::registration::registration_server::Registration;
use csi_proto_rs::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use terrace_crds::names;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What kind of plugin the kubelet is to take us for.
const TYPE: &str = "CSIPlugin";
/// The kubelet looks at the major version only: any CSI 1.x.
const VERSIONS: [&str; 1] = ["1.0.0"];

/// What the kubelet last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not asked yet.
    Unasked,
    /// It takes us.
    Registered,
    /// It refused us, and why. It tries again by itself.
    Refused(String),
}

/// Answers the kubelet.
#[derive(Debug)]
pub struct Registrar {
    csi_socket: PathBuf,
    standing: watch::Sender<Standing>,
}

impl Registrar {
    /// For the plugin that serves CSI on `csi_socket`.
    #[must_use]
    pub fn new(csi_socket: PathBuf) -> (Self, watch::Receiver<Standing>) {
        let (standing, seen) = watch::channel(Standing::Unasked);
        (Self { csi_socket, standing }, seen)
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: TYPE.to_owned(),
            name: names::DRIVER.to_owned(),
            endpoint: self.csi_socket.to_string_lossy().into_owned(),
            supported_versions: VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            tracing::info!("registered with the kubelet");
            self.standing.send_replace(Standing::Registered);
        } else {
            tracing::error!(error, "the kubelet refused the plugin");
            self.standing.send_replace(Standing::Refused(error));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
