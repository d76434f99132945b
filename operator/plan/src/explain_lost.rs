//! A PersistentVolume whose StorageVolume is gone, in prose: what the operator would do, or why it waits. Pure: the plan
//! is made by the same function that the operator calls.

use crate::explain::told;
use crate::heal::{Lost, plan_heal};
use crate::world::World;

/// The text that `kubectl terrace explain` prints for its claim.
#[must_use]
pub fn explain_lost(world: &World, lost: &Lost) -> String {
    let persistent = &lost.persistent;
    let claim = persistent.claim.as_ref().map_or_else(
        || "no claim".to_owned(),
        |claim| format!("claim {}/{}", claim.namespace, claim.name),
    );
    format!(
        "{}, for {claim}\n\nIts StorageVolume is gone; PersistentVolume {} is {:?}.\n{}",
        persistent.handle,
        persistent.name,
        persistent.phase,
        told(&plan_heal(world, lost))
    )
}

#[cfg(test)]
mod tests {
    use super::{World, explain_lost};
    use serde_json::{from_value, json};

    #[test]
    fn what_keeps_a_lost_volume_from_coming_back_is_told() {
        let persistent = json!({
            "name": "pvc-1", "handle": "pvc-1", "claim": {"namespace": "shop", "name": "data"},
        });
        let lost = json!({"persistent": persistent, "uuid": "u", "origin": "CSI"});
        let text = explain_lost(&World::default(), &from_value(lost).unwrap());
        let want = "pvc-1, for claim shop/data\n\nIts StorageVolume is gone; PersistentVolume pvc-1 is Bound.\n\nThe operator's plan, as of now\n  nothing to do\n  because: no node lists bytes u of PersistentVolume pvc-1: bring back the node or disk that has them; nothing is made in their place\n";
        assert_eq!(text, want);
    }
}
