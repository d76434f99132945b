//! Groups of snapshots: which snapshots a group has, and whether its volumes can show one moment together. Pure.

use std::collections::BTreeMap;

use terrace_crds::names::group_uuid;
use terrace_crds::snapshot::SnapshotGroup;
use terrace_crds::{StorageSnapshot, StorageVolume};
use uuid::Uuid;

use crate::class::Class;
use crate::snapshot::{self, SnapshotError};
use crate::world::{World, name_of};

/// Most members, as the schema bounds them.
const MEMBERS_MAX: usize = 64;

/// Why a group cannot be taken as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// More volumes than one moment can be held for.
    #[error("a group has at most {MEMBERS_MAX} volumes, asked for are {asked}")]
    TooMany {
        /// How many.
        asked: usize,
    },
    /// A volume is named twice.
    #[error("volume {name} is named twice")]
    Twice {
        /// Its handle.
        name: String,
    },
    /// Nothing can freeze two nodes at one moment.
    #[error(
        "volumes {one} and {two} lie on different nodes: a group shows one moment on one node only"
    )]
    Apart {
        /// A member.
        one: String,
        /// Another.
        two: String,
    },
    /// Nor two ways of keeping volumes.
    #[error(
        "volumes {one} and {two} lie on pools of different backends: a group shows one moment on one backend only"
    )]
    Backends {
        /// A member.
        one: String,
        /// Another.
        two: String,
    },
    /// A group of this name is there, and is another one.
    #[error("group {name} exists with snapshots of other volumes")]
    Exists {
        /// Its name.
        name: String,
    },
}

impl GroupError {
    /// Nobody but the caller can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::TooMany { .. }
            | Self::Twice { .. }
            | Self::Apart { .. }
            | Self::Backends { .. }
            | Self::Exists { .. } => Class::Invalid,
        }
    }
}

/// Refuses every parameter of a group's class but what Kubernetes adds itself, and the class's own `deletionPolicy`, which Kubernetes'
/// own suite repeats among them: the snapshotter obeys it, and nothing here does.
///
/// # Errors
/// [`SnapshotError::Parameter`], naming the first.
pub fn validate_parameters(given: BTreeMap<String, String>) -> Result<(), SnapshotError> {
    let repeats = |name: &str, value: &str| {
        name == "deletionPolicy" && (value == "Delete" || value == "Retain")
    };
    let rest = given.into_iter().filter(|(name, value)| !repeats(name, value)).collect();
    snapshot::validate_parameters(&rest)
}

/// A snapshot's CSI name, and the volume it is a copy of.
pub type Member = (String, String);

/// The group of that name and its members, in the order of their names. `sources` may be left out for a group that is there.
///
/// # Errors
/// [`GroupError`].
pub fn plan_group(
    world: &World,
    cluster: Uuid,
    name: &str,
    source_names: &[String],
    sources: &[StorageVolume],
) -> Result<(SnapshotGroup, Vec<Member>), GroupError> {
    if source_names.len() > MEMBERS_MAX {
        return Err(GroupError::TooMany { asked: source_names.len() });
    }
    let uuid = group_uuid(cluster, name);
    let mut members: Vec<Member> =
        source_names.iter().map(|source| (member_name(uuid, source), source.clone())).collect();
    members.sort();
    if let Some(pair) = members.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GroupError::Twice { name: pair[0].1.clone() });
    }
    validate_together(world, sources)?;
    let names = members.iter().map(|(member, _)| member.clone()).collect();
    Ok((SnapshotGroup { uuid: uuid.to_string(), name: name.to_owned(), members: names }, members))
}

/// The same member of the same group has the same name, whoever asks; it is a DNS label.
fn member_name(group: Uuid, source: &str) -> String {
    format!("gs-{}", Uuid::new_v5(&group, source.as_bytes()).simple())
}

fn validate_together(world: &World, sources: &[StorageVolume]) -> Result<(), GroupError> {
    let Some((first, rest)) = sources.split_first() else { return Ok(()) };
    let name = |volume: &StorageVolume| name_of(&volume.metadata).to_owned();
    let node = |volume: &StorageVolume| volume.spec.assignment.as_ref().map(|at| at.node.clone());
    for other in rest {
        let (one, two) = (name(first), name(other));
        if node(first) != node(other) {
            return Err(GroupError::Apart { one, two });
        }
        if backend(world, first) != backend(world, other) {
            return Err(GroupError::Backends { one, two });
        }
    }
    Ok(())
}

