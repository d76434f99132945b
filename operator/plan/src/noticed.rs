//! Whether the bytes of a volume that has its place are still seen there. Pure. Not seeing them is never a reason
//! to make them anew.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::condition::{ConditionType, Reason, Truth, find};
use terrace_crds::node::HostVolume;
use terrace_crds::{StorageNode, StorageVolume};

use crate::gone::LET_GO_AFTER;
use crate::volume::several;
use crate::world::{World, csi_name_of, name_of};

/// A node lists a new host object at the latest this long after it reported the volume Ready.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// What is to be said about the bytes.
pub(crate) enum Noticed {
    /// Nothing.
    Nothing,
    /// Nothing yet; a node that has just made it tells within this time.
    Later(Duration),
    /// This, of the condition Missing.
    Says(Truth, Reason, String),
}

/// What is seen, `waited` after the volume became what it is.
pub(crate) fn notice(
    world: &World,
    volume: &StorageVolume,
    node: &str,
    found: &[(&StorageNode, &HostVolume)],
    waited: Duration,
) -> Noticed {
    if world.host(node).is_none() {
        let message = format!(
            "Kubernetes has no node {node}, whose disks hold the bytes: bring it back under its name. If it never comes back, delete the claim: the volume is let go {} minutes later",
            LET_GO_AFTER.as_secs() / 60
        );
        return Noticed::Says(Truth::Unknown, Reason::NodeGone, message);
    }
    let Some(teller) = world.node(node) else {
        let message = format!(
            "there is no StorageNode {node}: its agent has not reported since the node left"
        );
        return Noticed::Says(Truth::Unknown, Reason::NodeGone, message);
    };
    if found.iter().any(|(on, _)| name_of(&on.metadata) == node) {
        if found.len() > 1 {
            // As after a restore of etcd: this one may have been made, empty, before the other was seen again.
            return Noticed::Says(Truth::Unknown, Reason::Inconsistent, several(volume, found));
        }
        let message = format!("node {node} lists its host object");
        return Noticed::Says(Truth::False, Reason::Found, message);
    }
    let Some(told) = &teller.status else {
        // Its agent has just made the object, and tells of the volumes next.
        return Noticed::Nothing;
    };
    if let Some(fault) = fault(&told.conditions) {
        let message = format!("node {node} cannot tell what it holds: {fault}");
        return Noticed::Says(Truth::Unknown, Reason::Failed, message);
    }
    match (was_made(volume), LISTED_WITHIN.checked_sub(waited)) {
        (false, _) => Noticed::Nothing,
        (true, Some(left)) if !left.is_zero() => Noticed::Later(left),
        (true, _) => {
            let pv = csi_name_of(volume);
            let message = format!(
                "node {node} does not list the bytes of {pv}: see its pool's state; nothing is made anew"
            );
            Noticed::Says(Truth::True, Reason::NotFound, message)
        }
    }
}

/// Whether the node ever reported a host object, and has not been asked to remove it.
fn was_made(volume: &StorageVolume) -> bool {
    let made = volume.status.as_ref().is_some_and(|status| status.capacity.is_some());
    made && volume.metadata.deletion_timestamp.is_none()
}

/// The message of a Ready condition that is False.
pub(crate) fn fault(conditions: &[Condition]) -> Option<String> {
    let ready = find(conditions, ConditionType::Ready)?;
    (ready.status == Truth::False.as_str()).then(|| ready.message.clone())
}
