//! Laws that hold in every world: same world, same plan; a plan carried out leaves nothing to do; no pool is
//! promised beyond its limit; nothing is deleted without its stamp; what a node lists is never made anew.

#[path = "laws/world.rs"]
mod world;

use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_plan::delete::plan_delete;
use terrace_plan::effect::Effect;
use terrace_plan::listed::Listed;
use terrace_plan::plan::Plan;
use terrace_plan::pool::plan_pool;
use terrace_plan::snapshot::plan_snapshot;
use terrace_plan::space::observe_spaces;
use terrace_plan::volume::plan_volume;
use terrace_plan::world::World;
use uuid::Uuid;
use world::{NODES, a_world, now};

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
            world.snapshots.edit().retain(|other| other.metadata.name.as_ref() != name);
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
            world
                .volumes
                .edit()
                .retain(|other| other.metadata.name.as_deref() != Some(&volume.name));
        }
        Effect::HoldPool { pool, finalizers } | Effect::ReleasePool { pool, finalizers } => {
            let mut pools = world.pools.edit().iter_mut();
            let found = pools.find(|other| other.metadata.name.as_deref() == Some(&pool.name));
            let found = Arc::make_mut(found.expect("the pool of the effect"));
            found.metadata.finalizers = Some(finalizers.clone());
        }
        Effect::ReportPool { pool, status } => {
            let mut pools = world.pools.edit().iter_mut();
            let found = pools.find(|other| other.metadata.name.as_deref() == Some(&pool.name));
            let found = Arc::make_mut(found.expect("the pool of the effect"));
            found.status = Some((**status).clone());
        }
        Effect::Tell { .. } | Effect::TellPersistent { .. } => {}
        // No node reports here, so no claim is due.
        Effect::CreateVolume { .. }
        | Effect::HealVolume { .. }
        | Effect::AbandonVolume { .. }
        | Effect::AbandonSnapshot { .. }
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
    let mut volumes = world.volumes.edit().iter_mut();
    let found = volumes.find(|volume| volume.metadata.name.as_deref() == Some(name));
    change(Arc::make_mut(found.expect("the volume of the effect")));
}

fn change_snapshot(world: &mut World, name: &str, change: impl FnOnce(&mut StorageSnapshot)) {
    let mut snapshots = world.snapshots.edit().iter_mut();
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
            let volumes = Just(world.volumes.to_vec()).prop_shuffle();
            let (pools, nodes) = (Just(world.pools.to_vec()).prop_shuffle(), Just(world.nodes.to_vec()).prop_shuffle());
            let hosts = Just(world.hosts.to_vec()).prop_shuffle();
            let looked = world.looked.clone();
            let snapshots: Listed<StorageSnapshot> = world.snapshots.iter().rev().cloned().collect();
            let shuffled = (volumes, pools, nodes, hosts).prop_map(move |(volumes, pools, nodes, hosts)| {
                World {
                    volumes: volumes.into(), pools: pools.into(), nodes: nodes.into(), hosts: hosts.into(),
                    snapshots: snapshots.clone(), looked: looked.clone(), ..World::default()
                }
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
        for (before, after) in before.iter().zip(observe_spaces(&world).iter()) {
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
            stamped.spec.deletion = Some(Box::new(deletion));
            stamped.metadata.deletion_timestamp = None;
            let second = plan_delete(&stamped, Uuid::from_u128(id), now());
            prop_assert!(matches!(second, Some(Effect::DeleteVolume { .. })), "{second:?}");
        }
    }
}