fn backend<'a>(world: &'a World, volume: &StorageVolume) -> Option<&'a str> {
    let at = volume.spec.assignment.as_ref()?;
    let pools = &world.node(&at.node)?.status.as_ref()?.pools;
    let pool = pools.iter().find(|pool| pool.uuid.as_ref() == Some(&at.pool_uuid))?;
    Some(&pool.backend)
}

/// Whether the members that are there are of the group asked for.
///
/// # Errors
/// [`GroupError::Exists`].
pub fn check_members(
    name: &str,
    asked: &SnapshotGroup,
    there: &[StorageSnapshot],
) -> Result<(), GroupError> {
    if there.iter().all(|member| member.spec.group.as_ref() == Some(asked)) {
        Ok(())
    } else {
        Err(GroupError::Exists { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BTreeMap, GroupError, StorageSnapshot, Uuid, World, check_members, plan_group,
        validate_parameters,
    };
    use serde_json::{from_value, json};
    use terrace_crds::StorageVolume;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn volume(name: &str, node: &str) -> StorageVolume {
        let object = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume", "metadata": {"name": name},
            "spec": {
                "origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "tier": "ssd",
                "assignment": {"node": node, "poolUUID": "p"},
            },
        });
        from_value(object).unwrap()
    }

    #[test]
    fn the_same_group_has_the_same_members_in_whatever_order_it_is_asked_for() {
        let plan = |sources: &[&str]| {
            plan_group(&World::default(), Uuid::nil(), "g", &names(sources), &[]).unwrap()
        };
        assert_eq!(plan(&["a", "b"]), plan(&["b", "a"]));
        assert_ne!(plan(&["a", "b"]).0, plan(&["a", "c"]).0);
        let twice = plan_group(&World::default(), Uuid::nil(), "g", &names(&["a", "a"]), &[]);
        assert_eq!(twice, Err(GroupError::Twice { name: "a".into() }));
        let many: Vec<String> = (0..65).map(|at| at.to_string()).collect();
        let many = plan_group(&World::default(), Uuid::nil(), "g", &many, &[]);
        assert_eq!(many, Err(GroupError::TooMany { asked: 65 }));
    }

    #[test]
    fn a_class_may_repeat_its_own_deletion_policy_and_nothing_else() {
        let given = |name: &str, value: &str| {
            validate_parameters(BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(given("deletionPolicy", "Delete"), Ok(()));
        assert_eq!(given("csi.storage.k8s.io/volumegroupsnapshot/name", "x"), Ok(()));
        assert!(given("deletionPolicy", "Sometimes").is_err());
        assert!(given("colour", "red").is_err());
    }

    #[test]
    fn volumes_of_two_nodes_show_no_moment_together() {
        let sources = [volume("a", "one"), volume("b", "two")];
        let asked = names(&["a", "b"]);
        let refused = plan_group(&World::default(), Uuid::nil(), "g", &asked, &sources);
        assert!(matches!(refused, Err(GroupError::Apart { .. })), "{refused:?}");
    }

    #[test]
    fn a_group_of_other_volumes_exists() {
        let plan = |sources: &[&str]| {
            plan_group(&World::default(), Uuid::nil(), "g", &names(sources), &[]).unwrap().0
        };
        let there = |group| -> StorageSnapshot {
            let object = json!({
                "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageSnapshot", "metadata": {"name": "s"},
                "spec": {
                    "snapshotUUID": "u", "sourceVolume": "a", "sourceVolumeUUID": "v", "capacity": "1Gi",
                    "volumeMode": "Block", "group": group,
                },
            });
            from_value(object).unwrap()
        };
        let asked = plan(&["a", "b"]);
        assert_eq!(check_members("g", &asked, &[there(json!(asked))]), Ok(()));
        let other = there(json!(plan(&["a", "c"])));
        assert_eq!(
            check_members("g", &asked, &[other]),
            Err(GroupError::Exists { name: "g".into() })
        );
        assert_eq!(check_members("g", &asked, &[]), Ok(()));
    }
}
