//! Laws that hold in every world: same world, same plan; a plan carried out leaves nothing to do; no pool is
//! promised beyond its limit; nothing is deleted without its stamp; what a node lists is never made anew.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use serde_json::{Value, from_value, json};
use terrace_crds::{StorageNode, StoragePool, StorageSnapshot, StorageVolume};
use terrace_plan::delete::plan_delete;
use terrace_plan::effect::Effect;
use terrace_plan::plan::Plan;
use terrace_plan::pool::plan_pool;
use terrace_plan::snapshot::plan_snapshot;
use terrace_plan::space::observe_spaces;
use terrace_plan::volume::plan_volume;
use terrace_plan::world::{ClaimFound, Host, HostState, Looked, World};
use uuid::Uuid;

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
const POOLS: [(&str, &str); 3] = [("fast", "ssd"), ("quick", "ssd"), ("slow", "hdd")];

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time within range")
}

fn uuid(kind: u8, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

/// Size and state of a pool on a node; `None` where the node does not list it.
type OnNode = Option<(u64, &'static str)>;

/// What a snapshot is of, by the volume's number, and whether it is on its way out.
type Copied = (usize, bool);

/// What a volume is asked to be, how far it has come, and the node that lists it.
#[derive(Clone, Debug)]
struct Asked {
    gib: u64,
    target: Value,
    life: &'static str,
    listed: Option<usize>,
}

fn a_node() -> impl Strategy<Value = Vec<OnNode>> {
    let state = select(vec!["Ready", "Ready", "Ready", "Refused", "Missing"]);
    vec(proptest::option::of((1..60_u64, state)), POOLS.len())
}

fn a_volume() -> impl Strategy<Value = Asked> {
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

fn a_world() -> impl Strategy<Value = World> {
    let states = vec(select(vec![HostState::Ready, HostState::Ready, HostState::Cordoned]), 3);
    let copies = vec((0..12_usize, proptest::bool::weighted(0.2)), 0..6);
    (vec(a_node(), NODES.len()), vec(a_volume(), 0..12), copies, states)
        .prop_map(|(nodes, volumes, copies, states)| world(&nodes, &volumes, &copies, &states))
}

fn world(
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

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    from_value(value).expect("an object of this kind")
}

/// No claim is there yet; of volumes that the CSI controller made nobody asks.
fn looked(number: usize) -> Looked {
    Looked { uuid: Some(uuid(2, number)), claim: ClaimFound::Absent, stranger: None }
}

fn pool(name: &str, tier: &str) -> StoragePool {
    read(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StoragePool",
        "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": {"tier": tier, "file": {"directory": format!("/pools/{name}")}},
    }))
}

fn pool_uuid(node: usize, pool: usize) -> String {
    uuid(1, node * POOLS.len() + pool)
}

fn node(at: usize, pools: &[OnNode], volumes: &[Asked]) -> StorageNode {
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

fn snapshot(number: usize, (of, leaving): Copied, volumes: &[Asked]) -> StorageSnapshot {
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

fn volume(number: usize, asked: &Asked) -> StorageVolume {
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

/// The world after an effect, as the API server would show it.
fn carry_out(world: &mut World, effect: &Effect) {
    match effect {
        Effect::AssignVolume { volume, assignment, .. } => change(world, &volume.name, |volume| {
            volume.spec.assignment = Some(assignment.clone());
        }),
        Effect::AssignSnapshot { snapshot, assignment, .. } => {
            change_snapshot(world, &snapshot.name, |snapshot| {
                snapshot.spec.assignment = Some(assignment.clone());
            })
        }
        Effect::ReportSnapshot { snapshot, conditions } => {
            change_snapshot(world, &snapshot.name, |snapshot| {
                snapshot.status.get_or_insert_default().conditions.clone_from(conditions);
            })
        }
        Effect::ReleaseSnapshot { snapshot, finalizers } => {
            assert!(finalizers.is_empty());
            let name = Some(&snapshot.name);
            world.snapshots.retain(|other| other.metadata.name.as_ref() != name);
        }
        Effect::NameVolume { volume, uuid, fs_type } => change(world, &volume.name, |volume| {
            volume.spec.volume_uuid = Some(uuid.clone());
            volume.spec.fs_type = volume.spec.fs_type.or(*fs_type);
        }),
        Effect::ReportVolume { volume, claim, conditions } => {
            change(world, &volume.name, |volume| {
                let status = volume.status.get_or_insert_default();
                status.claim.clone_from(claim);
                status.conditions.clone_from(conditions);
            })
        }
        Effect::ReleaseVolume { volume, finalizers } => {
            assert!(finalizers.is_empty());
            world.volumes.retain(|other| other.metadata.name.as_deref() != Some(&volume.name));
        }
        Effect::HoldPool { pool, finalizers } | Effect::ReleasePool { pool, finalizers } => {
            let mut pools = world.pools.iter_mut();
            let found = pools.find(|other| other.metadata.name.as_deref() == Some(&pool.name));
            let found = Arc::make_mut(found.expect("the pool of the effect"));
            found.metadata.finalizers = Some(finalizers.clone());
        }
        Effect::ReportPool { pool, status } => {
            let mut pools = world.pools.iter_mut();
            let found = pools.find(|other| other.metadata.name.as_deref() == Some(&pool.name));
            let found = Arc::make_mut(found.expect("the pool of the effect"));
            found.status = Some((**status).clone());
        }
        Effect::Tell { .. } => {}
        // No node reports here, so no claim is due.
        Effect::CreateVolume { .. }
        | Effect::MakePersistent { .. }
        | Effect::PointPersistent { .. }
        | Effect::MakeClaim { .. }
        | Effect::GrowClaim { .. }
        | Effect::GrowVolume { .. }
        | Effect::CreateSnapshot { .. }
        | Effect::StampSnapshot { .. }
        | Effect::DeleteSnapshot { .. }
        | Effect::StampDeletion { .. }
        | Effect::DeleteVolume { .. }
        | Effect::ReportLifecycle { .. }
        | Effect::ReportTiering { .. } => {
            unreachable!("no controller of volumes or pools may {effect}")
        }
    }
}

fn change(world: &mut World, name: &str, change: impl FnOnce(&mut StorageVolume)) {
    let mut volumes = world.volumes.iter_mut();
    let found = volumes.find(|volume| volume.metadata.name.as_deref() == Some(name));
    change(Arc::make_mut(found.expect("the volume of the effect")));
}

fn change_snapshot(world: &mut World, name: &str, change: impl FnOnce(&mut StorageSnapshot)) {
    let mut snapshots = world.snapshots.iter_mut();
    let found = snapshots.find(|snapshot| snapshot.metadata.name.as_deref() == Some(name));
    change(Arc::make_mut(found.expect("the snapshot of the effect")));
}

/// Plans and carries out, volume after volume, then snapshot after snapshot, then pool after pool. Returns every plan.
fn settle(world: &mut World) -> Vec<Plan> {
    let mut plans = Vec::new();
    for volume in world.volumes.clone() {
        plans.push(plan_volume(world, &volume, now()));
        for effect in &plans[plans.len() - 1].effects {
            carry_out(world, effect);
        }
    }
    for snapshot in world.snapshots.clone() {
        plans.push(plan_snapshot(world, &snapshot, now()));
        for effect in &plans[plans.len() - 1].effects {
            carry_out(world, effect);
        }
    }
    for pool in world.pools.clone() {
        plans.push(plan_pool(world, &pool, now()));
        for effect in &plans[plans.len() - 1].effects {
            carry_out(world, effect);
        }
    }
    plans
}

fn lists_it(world: &World, volume: &StorageVolume, node: &str) -> bool {
    let listed = world.node(node).and_then(|node| node.status.as_ref());
    listed.is_some_and(|s| {
        s.volumes.iter().any(|v| Some(&v.uuid) == volume.spec.volume_uuid.as_ref())
    })
}

proptest! {
    #[test]
    fn the_same_world_gives_the_same_plan_in_whatever_order(
        (world, shuffled) in a_world().prop_flat_map(|world| {
            let volumes = Just(world.volumes.clone()).prop_shuffle();
            let (pools, nodes) = (Just(world.pools.clone()).prop_shuffle(), Just(world.nodes.clone()).prop_shuffle());
            let hosts = Just(world.hosts.clone()).prop_shuffle();
            let looked = world.looked.clone();
            let snapshots = world.snapshots.iter().rev().cloned().collect::<Vec<_>>();
            let shuffled = (volumes, pools, nodes, hosts).prop_map(move |(volumes, pools, nodes, hosts)| {
                World { volumes, pools, nodes, hosts, snapshots: snapshots.clone(), looked: looked.clone(), ..World::default() }
            });
            (Just(world), shuffled)
        })
    ) {
        for volume in &world.volumes {
            prop_assert_eq!(plan_volume(&world, volume, now()), plan_volume(&shuffled, volume, now()));
        }
        for snapshot in &world.snapshots {
            prop_assert_eq!(plan_snapshot(&world, snapshot, now()), plan_snapshot(&shuffled, snapshot, now()));
        }
        for pool in &world.pools {
            prop_assert_eq!(plan_pool(&world, pool, now()), plan_pool(&shuffled, pool, now()));
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(mut world in a_world()) {
        settle(&mut world);
        // A Direct volume gets its identity before its place.
        settle(&mut world);
        // What was promised last changes what the first of the waiting is told: once more, and it is said.
        settle(&mut world);
        for plan in settle(&mut world) {
            prop_assert!(plan.effects.is_empty(), "{plan}");
        }
    }

    #[test]
    fn no_pool_is_promised_beyond_its_limit(mut world in a_world()) {
        let before = observe_spaces(&world);
        settle(&mut world);
        for (before, after) in before.iter().zip(observe_spaces(&world)) {
            // What only nodes list was there before anybody promised; it may exceed a pool, new promises may not.
            let bound = before.limit.max(before.promised);
            prop_assert!(after.promised <= bound, "{}/{}", after.node, after.pool.name);
        }
    }

    #[test]
    fn what_a_node_lists_lies_there_or_nowhere(mut world in a_world()) {
        settle(&mut world);
        for volume in &world.volumes {
            let Some(place) = &volume.spec.assignment else { continue };
            let elsewhere = NODES.iter().any(|node| *node != place.node && lists_it(&world, volume, node));
            prop_assert!(!elsewhere, "a second volume would be made on {}", place.node);
        }
    }

    #[test]
    fn nothing_is_let_go_that_a_node_lists(world in a_world()) {
        for volume in &world.volumes {
            let plan = plan_volume(&world, volume, now());
            let lets_go = plan.effects.iter().any(|effect| matches!(effect, Effect::ReleaseVolume { .. }));
            let listed = NODES.iter().any(|node| lists_it(&world, volume, node));
            prop_assert!(!(lets_go && (listed || volume.spec.assignment.is_some())), "{plan}");
        }
    }

    #[test]
    fn a_snapshot_lies_where_its_source_does_or_nowhere(mut world in a_world()) {
        settle(&mut world);
        for snapshot in &world.snapshots {
            let Some(place) = &snapshot.spec.assignment else { continue };
            let uuid = Some(&snapshot.spec.source_volume_uuid);
            let mut sources = world.volumes.iter();
            let source = sources.find(|volume| volume.spec.volume_uuid.as_ref() == uuid);
            let at = source.and_then(|source| source.spec.assignment.as_ref());
            prop_assert_eq!(at.map(|at| (&at.node, &at.pool_uuid)), Some((&place.node, &place.pool_uuid)));
        }
    }

    #[test]
    fn a_deletion_is_stamped_with_the_volumes_own_uuid_first(world in a_world(), id in any::<u128>()) {
        for volume in world.volumes.iter().filter(|volume| volume.spec.volume_uuid.is_some()) {
            let first = plan_delete(volume, Uuid::from_u128(id), now());
            let Some(Effect::StampDeletion { deletion, .. }) = first else {
                panic!("deletes without a stamp: {first:?}");
            };
            prop_assert_eq!(Some(&deletion.volume_uuid), volume.spec.volume_uuid.as_ref());
            let mut stamped = (**volume).clone();
            stamped.spec.deletion = Some(deletion);
            stamped.metadata.deletion_timestamp = None;
            let second = plan_delete(&stamped, Uuid::from_u128(id), now());
            prop_assert!(matches!(second, Some(Effect::DeleteVolume { .. })), "{second:?}");
        }
    }
}
