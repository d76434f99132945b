//! What can go wrong, each with what to do about it. It prints nothing.

use kube::config::KubeconfigError;

use crate::forward::ForwardError;
use crate::orphans::Refused;

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
    /// An orphan about which nothing is done.
    #[error("{0}")]
    Orphan(#[from] Refused),
    /// No agent runs on the node.
    #[error(
        "no Pod of terrace-node runs on node {node}, and only it can tell of what lies there, or delete it\n  See: kubectl get pods -A -l app.kubernetes.io/component=node -o wide"
    )]
    NoPod {
        /// The node.
        node: String,
    },
    /// The node's agent cannot be reached.
    #[error(
        "node {node} cannot be reached: {}\n  It takes pods/portforward, as in the ClusterRoles terrace-latency and terrace-orphans; see the Pod of terrace-node there.", chain(.source)
    )]
    Forward {
        /// The node.
        node: String,
        /// Why not.
        source: Box<ForwardError>,
    },
    /// The node's agent has no such page, or not now.
    #[error("node {node} tells nothing: {message}")]
    NotTold {
        /// The node.
        node: String,
        /// Its sentence.
        message: String,
    },
    /// The node's agent is of another release.
    #[error(
        "node {node} answers what this plugin cannot read: {source}\n  Use the plugin of the release that runs there."
    )]
    Unreadable {
        /// The node.
        node: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// Nobody can be asked.
    #[error(
        "no Pod of terrace-node runs\n  See: kubectl get pods -A -l app.kubernetes.io/component=node -o wide"
    )]
    NoAgent,
    /// Standard output cannot be written to.
    #[error("write the output: {0}")]
    Output(std::io::Error),
    /// The node's agent said no, or not now.
    #[error("node {node} did not delete it: {message}")]
    NotDeleted {
        /// The node.
        node: String,
        /// Its sentence.
        message: String,
    },
    /// An object of that name is there.
    #[error("{kind} {name} is there already: see kubectl terrace explain {name}")]
    Exists {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object could not be written as YAML.
    #[error("write YAML: {0}")]
    Yaml(#[from] terrace_crds::yaml::Error),
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
    /// No Pod uses it, so nothing is measured.
    #[error(
        "no running Pod uses a volume or claim named {name:?}: latency is measured where a volume is used (claims were looked for in namespace {namespace:?})\n  See: kubectl terrace top --once; a claim elsewhere is named NAMESPACE/NAME."
    )]
    Measured {
        /// As given.
        name: String,
        /// Where claims were looked for.
        namespace: String,
    },
    /// No node lists such an orphan.
    #[error(
        "no node lists an orphan with UUID {uuid}\n  See: kubectl terrace orphan list; what an object claims is no orphan: kubectl terrace volumes."
    )]
    Orphan {
        /// As given.
        uuid: String,
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
            Self::Orphan(_) | Self::NotDeleted { .. } | Self::Exists { .. } => 4,
            Self::Kubeconfig(_)
            | Self::Client(_)
            | Self::Unreachable { .. }
            | Self::NoKinds { .. }
            | Self::Forbidden { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::NoPod { .. }
            | Self::Forward { .. }
            | Self::NotTold { .. }
            | Self::Unreadable { .. }
            | Self::NoAgent
            | Self::Output(_)
            | Self::Yaml(_)
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

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some of the client's errors repeat their source in their own text.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
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
