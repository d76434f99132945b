//! From Kubernetes' own objects to the little of them that decisions look at. Pure.

use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use terrace_crds::names::DRIVER;
use terrace_crds::volume::ClaimRef;

use crate::world::{Host, HostState, Persistent};

/// A Kubernetes Node: reads its name, `spec.unschedulable` and the condition Ready.
#[must_use]
pub fn observe_host(node: &Node) -> Host {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let state = match (ready, cordoned) {
        (false, _) => HostState::NotReady,
        (true, true) => HostState::Cordoned,
        (true, false) => HostState::Ready,
    };
    Host { name: node.metadata.name.clone().unwrap_or_default(), state }
}

/// A PersistentVolume of our driver; `None` for any other.
#[must_use]
pub fn observe_persistent(pv: &PersistentVolume) -> Option<Persistent> {
    let spec = pv.spec.as_ref()?;
    let csi = spec.csi.as_ref().filter(|csi| csi.driver == DRIVER)?;
    let claim = spec.claim_ref.as_ref().and_then(|claim| {
        Some(ClaimRef { namespace: claim.namespace.clone()?, name: claim.name.clone()? })
    });
    Some(Persistent { name: pv.metadata.name.clone()?, handle: csi.volume_handle.clone(), claim })
}

#[cfg(test)]
mod tests {
    use super::{HostState, observe_host, observe_persistent};
    use serde_json::{from_value, json};

    #[test]
    fn a_node_is_ready_unless_it_says_otherwise_or_was_cordoned() {
        let state = |status: &str, cordoned: bool| {
            let node = json!({
                "metadata": {"name": "n"}, "spec": {"unschedulable": cordoned},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            });
            observe_host(&from_value(node).unwrap()).state
        };
        assert_eq!(state("True", false), HostState::Ready);
        assert_eq!(state("True", true), HostState::Cordoned);
        assert_eq!(state("Unknown", false), HostState::NotReady);
    }

    #[test]
    fn the_volumes_of_other_drivers_are_not_ours() {
        let of = |driver: &str| {
            let pv = json!({
                "metadata": {"name": "pv"},
                "spec": {"csi": {"driver": driver, "volumeHandle": "h"}, "claimRef": {"namespace": "a", "name": "b"}},
            });
            observe_persistent(&from_value(pv).unwrap())
        };
        assert_eq!(of("csi.terrace.storage").map(|pv| pv.handle), Some("h".into()));
        assert_eq!(of("other"), None);
    }
}
