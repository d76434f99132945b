//! How volumes ail, as ControllerGetVolumeHealth and ControllerListVolumeHealth tell it.

use std::time::Duration;

use csi_proto_rs::csi::v1::{
    ControllerGetVolumeHealthRequest, ControllerListVolumeHealthRequest, VolumeHealthErrorType,
};
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;

use crate::cluster::{Cluster, GIB, Node, asks};

/// Longest wait for the watch.
const LONGEST: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_health_of_a_volume_is_what_its_conditions_say() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    for name in ["pvc-1", "pvc-2"] {
        csi.create_volume(asks(name, GIB)).await.unwrap();
    }
    let ask = |name: &str| ControllerGetVolumeHealthRequest {
        volume_id: name.to_owned(),
        ..ControllerGetVolumeHealthRequest::default()
    };
    let well = csi.controller_get_volume_health(ask("pvc-1")).await.unwrap().into_inner();
    assert_eq!(well.volume_health.unwrap().health_statuses, []);
    cluster.api.edit("storagevolumes", "pvc-1", |volume| {
        let slow = json!({
            "type": "LatencyHigh", "status": "True", "reason": "AboveTarget",
            "message": "p99 of reads is 31 ms", "lastTransitionTime": "2026-11-22T10:00:00Z",
        });
        volume["status"]["conditions"].as_array_mut().unwrap().push(slow);
    });
    let ill = csi.controller_get_volume_health(ask("pvc-1")).await.unwrap().into_inner();
    let ill = ill.volume_health.unwrap();
    let [slow] = &ill.health_statuses[..] else { unreachable!("one ailment: {ill:?}") };
    assert_eq!(slow.status(), VolumeHealthErrorType::Degraded);
    assert_eq!((&*slow.reason, &*slow.message), ("AboveTarget", "p99 of reads is 31 ms"));
    let page = |token: &str| ControllerListVolumeHealthRequest {
        max_entries: 1,
        starting_token: token.into(),
        ..ControllerListVolumeHealthRequest::default()
    };
    // The list is as last told by the watch.
    let told = async {
        loop {
            let first = csi.controller_list_volume_health(page("")).await.unwrap().into_inner();
            if first.entries.first() == Some(&ill) {
                break first;
            }
            tokio::task::yield_now().await;
        }
    };
    let first = timeout(LONGEST, told).await.expect("told");
    let rest = csi.controller_list_volume_health(page(&first.next_token)).await.unwrap();
    let rest = rest.into_inner();
    assert_eq!((rest.entries[0].volume_id.as_str(), rest.next_token.as_str()), ("pvc-2", ""));
    assert_eq!(rest.entries[0].health_statuses, []);
    let none = csi.controller_get_volume_health(ask("pvc-9")).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert_eq!(
        csi.controller_get_volume_health(ask("")).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}
