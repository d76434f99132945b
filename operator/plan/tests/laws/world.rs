//! Worlds to hold laws against: nodes with pools, volumes and snapshots in every stage, drawn at random.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::sample::select;
use serde_json::{Value, from_value, json};
use terrace_crds::{StorageNode, StoragePool, StorageSnapshot, StorageVolume};
use terrace_plan::world::{ClaimFound, Host, HostState, Looked, World};

pub(crate) const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
pub(crate) const POOLS: [(&str, &str); 3] = [("fast", "ssd"), ("quick", "ssd"), ("slow", "hdd")];

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time within range")
}

pub(crate) fn uuid(kind: u8, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

/// Size and state of a pool on a node; `None` where the node does not list it.
pub(crate) type OnNode = Option<(u64, &'static str)>;

/// What a snapshot is of, by the volume's number, and whether it is on its way out.
pub(crate) type Copied = (usize, bool);

/// What a volume is asked to be, how far it has come, and the node that lists it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    gib: u64,
    target: Value,
    life: &'static str,
    listed: Option<usize>,
}

pub(crate) fn a_node() -> impl Strategy<Value = Vec<OnNode>> {
    let state = select(vec!["Ready", "Ready", "Ready", "Refused", "Missing"]);
    vec(proptest::option::of((1..60_u64, state)), POOLS.len())
}

pub(crate) fn a_volume() -> impl Strategy<Value = Asked> {
    let target =
        select(vec![json!({"tier": "ssd"}), json!({"tier": "hdd"}), json!({"pool": "fast"})]);
    let life = select(vec!["new", "new", "new", "refused", "leaving", "direct", "adopting"]);
    let listed = proptest::option::weighted(0.2, 0..NODES.len());
    (1..30_u64, target, life, listed).prop_map(|(gib, target, life, listed)| Asked {
        gib,
        target,
        life,
        listed,
    })
}

pub(crate) fn a_world() -> impl Strategy<Value = World> {
    let states = vec(select(vec![HostState::Ready, HostState::Ready, HostState::Cordoned]), 3);
    let copies = vec((0..12_usize, proptest::bool::weighted(0.2)), 0..6);
    (vec(a_node(), NODES.len()), vec(a_volume(), 0..12), copies, states)
        .prop_map(|(nodes, volumes, copies, states)| world(&nodes, &volumes, &copies, &states))
}

pub(crate) fn world(
    nodes: &[Vec<OnNode>],
    volumes: &[Asked],
    copies: &[Copied],
    states: &[HostState],
) -> World {
    let hosts = NODES.iter().zip(states);
    World {
        pools: POOLS.iter().map(|(name, tier)| Arc::new(pool(name, tier))).collect(),
        nodes: (0..NODES.len()).map(|at| Arc::new(node(at, &nodes[at], volumes))).collect(),
        volumes: volumes
            .iter()
            .enumerate()
            .map(|(at, asked)| Arc::new(volume(at, asked)))
            .collect(),
        snapshots: copies
            .iter()
            .enumerate()
            .map(|(at, copied)| Arc::new(snapshot(at, *copied, volumes)))
            .collect(),
        hosts: hosts.map(|(name, state)| Host { name: (*name).into(), state: *state }).collect(),
        looked: (0..volumes.len()).map(|at| (format!("pvc-{at}"), looked(at))).collect(),
        ..World::default()
    }
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    from_value(value).expect("an object of this kind")
}

/// No claim is there yet; of volumes that the CSI controller made nobody asks.
pub(crate) fn looked(number: usize) -> Looked {
    Looked { uuid: Some(uuid(2, number)), claim: ClaimFound::Absent, stranger: None }
}

pub(crate) fn pool(name: &str, tier: &str) -> StoragePool {
    read(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StoragePool",
        "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": {"tier": tier, "file": {"directory": format!("/pools/{name}")}},
    }))
}

pub(crate) fn pool_uuid(node: usize, pool: usize) -> String {
    uuid(1, node * POOLS.len() + pool)
}

pub(crate) fn node(at: usize, pools: &[OnNode], volumes: &[Asked]) -> StorageNode {
    let listed = |(pool, on): (usize, &OnNode)| {
        let (gib, state) = (*on)?;
        let (name, tier) = POOLS[pool];
        let (size, uuid) = (format!("{gib}Gi"), pool_uuid(at, pool));
        Some(
            json!({"name": name, "tier": tier, "backend": "file", "state": state, "uuid": uuid, "capacity": size}),
        )
    };
    let here = |(number, asked): (usize, &Asked)| {
        (asked.listed == Some(at)).then(|| {
            json!({
                "uuid": uuid(2, number), "name": format!("pvc-{number}"), "poolUUID": pool_uuid(at, 0),
                "size": format!("{}Gi", asked.gib), "state": "Ready",
            })
        })
    };
    let pools: Vec<Value> = pools.iter().enumerate().filter_map(listed).collect();
    let volumes: Vec<Value> = volumes.iter().enumerate().filter_map(here).collect();
    read(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode",
        "metadata": {"name": NODES[at]}, "status": {"pools": pools, "volumes": volumes},
    }))
}

pub(crate) fn snapshot(number: usize, (of, leaving): Copied, volumes: &[Asked]) -> StorageSnapshot {
    let gib = volumes.get(of).map_or(1, |asked| asked.gib);
    let name = format!("snapshot-{number}");
    let mut object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageSnapshot",
        "metadata": {"name": name, "uid": name, "generation": 1, "finalizers": ["terrace.storage/node"]},
        "spec": {
            "snapshotUUID": uuid(3, number), "sourceVolume": format!("pvc-{of}"),
            "sourceVolumeUUID": uuid(2, of), "capacity": format!("{gib}Gi"),
            "volumeMode": "Filesystem", "fsType": "xfs",
        },
    });
    if leaving {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-22T11:00:00Z");
    }
    read(object)
}

pub(crate) fn volume(number: usize, asked: &Asked) -> StorageVolume {
    let name = format!("pvc-{number}");
    let mut object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {"name": name, "uid": name, "generation": 1, "finalizers": ["terrace.storage/node"]},
        "spec": {
            "volumeUUID": uuid(2, number), "origin": "CSI", "capacity": format!("{}Gi", asked.gib),
            "volumeMode": "Filesystem", "fsType": "xfs",
            "claimRef": {"namespace": "shop", "name": format!("data-{number}")},
        },
    });
    for (key, value) in asked.target.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    match asked.life {
        "leaving" => object["metadata"]["deletionTimestamp"] = json!("2026-11-22T11:00:00Z"),
        "direct" => {
            object["spec"]["origin"] = json!("Direct");
            object["spec"].as_object_mut().expect("a spec").remove("volumeUUID");
        }
        "adopting" => {
            object["spec"]["origin"] = json!("Direct");
            object["spec"]["adopt"] = json!(uuid(2, number));
        }
        "refused" => {
            object["status"] = json!({"conditions": [{
                "type": "Ready", "status": "False", "reason": "NoCapacity", "message": "old news",
                "lastTransitionTime": "2026-11-22T11:00:00Z",
            }]});
        }
        _ => {}
    }
    read(object)
}
