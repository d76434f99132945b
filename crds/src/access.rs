//! What each service account may do, with the reason: the one table from which the chart's RBAC is rendered.
//! A verb that no code needs is a fault.

/// One line of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources, with `/status` where the subresource is meant.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Where it holds.
    pub scope: Scope,
    /// What it is for.
    pub reason: &'static str,
}

/// Where a permission holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace, and cluster-scoped objects.
    Cluster,
    /// The release's namespace.
    Release,
}

/// A service account and what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Name of the service account, role and binding.
    pub name: &'static str,
    /// Its permissions.
    pub permissions: &'static [Permission],
}

const fn cluster(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    reason: &'static str,
) -> Permission {
    Permission { group, resources, verbs, scope: Scope::Cluster, reason }
}

const TERRACE: &str = "terrace.storage";
const READ: &[&str] = &["get", "list", "watch"];

/// Every role.
pub const ROLES: &[Role] = &[
    Role {
        name: "terrace-operator",
        permissions: &[
            cluster(
                TERRACE,
                &["storagevolumes"],
                &["get", "list", "watch", "create", "patch", "delete"],
                "make, assign, grow and delete volumes",
            ),
            cluster(
                TERRACE,
                &["storagesnapshots"],
                &["get", "list", "watch", "create", "patch", "delete"],
                "make, assign and delete snapshots",
            ),
            cluster(
                TERRACE,
                &[
                    "storagevolumes/status",
                    "storagesnapshots/status",
                    "storagepools/status",
                    "tieringpolicies/status",
                    "lifecyclepolicies/status",
                ],
                &["patch"],
                "report",
            ),
            cluster(
                TERRACE,
                &["storagepools"],
                &["get", "list", "watch", "patch"],
                "read pools; hold the finalizer of a pool with volumes",
            ),
            cluster(
                TERRACE,
                &["storagenodes", "tieringpolicies", "lifecyclepolicies"],
                READ,
                "read what nodes offer and what policies ask for",
            ),
            cluster(
                "",
                &["persistentvolumes", "nodes"],
                READ,
                "adopt a volume whose PV exists; place on nodes that exist",
            ),
            cluster(
                "",
                &["persistentvolumes"],
                &["create", "patch"],
                "make the PV of a Direct volume; give one that was let go to its new claim",
            ),
            cluster(
                "",
                &["persistentvolumeclaims"],
                &["get", "create", "patch"],
                "UID of the claim that an Event tells; make the claim of a Direct volume, and grow it with the volume",
            ),
            cluster(
                "",
                &["namespaces"],
                &["get"],
                "UID of kube-system: the cluster's identity; whether a Direct volume's claim can be made",
            ),
            cluster("events.k8s.io", &["events"], &["create", "patch"], "tell the claim's owner"),
            Permission {
                group: "coordination.k8s.io",
                resources: &["leases"],
                verbs: &["get", "create", "update"],
                scope: Scope::Release,
                reason: "elect one leader",
            },
        ],
    },
    Role {
        name: "terrace-node",
        permissions: &[
            cluster(
                TERRACE,
                &["storagevolumes"],
                &["get", "list", "watch", "patch"],
                "see what is assigned here; drop the node's finalizer",
            ),
            cluster(
                TERRACE,
                &["storagesnapshots"],
                &["get", "list", "watch", "patch"],
                "see which snapshots are taken here; drop the node's finalizer",
            ),
            cluster(
                TERRACE,
                &["storagevolumes/status", "storagesnapshots/status"],
                &["get", "patch"],
                "report",
            ),
            cluster(TERRACE, &["storagepools"], READ, "see which disks and folders to use"),
            cluster(
                TERRACE,
                &["storagenodes"],
                &["get", "create", "patch"],
                "make this node's StorageNode",
            ),
            cluster(TERRACE, &["storagenodes/status"], &["get", "patch"], "report"),
            cluster(
                "",
                &["persistentvolumes"],
                &["get", "list"],
                "proof before destruction: is the PV gone or released; does any name a leftover; driver and handle of what a Pod uses",
            ),
            cluster(
                "",
                &["pods"],
                &["list", "watch"],
                "Pods of this node alone, by field selector: whose volumes the probe measures",
            ),
            cluster(
                "",
                &["persistentvolumeclaims"],
                &["get"],
                "which volume a claim of such a Pod is bound to",
            ),
            cluster(
                "apiextensions.k8s.io",
                &["customresourcedefinitions"],
                &["get"],
                "nothing is swept while a kind is being deleted",
            ),
            cluster("", &["nodes"], &["get"], "labels of this node, for pool selectors"),
            cluster("", &["namespaces"], &["get"], "UID of kube-system: the cluster's identity"),
            cluster(
                "events.k8s.io",
                &["events"],
                &["create", "patch"],
                "tell the claim's owner, and Pods whose volume is slow or fails",
            ),
        ],
    },
];
