//! Everything that the operator can do to the world, one variant a change. Adding one is a design review:
//! it needs an arm in the executor, a line in RBAC, and a sentence here.

use std::fmt;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use terrace_crds::condition::Reason;
use terrace_crds::pool::StoragePoolStatus;
use terrace_crds::snapshot::SnapshotDeletion;
use terrace_crds::volume::{Assignment, ClaimRef, Deletion, FsType};
use terrace_crds::{Size, StorageSnapshot, StorageVolume};

/// An object as it was when the plan was made: a change is refused if it is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its namespace, if its kind has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
}

impl ObjectRef {
    /// The object with this metadata.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self {
            namespace: metadata.namespace.clone(),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            resource_version: text(&metadata.resource_version),
        }
    }
}

/// The finalizers of an object without one of them.
pub(crate) fn finalizers_without(metadata: &ObjectMeta, ours: &str) -> Vec<String> {
    let all = metadata.finalizers.iter().flatten();
    all.filter(|finalizer| *finalizer != ours).cloned().collect()
}

/// How much an Event asks of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It is good to know.
    Normal,
    /// Something waits for somebody.
    Warning,
}

/// One change to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the intent for a volume.
    CreateVolume {
        /// Metadata and spec, as they will be.
        volume: Box<StorageVolume>,
    },
    /// Make the object of a volume again that was lost, for bytes that a node has. It never makes bytes.
    HealVolume {
        /// Metadata and spec, as they will be.
        volume: Box<StorageVolume>,
        /// The node that lists the bytes.
        node: String,
    },
    /// Reserve the volume's capacity on a pool, for good. Refused if the volume changed since.
    AssignVolume {
        /// Which volume.
        volume: ObjectRef,
        /// Where.
        assignment: Assignment,
        /// Name of the pool, for people.
        pool: String,
        /// Bytes reserved.
        bytes: u64,
    },
    /// Give a Direct volume its identity, and the filesystem that was left to us. Refused if it changed since.
    NameVolume {
        /// Which volume.
        volume: ObjectRef,
        /// Identity of its bytes.
        uuid: String,
        /// Its filesystem; `None` leaves it as it is.
        fs_type: Option<FsType>,
    },
    /// Make the PersistentVolume of a Direct volume, for its claim alone.
    MakePersistent {
        /// Metadata and spec, as they will be.
        persistent: Box<PersistentVolume>,
    },
    /// Let a PersistentVolume that no claim has be for this claim. Refused if it changed since.
    PointPersistent {
        /// Which PersistentVolume.
        persistent: ObjectRef,
        /// The claim.
        claim: ClaimRef,
    },
    /// Make the claim of a Direct volume.
    MakeClaim {
        /// Metadata and spec, as they will be.
        claim: Box<PersistentVolumeClaim>,
    },
    /// Let a claim ask for as much as its Direct volume. Refused if the claim changed since.
    GrowClaim {
        /// Which claim.
        claim: ObjectRef,
        /// What it asks for then.
        to: Size,
    },
    /// Reserve more for a volume. Refused if the volume changed since.
    GrowVolume {
        /// Which volume.
        volume: ObjectRef,
        /// Bytes, in all.
        to: u64,
    },
    /// Write the proof that a volume's bytes may go (I1). Refused if the volume changed since.
    StampDeletion {
        /// Which volume.
        volume: ObjectRef,
        /// The stamp.
        deletion: Deletion,
    },
    /// Write the intent for a snapshot.
    CreateSnapshot {
        /// Metadata and spec, as they will be.
        snapshot: Box<StorageSnapshot>,
    },
    /// Reserve the snapshot's space where its source lies, for good. Refused if the snapshot changed since.
    AssignSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
        /// Where.
        assignment: Assignment,
        /// Name of the pool, for people.
        pool: String,
        /// Bytes reserved.
        bytes: u64,
    },
    /// Write the proof that a snapshot's bytes may go (I1). Refused if the snapshot changed since.
    StampSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
        /// The stamp.
        deletion: SnapshotDeletion,
    },
    /// Ask for the snapshot's object to go; its node decides about the bytes.
    DeleteSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
    },
    /// Let go of a snapshot that no node ever had.
    ReleaseSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
        /// Finalizers that stay: those of others.
        finalizers: Vec<String>,
    },
    /// Let go of a snapshot whose node Kubernetes has no more. Its bytes stay on that node's disks.
    AbandonSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
        /// UUID of its bytes.
        uuid: String,
        /// The node.
        node: String,
        /// Finalizers that stay: those of others.
        finalizers: Vec<String>,
    },
    /// Say why a snapshot has no place.
    ReportSnapshot {
        /// Which snapshot.
        snapshot: ObjectRef,
        /// Conditions that the operator owns now, all of them.
        conditions: Vec<Condition>,
    },
    /// Ask for the object to go; its node decides about the bytes.
    DeleteVolume {
        /// Which volume.
        volume: ObjectRef,
    },
    /// Let go of a volume that no node ever had.
    ReleaseVolume {
        /// Which volume.
        volume: ObjectRef,
        /// Finalizers that stay: those of others.
        finalizers: Vec<String>,
    },
    /// Let go of a volume whose node Kubernetes has no more. Its bytes stay on that node's disks.
    AbandonVolume {
        /// Which volume.
        volume: ObjectRef,
        /// UUID of its bytes.
        uuid: String,
        /// The node.
        node: String,
        /// Finalizers that stay: those of others.
        finalizers: Vec<String>,
    },
    /// Write what the operator knows about a volume.
    ReportVolume {
        /// Which volume.
        volume: ObjectRef,
        /// `namespace/name` of the claim.
        claim: Option<String>,
        /// Conditions that the operator owns now, all of them.
        conditions: Vec<Condition>,
    },
    /// Keep a pool from vanishing under its volumes.
    HoldPool {
        /// Which pool.
        pool: ObjectRef,
        /// Every finalizer it has then.
        finalizers: Vec<String>,
    },
    /// Let a pool without volumes go.
    ReleasePool {
        /// Which pool.
        pool: ObjectRef,
        /// Finalizers that stay: those of others.
        finalizers: Vec<String>,
    },
    /// Write a pool's sums.
    ReportPool {
        /// Which pool.
        pool: ObjectRef,
        /// All of its status.
        status: Box<StoragePoolStatus>,
    },
    /// Write what became of a LifecyclePolicy.
    ReportLifecycle {
        /// Which policy.
        policy: ObjectRef,
        /// Conditions, all of them.
        conditions: Vec<Condition>,
    },
    /// Write what became of a TieringPolicy.
    ReportTiering {
        /// Which policy.
        policy: ObjectRef,
        /// Conditions, all of them.
        conditions: Vec<Condition>,
    },
    /// An Event on the claim.
    Tell {
        /// Which claim.
        claim: ClaimRef,
        /// How much it asks of its reader.
        tone: Tone,
        /// From the closed list.
        reason: Reason,
        /// Cause and remedy.
        note: String,
    },
    /// An Event on the PersistentVolume, whose claim is gone.
    TellPersistent {
        /// Which PersistentVolume.
        persistent: ObjectRef,
        /// How much it asks of its reader.
        tone: Tone,
        /// From the closed list.
        reason: Reason,
        /// Cause and remedy.
        note: String,
    },
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVolume { volume } => {
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                write!(f, "create volume {name} of {}", volume.spec.capacity)
            }
            Self::HealVolume { volume, node } => {
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                let size = &volume.spec.capacity;
                write!(f, "make volume {name} of {size} again: node {node} has its bytes")
            }
            Self::AssignVolume { volume, assignment, pool, bytes } => {
                let (name, bytes) = (&volume.name, crate::size::words(*bytes));
                write!(f, "assign volume {name} to {}/{pool}: {bytes} reserved", assignment.node)
            }
            Self::NameVolume { volume, uuid, fs_type } => {
                let with = fs_type.map_or_else(String::new, |fs| format!(", {}", fs.as_str()));
                write!(f, "name volume {}: UUID {uuid}{with}", volume.name)
            }
            Self::MakePersistent { persistent } => {
                let spec = persistent.spec.as_ref();
                let claim = spec.and_then(|spec| spec.claim_ref.as_ref());
                let text = |field: Option<&String>| field.cloned().unwrap_or_default();
                let name = text(persistent.metadata.name.as_ref());
                let space = text(claim.and_then(|claim| claim.namespace.as_ref()));
                let claim = text(claim.and_then(|claim| claim.name.as_ref()));
                write!(f, "make PersistentVolume {name} for claim {space}/{claim}")
            }
            Self::PointPersistent { persistent, claim } => {
                let ClaimRef { namespace, name } = claim;
                write!(f, "give PersistentVolume {} to claim {namespace}/{name}", persistent.name)
            }
            Self::MakeClaim { claim } => {
                let at = ObjectRef::of(&claim.metadata);
                write!(f, "make claim {}/{}", at.namespace.unwrap_or_default(), at.name)
            }
            Self::GrowClaim { claim, to } => {
                let space = claim.namespace.as_deref().unwrap_or_default();
                write!(f, "grow claim {space}/{} to {to}", claim.name)
            }
            Self::GrowVolume { volume, to } => {
                write!(f, "grow volume {} to {}", volume.name, crate::size::words(*to))
            }
            Self::StampDeletion { volume, deletion } => {
                write!(f, "stamp volume {} for deletion {}", volume.name, deletion.id)
            }
            Self::CreateSnapshot { snapshot } => {
                let name = snapshot.metadata.name.as_deref().unwrap_or_default();
                write!(f, "create snapshot {name} of volume {}", snapshot.spec.source_volume)
            }
            Self::AssignSnapshot { snapshot, assignment, pool, bytes } => {
                let (name, bytes) = (&snapshot.name, crate::size::words(*bytes));
                write!(f, "assign snapshot {name} to {}/{pool}: {bytes} reserved", assignment.node)
            }
            Self::StampSnapshot { snapshot, deletion } => {
                write!(f, "stamp snapshot {} for deletion {}", snapshot.name, deletion.id)
            }
            Self::DeleteSnapshot { snapshot } => write!(f, "delete snapshot {}", snapshot.name),
            Self::ReleaseSnapshot { snapshot, .. } => {
                write!(f, "release snapshot {}: no node ever had it", snapshot.name)
            }
            Self::AbandonSnapshot { snapshot, uuid, node, .. } => {
                write!(f, "let go of snapshot {}: bytes {uuid} stay on node {node}", snapshot.name)
            }
            Self::ReportSnapshot { snapshot, conditions } => {
                write!(f, "report snapshot {}{}", snapshot.name, words(conditions))
            }
            Self::DeleteVolume { volume } => write!(f, "delete volume {}", volume.name),
            Self::ReleaseVolume { volume, .. } => {
                write!(f, "release volume {}: no node ever had it", volume.name)
            }
            Self::AbandonVolume { volume, uuid, node, .. } => {
                write!(f, "let go of volume {}: bytes {uuid} stay on node {node}", volume.name)
            }
            Self::ReportVolume { volume, claim, conditions } => {
                let claim = claim.as_deref().unwrap_or("none");
                write!(f, "report volume {}: claim {claim}{}", volume.name, words(conditions))
            }
            Self::HoldPool { pool, .. } => write!(f, "hold pool {}: it has volumes", pool.name),
            Self::ReleasePool { pool, .. } => {
                write!(f, "release pool {}: it has no volume", pool.name)
            }
            Self::ReportPool { pool, status } => {
                let size = |size: &Option<terrace_crds::Size>| {
                    size.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string)
                };
                let (free, all) = (size(&status.available), size(&status.capacity));
                let nodes = status.nodes_ready.as_deref().unwrap_or("?");
                let (name, volumes) = (&pool.name, status.volumes);
                write!(
                    f,
                    "report pool {name}: {free} of {all} free on {nodes} nodes, {volumes} volumes"
                )
            }
            Self::ReportLifecycle { policy, conditions } => {
                write!(f, "report lifecycle policy {}{}", policy.name, words(conditions))
            }
            Self::ReportTiering { policy, conditions } => {
                write!(f, "report tiering policy {}{}", policy.name, words(conditions))
            }
            Self::Tell { claim, tone, reason, note } => {
                write!(f, "tell {}/{} ({tone:?} {reason}): {note}", claim.namespace, claim.name)
            }
            Self::TellPersistent { persistent, tone, reason, note } => {
                let name = &persistent.name;
                write!(f, "tell PersistentVolume {name} ({tone:?} {reason}): {note}")
            }
        }
    }
}

fn words(conditions: &[Condition]) -> String {
    conditions.iter().map(|c| format!(", {}={} {}", c.type_, c.status, c.reason)).collect()
}
