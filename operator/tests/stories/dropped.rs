//! Stories of writes that were begun and never answered: what a caller gave up, and what a deposed leader left.

use csi_proto_rs::csi::v1::GetCapacityRequest;
use serde_json::{Value, json};
use tonic::Code;

use crate::api::{Api, Health};
use crate::cluster::{Caller, Cluster, GIB, Node, asks, grows};
use crate::is_placed;

/// Puts this name on the lease, as its holder would.
fn hold_lease(api: &Api, holder: &str) {
    let last = api.history("leases").pop().expect("somebody leads");
    let mut lease = last.object;
    lease["spec"]["holderIdentity"] = json!(holder);
    api.put("leases", lease);
}

fn holder(api: &Api) -> Option<Value> {
    let last = api.history("leases").pop();
    last.map(|change| change.object["spec"]["holderIdentity"].clone())
}

/// Asks until that much is free: a dropped call ends a moment after its caller let go.
async fn until_free(csi: &mut Caller, bytes: i64) {
    let looking = async {
        loop {
            let parameters = asks("", 0).parameters;
            let asked = GetCapacityRequest { parameters, ..GetCapacityRequest::default() };
            let free = csi.get_capacity(asked).await.expect("it answers").into_inner();
            if free.available_capacity == bytes {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), looking).await;
    waited.expect("the space is free again");
}

#[tokio::test]
async fn a_growth_that_its_caller_gave_up_holds_no_space() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    cluster.api.set_health(Health::HoldsChanges);
    let mut other = operator.caller().await;
    let growing =
        tokio::spawn(async move { other.controller_expand_volume(grows("pvc-1", 60 * GIB)).await });
    cluster.until("the write is under way", |api| api.held() > 0).await;
    until_free(&mut csi, 40 * GIB).await;
    growing.abort();
    cluster.until("nobody waits for it", |api| api.held() == 0).await;
    cluster.api.set_health(Health::Up);
    until_free(&mut csi, 99 * GIB).await;
    let there = cluster.api.get("storagevolumes", "pvc-1").unwrap();
    assert_eq!(there["spec"]["capacity"], "1Gi");
}

#[tokio::test]
async fn a_growth_that_the_node_has_no_room_for_holds_no_space_and_a_smaller_one_is_made() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    // The disk holds less than its pool says: somebody else wrote to it.
    cluster.node(Node::GrowsTo("4Gi"));
    for _ in 0..2 {
        let full = csi.controller_expand_volume(grows("pvc-1", 60 * GIB)).await.unwrap_err();
        assert_eq!(full.code(), Code::ResourceExhausted);
        assert_eq!(full.message(), "volume pvc-1 cannot grow: so says the node");
        until_free(&mut csi, 99 * GIB).await;
    }
    let grown = csi.controller_expand_volume(grows("pvc-1", 3 * GIB)).await.unwrap().into_inner();
    assert_eq!(grown.capacity_bytes, 3 * GIB, "what is asked now, not what was asked once");
    until_free(&mut csi, 97 * GIB).await;
    cluster.node(Node::Obeys);
    let grown = csi.controller_expand_volume(grows("pvc-1", 80 * GIB)).await.unwrap().into_inner();
    assert_eq!(grown.capacity_bytes, 80 * GIB);
    until_free(&mut csi, 20 * GIB).await;
    let there = cluster.api.get("storagevolumes", "pvc-1").unwrap();
    assert_eq!(
        (&there["spec"]["capacity"], &there["status"]["capacity"]),
        (&json!("80Gi"), &json!("80Gi"))
    );
}

#[tokio::test]
async fn i3_a_leader_deposed_in_the_middle_of_a_write_makes_none_and_places_when_it_leads_again() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    cluster.until("one leads", |api| holder(api) == Some(json!("one"))).await;
    cluster.api.set_health(Health::HoldsChanges);
    let asking = tokio::spawn(async move { csi.create_volume(asks("pvc-1", GIB)).await });
    cluster.until("the assignment is under way", |api| api.held() > 0).await;
    hold_lease(&cluster.api, "rival");
    cluster.until("its write is given up", |api| api.held() == 0).await;
    cluster.api.set_health(Health::Up);
    assert!(!is_placed(&cluster.api.get("storagevolumes", "pvc-1")), "another leads");
    hold_lease(&cluster.api, "");
    let made = asking.await.unwrap().expect("placed by whoever leads").into_inner();
    assert_eq!(made.volume.unwrap().volume_id, "pvc-1");
}

#[tokio::test]
async fn i10_a_write_that_is_never_answered_is_given_up_and_made_again() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    cluster.api.set_health(Health::HoldsChanges);
    let asking = tokio::spawn(async move { csi.create_volume(asks("pvc-1", GIB)).await });
    // One that is given up may be made again in the same instant: only counting shows both.
    cluster.until("given up and made again", |api| api.held_ever() > 1).await;
    assert!(cluster.api.held() <= 1, "the first one is still waited for");
    cluster.api.set_health(Health::Up);
    asking.await.unwrap().expect("placed at the next look");
}
