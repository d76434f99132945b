//! LifecyclePolicy: rules for the files, snapshots and backups of the claims of one namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Period, Size, tiering::RunStatus};

/// Rules for the claims that the selector matches.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "LifecyclePolicy",
    plural = "lifecyclepolicies",
    shortname = "lifecycle",
    category = "storage",
    namespaced,
    status = "LifecyclePolicyStatus",
    derive = "PartialEq",
    doc = "Rules for the files, snapshots and backups of the PersistentVolumeClaims of one namespace.",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforced\")].status"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforced\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LifecyclePolicySpec {
    /// Claims that the rules are for.
    pub claim_selector: LabelSelector,
    /// When the file rules run: cron with five fields, in UTC.
    #[schemars(length(min = 9, max = 64))]
    pub schedule: String,
    /// Only say what would be done, or do it.
    #[serde(default)]
    pub mode: Mode,
    /// Start no run while true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Rules; the first that matches a file has it.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<LifecycleRule>,
    /// How much a run may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// Say or do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Report exactly what Enforce would touch, and touch nothing.
    #[default]
    DryRun,
    /// Do it.
    Enforce,
}

/// One rule: what matches, and the one thing done to it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.moveTier), has(self.delete), has(self.snapshot), has(self.backup)].filter(x, x).size() == 1").message("a rule does exactly one of moveTier, delete, snapshot and backup"),
    validation = Rule::new("(has(self.moveTier) || has(self.delete)) == has(self.match)").message("moveTier and delete need match; snapshot and backup take the whole volume and have none")
)]
pub struct LifecycleRule {
    /// Name, unique in the policy.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Files that the rule is for.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    /// Move the bytes to a colder tier; the file stays in place as a stub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_tier: Option<MoveTier>,
    /// Delete the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Delete>,
    /// Take snapshots of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Back the volume up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
}

/// Which files; all that are named must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.age) || has(self.olderThan)").message("match.age says which age olderThan means: name olderThan too"))]
pub struct Match {
    /// Paths below the volume's root, `**` for any number of folders.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,
    /// Paths left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,
    /// Least age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Period>,
    /// Which age; Modified where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Age>,
    /// Fewer accesses a day than this, over the rule's age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000.0))]
    #[x_kube(validation = Rule::new("self > 0.0").message("a number of accesses a day must be above 0"))]
    pub accesses_per_day_below: Option<f64>,
    /// Least size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
    /// Greatest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
    /// Only while the volume's free space is below this many percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub free_space_below: Option<u8>,
}

/// Since when a file's age counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Age {
    /// Last change of the bytes.
    #[default]
    Modified,
    /// Last read or write; unknown, and so no match, where it was not watched for the whole age.
    Accessed,
    /// Making of the file.
    Created,
}

/// Move to a tier of a TieringPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoveTier {
    /// The TieringPolicy whose tier is meant.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The tier.
    #[schemars(length(min = 1, max = 63))]
    pub to: String,
}

/// Delete, into the trash or for good.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.keepFor) != (has(self.permanent) && self.permanent)").message("delete takes exactly one of keepFor and permanent: true"),
    validation = Rule::new("!(has(self.permanent) && self.permanent) || (has(self.acknowledgeDataLoss) && self.acknowledgeDataLoss)").message("permanent deletion cannot be undone: set acknowledgeDataLoss: true beside permanent: true, or use keepFor")
)]
pub struct Delete {
    /// Time in the trash, from where a file can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_for: Option<Period>,
    /// No trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent: Option<bool>,
    /// Said by a person who knows that permanent cannot be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge_data_loss: Option<bool>,
}

/// Snapshots on a schedule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Cron with five fields, in UTC.
    #[schemars(length(min = 9, max = 64))]
    pub schedule: String,
    /// Which snapshots stay.
    pub keep: Keep,
    /// Labels of each snapshot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,
}

/// Backups on a schedule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Secret of the namespace with the repository's address and password.
    #[schemars(length(min = 1, max = 253))]
    pub repository: String,
    /// Cron with five fields, in UTC.
    #[schemars(length(min = 9, max = 64))]
    pub schedule: String,
    /// Which backups stay.
    pub keep: Keep,
}

/// Which copies stay; one that any of these keeps stays.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.last) || has(self.within)").message("keep names at least one of last and within"))]
pub struct Keep {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub last: Option<u32>,
    /// All that are younger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
}

/// How much a run may do.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Most bytes moved a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<Size>,
    /// Most files a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub files_per_run: Option<u64>,
    /// Longest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
}

/// How a lifecycle policy fares.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecyclePolicyStatus {
    /// Each rule's counts and last reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RunStatus>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
