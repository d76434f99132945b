//! Sockets: CSI on one, the kubelet's registration on the other. A socket left by an earlier process is
//! replaced; the folder is made if it is missing.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use csi_proto_rs::csi::v1::identity_server::IdentityServer;
use csi_proto_rs::csi::v1::node_server::NodeServer;
use csi_proto_rs::registration::registration_server::RegistrationServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::identity::IdentityService;
use super::node::NodeService;
use crate::registration::Registrar;

/// Why a socket is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be made.
    #[error("listen on {path}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server ended with an error.
    #[error("serve {path}", path = path.display())]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What the transport said.
        source: tonic::transport::Error,
    },
}

/// Listens on a socket that only root can open.
///
/// # Errors
/// [`Error::Listen`].
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    let error = |source| Error::Listen { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(error)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(error(source)),
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    Ok(listener)
}

/// Serves Identity and Node until `end`, then finishes the calls that are in flight.
///
/// # Errors
/// [`Error`].
pub async fn serve_csi(
    path: &Path,
    identity: IdentityService,
    node: NodeService,
    end: impl Future<Output = ()>,
) -> Result<(), Error> {
    let incoming = UnixListenerStream::new(listen(path)?);
    let server = Server::builder()
        .add_service(IdentityServer::new(identity))
        .add_service(NodeServer::new(node))
        .serve_with_incoming_shutdown(incoming, end);
    let served = server.await;
    served.map_err(|source| Error::Serve { path: path.to_owned(), source })
}

/// Serves the registration until `end`, then removes its socket: that tells the kubelet we are gone.
///
/// # Errors
/// [`Error`].
pub async fn serve_registration(
    path: &Path,
    registrar: Registrar,
    end: impl Future<Output = ()>,
) -> Result<(), Error> {
    let incoming = UnixListenerStream::new(listen(path)?);
    let server = Server::builder()
        .add_service(RegistrationServer::new(registrar))
        .serve_with_incoming_shutdown(incoming, end);
    let served = server.await;
    // Best effort: a socket without a listener is replaced by the next start anyway.
    let _ = std::fs::remove_file(path);
    served.map_err(|source| Error::Serve { path: path.to_owned(), source })
}
