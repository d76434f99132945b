//! A claim that has no StorageVolume, in prose: what would be asked of Terrace, and which pools would do.
//! Pure: it reads the claim as CreateVolume would, by the operator's own functions.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use terrace_crds::Size;
use terrace_crds::names::DRIVER;

use crate::capability::{Access, AccessMode, Capability};
use crate::create::{CreateAsked, CreateError, ValidCreate, default_fs, validate_create};
use crate::explain::pools_for;
use crate::placement::Ask;
use crate::size::{Asked, Content, words};
use crate::topology::Topology;
use crate::world::{World, name_of};

/// Where the scheduler writes the node that it chose for a claim.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The text that `kubectl terrace explain` prints for a claim without a volume; `class` is its class, if there.
#[must_use]
pub fn explain_claim(
    world: &World,
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
) -> String {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let phase = phase.unwrap_or("new");
    let name = name_of(&claim.metadata);
    let mut text = format!("Claim {namespace}/{name} is {phase} and has no StorageVolume.\n\n");
    let asked = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let Some(class) = class else {
        let asked = asked.unwrap_or_default();
        let _ = writeln!(text, "There is no StorageClass {asked:?}: make it, or name another.");
        return text;
    };
    let class_name = name_of(&class.metadata);
    if class.provisioner != DRIVER {
        let other = &class.provisioner;
        let _ =
            writeln!(text, "StorageClass {class_name} is of provisioner {other}: not Terrace's.");
        return text;
    }
    text.push_str(&selected(claim, class));
    match valid(world, claim, class) {
        Ok(valid) => text.push_str(&would_ask(world, &valid)),
        Err(why) => {
            let _ = writeln!(text, "CreateVolume refuses it: {why}");
        }
    }
    text
}

/// Whether the scheduler has chosen a node, where the class waits for that.
fn selected(claim: &PersistentVolumeClaim, class: &StorageClass) -> String {
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    match (waits, selected_node(claim)) {
        (false, _) => String::new(),
        (true, Some(node)) => format!("The scheduler chose node {node} for it.\n"),
        (true, None) => {
            "Its class waits for a Pod: the volume is made once a Pod uses the claim and a node fits it.\n"
                .to_owned()
        }
    }
}

fn selected_node(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE)
}

/// What the provisioner would send.
fn valid(
    world: &World,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
) -> Result<ValidCreate, CreateError> {
    let spec = claim.spec.clone().unwrap_or_default();
    let parameters = class.parameters.clone().unwrap_or_default();
    let requisite = selected_node(claim).into_iter().cloned().collect();
    validate_create(CreateAsked {
        name: format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default()),
        size: size(&spec),
        capabilities: vec![Capability {
            mode: AccessMode::SingleNodeWriter,
            access: access(&spec, class),
        }],
        parameters: parameters.clone(),
        mutable: BTreeMap::new(),
        topology: Topology { requisite, preferred: Vec::new() },
        original: None,
        default_fs: default_fs(&world.pools, &parameters),
    })
}

fn size(spec: &PersistentVolumeClaimSpec) -> Asked {
    let resources = spec.resources.as_ref();
    let storage = |bounds: Option<&BTreeMap<String, _>>| {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity =
            bounds?.get("storage")?;
        quantity.0.parse::<Size>().ok()?.bytes().ok()
    };
    Asked {
        required: storage(resources.and_then(|r| r.requests.as_ref())).unwrap_or(0),
        limit: storage(resources.and_then(|r| r.limits.as_ref())).unwrap_or(0),
    }
}

fn access(spec: &PersistentVolumeClaimSpec, class: &StorageClass) -> Access {
    if spec.volume_mode.as_deref() == Some("Block") {
        return Access::Block;
    }
    let flags = class.mount_options.clone().unwrap_or_default();
    Access::Mount { fs_type: String::new(), flags }
}

fn would_ask(world: &World, valid: &ValidCreate) -> String {
    let ask = Ask {
        bytes: valid.granted.bytes,
        target: valid.parameters.target.clone(),
        topology: valid.topology.clone(),
        fs_type: match valid.content {
            Content::Filesystem(fs) => Some(fs),
            Content::Block => None,
        },
        erase: valid.parameters.erase,
        at: None,
    };
    let mut text = format!("It would ask for {} of {}.\n", words(ask.bytes), valid.content);
    for said in &valid.granted.said {
        let _ = writeln!(text, "  {said}");
    }
    text.push_str(&pools_for(world, &ask));
    text
}
