//! Command line and environment. No default here depends on the machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use terrace_telemetry::LogFormat;

/// The Terrace operator: CSI Controller service and controllers of the terrace.storage kinds.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// Unix socket of the CSI services, with or without `unix://`.
    #[arg(long, env = "CSI_ENDPOINT", default_value = "unix:///csi/csi.sock", value_parser = parse_endpoint)]
    pub csi_endpoint: PathBuf,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,
    /// How log records are written.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Namespace of the Lease by which one leader is elected.
    #[arg(long, env = "POD_NAMESPACE", default_value = "terrace-system")]
    pub namespace: String,
    /// Name of the Lease.
    #[arg(long, default_value = "terrace-operator")]
    pub lease: String,
    /// Name of this replica in the Lease and in Events; must differ between replicas.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
}

fn parse_endpoint(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("must be the absolute path of a unix socket".into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, Parser};

    #[test]
    fn a_socket_is_named_with_or_without_its_scheme() {
        for text in ["unix:///csi/csi.sock", "/csi/csi.sock"] {
            let args = Args::try_parse_from(["x", "--identity=a", "--csi-endpoint", text]).unwrap();
            assert_eq!(args.csi_endpoint.to_str(), Some("/csi/csi.sock"));
        }
        for text in ["tcp://1.2.3.4:5", "csi.sock"] {
            assert!(Args::try_parse_from(["x", "--identity=a", "--csi-endpoint", text]).is_err());
        }
    }
}
