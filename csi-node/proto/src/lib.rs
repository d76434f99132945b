//! Messages, clients and servers of CSI 1.13 and of the kubelet's plugin registration, generated
//! from the files in `proto/`. Knows nothing of Terrace. Requests may carry secrets: never log one.

/// The Container Storage Interface.
pub mod csi {
    /// Version 1 of the interface, as of specification 1.13.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated; the .proto files are the documentation"
    )]
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// How a plugin registers with the kubelet (`pluginregistration` v1).
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files are the documentation"
)]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
