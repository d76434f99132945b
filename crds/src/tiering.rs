//! TieringPolicy: the ladder of tiers, and when whole volumes move on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Period, Size, lifecycle::Mode};

/// Tiers from hot to cold, and the moves between them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "TieringPolicy",
    plural = "tieringpolicies",
    shortname = "tiering",
    category = "storage",
    status = "TieringPolicyStatus",
    derive = "PartialEq",
    doc = "The ladder of tiers, and when whole volumes move on it.",
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforced\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.transitions) || self.transitions.all(t, self.tiers.exists(x, x.name == t.from))").message("transitions[].from must name one of spec.tiers"),
    validation = Rule::new("!has(self.transitions) || self.transitions.all(t, self.tiers.exists(x, x.name == t.to))").message("transitions[].to must name one of spec.tiers")
)]
pub struct TieringPolicySpec {
    /// Tiers, hottest first.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tiers: Vec<Tier>,
    /// Volumes that may move; absent: none, the policy only describes its tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_selector: Option<LabelSelector>,
    /// Moves between tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub transitions: Vec<Transition>,
    /// What may be done to a Pod that has the volume mounted.
    #[serde(default)]
    pub disruption: Disruption,
    /// Only say what would be done, or do it.
    #[serde(default)]
    pub mode: Mode,
}

/// One tier: the pools that carry its name, or an object store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// Name, as in `StoragePool.spec.tier`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Most bytes that the policy puts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
    /// Longest time that a reader waits for bytes from there; then EIO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_time: Option<Period>,
    /// Price of a GB for a month, for reports.
    #[serde(rename = "costPerGBMonth", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub cost_per_gb_month: Option<f64>,
    /// An object store instead of pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStore>,
    /// Cache of what was read from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

/// An S3-compatible store. Its credentials are mounted by the chart value `objectStores.<name>.secretName`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStore {
    /// Key in the chart's `objectStores`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Bucket.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// Prefix of every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// Price of a GiB for a month, for reports.
    #[serde(rename = "costPerGiBMonth", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub cost_per_gib_month: Option<f64>,
}

/// A cache of cold objects.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Most bytes.
    pub size: Size,
    /// What goes first when it is full.
    #[serde(default)]
    pub eviction: Eviction,
    /// Most entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_entries: Option<u32>,
    /// Longest stay of an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period>,
    /// Redis as a second level, shared by nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Compression of entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
}

/// What leaves a full cache first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Eviction {
    /// The entry unused for longest.
    #[default]
    #[serde(rename = "LRU")]
    Lru,
}

/// A Redis. Its password is mounted by the chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// `host:port` of each server.
    #[schemars(length(min = 1, max = 16), inner(length(min = 3, max = 261)))]
    pub hosts: Vec<String>,
    /// Key in the chart's `objectStores` whose Secret holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub secret: Option<String>,
    /// Most connections of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub pool_size: Option<u16>,
}

/// Compression of cache entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Least size of an entry that is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
}

/// Compression algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// A move from one tier to another.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.from != self.to").message("a transition's from and to must differ"))]
pub struct Transition {
    /// Name, unique in the policy.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Tier that the volume lies on.
    #[schemars(length(min = 1, max = 63))]
    pub from: String,
    /// Tier that the volume goes to.
    #[schemars(length(min = 1, max = 63))]
    pub to: String,
    /// What must hold, all of it.
    pub when: When,
}

/// Conditions of a transition; all that are named must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.olderThan) || has(self.notAccessedFor) || has(self.accessesPerDayBelow) || has(self.accessesPerDayAbove) || has(self.p99Above)").message("when names at least one condition"))]
pub struct When {
    /// Age of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Period>,
    /// Time since the last access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_accessed_for: Option<Period>,
    /// Fewer accesses a day than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accesses_per_day_below: Option<AccessRate>,
    /// More accesses a day than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accesses_per_day_above: Option<AccessRate>,
    /// 99th percentile of latency above this, such as `10ms`.
    #[serde(rename = "p99Above", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]{1,6}(us|ms|s)$"))]
    pub p99_above: Option<String>,
}

/// Accesses a day, averaged over a window.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessRate {
    /// Accesses a day. The API server lets a whole 0 pass a fractional `minimum`, hence the rule.
    #[schemars(range(max = 1_000_000_000.0))]
    #[x_kube(validation = Rule::new("self > 0.0").message("a number of accesses a day must be above 0"))]
    pub value: f64,
    /// Window: at least 1/value days, else a single access could not be told from none.
    pub window: Period,
}

/// What may be done to a Pod that has the volume mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Disruption {
    /// Volumes that were mounted once never move.
    Never,
    /// A volume moves while no Pod has it.
    #[default]
    WhenUnmounted,
    /// Pods are evicted through the Eviction API.
    Evict,
}

/// How a tiering policy fares.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TieringPolicyStatus {
    /// Each transition's count and last reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub transitions: Vec<RunStatus>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What a rule or a transition has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Name of the rule or transition.
    pub name: String,
    /// Files or volumes that matched in the last run.
    #[serde(default)]
    pub matched: u64,
    /// Files or volumes acted on in the last run; 0 in DryRun.
    #[serde(default)]
    pub acted: u64,
    /// Bytes acted on in the last run.
    #[serde(default)]
    pub bytes: u64,
    /// Why the last run ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
    /// Start of the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Time>,
    /// Start of the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
}
