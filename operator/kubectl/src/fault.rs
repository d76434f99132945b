//! What can go wrong, each with what to do about it. It prints nothing.

use kube::config::KubeconfigError;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No usable kubeconfig.
    #[error(
        "no cluster: {0}\n  Name a kubeconfig with --kubeconfig or $KUBECONFIG, and a context of it with --context."
    )]
    Kubeconfig(Box<KubeconfigError>),
    /// The kubeconfig cannot be made into a client.
    #[error("no cluster: {0}\n  Check certificates and user of the context: kubectl config view")]
    Client(Box<kube::Error>),
    /// Nobody answers at the address.
    #[error(
        "no cluster: the API server does not answer: {source}\n  Check with: kubectl cluster-info"
    )]
    Unreachable {
        /// As the client reports it.
        source: Box<kube::Error>,
    },
    /// The kinds are not there.
    #[error(
        "CRDs not installed: this cluster does not know {kind}\n  Install Terrace first: helm install terrace charts/terrace -n terrace-system --create-namespace"
    )]
    NoKinds {
        /// The kind that was asked for.
        kind: String,
    },
    /// RBAC says no.
    #[error(
        "not allowed: {message}\n  Ask your admin for the ClusterRole terrace-reader: kubectl create clusterrolebinding NAME --clusterrole=terrace-reader --user=YOU"
    )]
    Forbidden {
        /// As the API server says it.
        message: String,
    },
    /// The login is not accepted.
    #[error(
        "not logged in: {message}\n  Renew the login of the context; which one it is: kubectl config current-context"
    )]
    Unauthorized {
        /// As the API server says it.
        message: String,
    },
    /// Any other answer.
    #[error("the API server refused: {message}")]
    Refused {
        /// As the API server says it.
        message: String,
    },
    /// Nothing of that name.
    #[error("{0}")]
    Missing(Missing),
    /// An object could not be written as JSON.
    #[error("write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Neither a volume nor a claim.
    #[error(
        "no StorageVolume and no claim is named {name:?} (claims were looked for in namespace {namespace:?})\n  See: kubectl terrace volumes; a claim elsewhere is named NAMESPACE/NAME."
    )]
    Volume {
        /// As given.
        name: String,
        /// Where claims were looked for.
        namespace: String,
    },
    /// The claim is not there.
    #[error(
        "there is no claim {name:?} in namespace {namespace:?}\n  See: kubectl get pvc -n {namespace}"
    )]
    Claim {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Terrace knows no such node.
    #[error(
        "there is no StorageNode {name:?}\n  See: kubectl terrace nodes; a node gets one when terrace-node runs there: kubectl get pods -A -l app.kubernetes.io/component=node -o wide"
    )]
    Node {
        /// As given.
        name: String,
    },
}

impl Fault {
    /// What `--help` promises.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Missing(_) => 3,
            Self::Kubeconfig(_)
            | Self::Client(_)
            | Self::Unreachable { .. }
            | Self::NoKinds { .. }
            | Self::Forbidden { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Json(_) => 1,
        }
    }

    /// From a failed list or get of `kind`.
    #[must_use]
    pub fn of_call(kind: &str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unreachable { source: Box::new(error) };
        };
        let message = status.message.clone();
        match status.code {
            401 => Self::Unauthorized { message },
            403 => Self::Forbidden { message },
            404 => Self::NoKinds { kind: kind.to_owned() },
            _ => Self::Refused { message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Missing};
    use kube::core::Status;

    fn answer(code: u16) -> Fault {
        let status = Status::failure("no", "").with_code(code);
        Fault::of_call("StorageVolume", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn every_answer_of_the_api_server_has_its_remedy() {
        assert!(answer(404).to_string().contains("CRDs not installed"));
        assert!(answer(403).to_string().contains("--clusterrole=terrace-reader"));
        assert!(answer(401).to_string().contains("not logged in"));
        assert_eq!(answer(500).to_string(), "the API server refused: no");
    }

    #[test]
    fn what_is_not_there_has_an_exit_code_of_its_own() {
        let missing = Missing::Node { name: "n".into() };
        assert_eq!(Fault::Missing(missing).exit_code(), 3);
        assert_eq!(answer(404).exit_code(), 1);
    }
}
