//! The wire: every kind of `terrace.storage/v1alpha1`, its CEL rules and the names shared by all parts.
//! No client, no file, no decision: only what travels through the API server.
//!
//! # Invariants
//! - A rule that a value alone can break is refused by CEL at the API server (`e2e/tests/crds.rs`).
//! - `KINDS` is the one list of kinds: YAML, RBAC and docs iterate it (`tests/generated.rs`).

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns repeat the keys of their attribute by design"
)]

pub mod access;
pub mod condition;
pub mod latency;
pub mod lifecycle;
pub mod measured;
pub mod names;
pub mod node;
pub mod period;
pub mod pool;
pub mod rbac;
pub mod size;
pub mod snapshot;
pub mod tiering;
pub mod volume;
pub mod watching;
pub mod yaml;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

pub use condition::{ConditionType, Reason};
pub use latency::Latency;
pub use lifecycle::{LifecyclePolicy, LifecyclePolicySpec};
pub use node::{StorageNode, StorageNodeStatus};
pub use period::Period;
pub use pool::{StoragePool, StoragePoolSpec, StoragePoolStatus};
pub use size::Size;
pub use snapshot::{StorageSnapshot, StorageSnapshotSpec};
pub use tiering::{TieringPolicy, TieringPolicySpec};
pub use volume::{StorageVolume, StorageVolumeSpec, StorageVolumeStatus};

/// The API group of every kind here.
pub const GROUP: &str = "terrace.storage";
/// The version served.
pub const VERSION: &str = "v1alpha1";

/// The definition of every kind, in the order in which they are installed.
pub fn kinds() -> [CustomResourceDefinition; 6] {
    [
        StorageVolume::crd(),
        StorageSnapshot::crd(),
        StoragePool::crd(),
        StorageNode::crd(),
        TieringPolicy::crd(),
        LifecyclePolicy::crd(),
    ]
    .map(with_keep)
    .map(without_unsigned_formats)
}

/// Kubernetes knows no unsigned formats and warns of each; their bounds are in `minimum` and `maximum`.
fn without_unsigned_formats(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            drop_unsigned_format(schema);
        }
    }
    crd
}

fn drop_unsigned_format(schema: &mut JSONSchemaProps) {
    schema.format = schema.format.take().filter(|format| !format.starts_with("uint"));
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).for_each(drop_unsigned_format);
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        drop_unsigned_format(item);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        drop_unsigned_format(value);
    }
}

/// Helm leaves a definition in place on uninstall: deleting it would delete every object of the kind.
fn with_keep(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let notes = crd.metadata.annotations.get_or_insert_default();
    notes.insert("helm.sh/resource-policy".into(), "keep".into());
    let labels = crd.metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/part-of".into(), "terrace".into());
    crd
}
