//! Who is who on this node, made from its Pods, their claims and the volumes of those. Pure: objects in, one list out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};
use sha2::{Digest, Sha256};
use terrace_crds::StorageVolume;
use terrace_probe_abi::wire::{Device, DirectoryName, InlineVolume, Names, PodName, VolumeName};

/// A mirror Pod names the static Pod whose folder the kubelet keeps.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Pods that are told of a volume, at most.
const TOLD: usize = 16;

/// A Pod, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// UID of its folder at the kubelet.
    pub folder: String,
    /// UID of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Claims that it names.
    pub claims: Vec<String>,
    /// CSI volumes that are part of its own text, as it calls them.
    pub inline: Vec<String>,
}

impl PodFacts {
    /// Of a Pod; `None` of one that the API server has not named yet.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let uid = pod.metadata.uid.clone()?;
        let name = pod.metadata.name.clone()?;
        let mirrored = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(MIRROR));
        let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let claims = volumes().filter_map(|volume| claim_of(&name, volume)).collect();
        let inline = volumes().filter(|volume| volume.csi.is_some());
        let inline = inline.map(|volume| volume.name.clone()).collect();
        Some(Self {
            folder: mirrored.cloned().unwrap_or_else(|| uid.clone()),
            uid,
            namespace: pod.metadata.namespace.clone()?,
            name,
            claims,
            inline,
        })
    }
}

/// The claim that a volume of a Pod names; of a generic ephemeral one Kubernetes makes it, named after both.
fn claim_of(pod: &str, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{pod}-{}", volume.name)),
        (None, None) => None,
    }
}

/// A claim and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// UID of the claim.
    pub claim_uid: Option<String>,
    /// Its class.
    pub storage_class: Option<String>,
    /// Its PersistentVolume.
    pub pv_name: String,
    /// That one's driver.
    pub driver: String,
    /// SHA-256 of its handle: the name of the folder that it is staged in.
    pub handle_sha256: String,
    /// Whether Pods open a block device.
    pub kind: Kind,
}

/// How a Pod gets a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As a folder.
    Filesystem,
    /// As a block device.
    Block,
}

impl Binding {
    /// Of a claim and its volume; `None` of a volume that no CSI driver serves.
    #[must_use]
    pub fn of(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Self> {
        let spec = volume.spec.as_ref()?;
        let source = spec.csi.as_ref()?;
        let is_block = spec.volume_mode.as_deref() == Some("Block");
        Some(Self {
            claim_uid: claim.metadata.uid.clone(),
            storage_class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
            pv_name: volume.metadata.name.clone()?,
            driver: source.driver.clone(),
            handle_sha256: hex(&Sha256::digest(source.volume_handle.as_bytes())),
            kind: if is_block { Kind::Block } else { Kind::Filesystem },
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a StorageVolume's PersistentVolume.
#[must_use]
pub fn pv_name(volume: &StorageVolume) -> Option<&str> {
    volume.spec.csi_name.as_deref().or(volume.metadata.name.as_deref())
}

/// What a StorageVolume says of its latency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// The target it names.
    pub target_ns: Option<u64>,
}

impl Own {
    /// By the PersistentVolume.
    #[must_use]
    pub fn of(volume: &StorageVolume) -> Option<(String, Self)> {
        let target = volume.spec.latency_target.as_ref();
        let target = target.and_then(|target| target.p99.duration().ok());
        let target_ns = target.and_then(|target| u64::try_from(target.as_nanos()).ok());
        let name = volume.metadata.name.clone()?;
        Some((pv_name(volume)?.to_owned(), Self { name, target_ns }))
    }
}

/// Everything that names are made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The Pods of this node.
    pub pods: &'a [PodFacts],
    /// What their claims are bound to, by UID of the Pod and name of the claim.
    pub bindings: &'a BTreeMap<(String, String), Binding>,
    /// StorageVolumes of this node, by PersistentVolume.
    pub own: &'a BTreeMap<String, Own>,
    /// The target of what names none.
    pub default_target_ns: Option<u64>,
    /// Devices of raw block volumes, by PersistentVolume.
    pub devices: &'a BTreeMap<String, Device>,
    /// Folders of the host.
    pub directories: &'a [DirectoryName],
}

/// A Pod that uses a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// UID of the object.
    pub uid: String,
}

/// Whom a volume's owners are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// UID of the claim.
    pub claim_uid: Option<String>,
    /// Pods of this node, by name.
    pub pods: Vec<User>,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// As the probe is told.
    pub names: Names,
    /// Owners, by PersistentVolume.
    pub owners: BTreeMap<String, Owners>,
}

impl Known {
    /// The volume of this PersistentVolume.
    #[must_use]
    pub fn volume(&self, pv_name: &str) -> Option<&VolumeName> {
        let volumes = &self.names.volumes;
        let at = volumes.binary_search_by(|volume| volume.pv_name.as_str().cmp(pv_name)).ok()?;
        volumes.get(at)
    }

    /// Claim and Pods that use it, for Events.
    #[must_use]
    pub fn references(&self, pv_name: &str) -> Vec<ObjectReference> {
        let (Some(volume), Some(owners)) = (self.volume(pv_name), self.owners.get(pv_name)) else {
            return Vec::new();
        };
        let reference = |kind: &str, name: &str, uid: Option<String>| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            namespace: Some(volume.namespace.clone()),
            name: Some(name.to_owned()),
            uid,
            ..ObjectReference::default()
        };
        let claim = reference("PersistentVolumeClaim", &volume.claim, owners.claim_uid.clone());
        let pods = owners.pods.iter().take(TOLD);
        let pods = pods.map(|pod| reference("Pod", &pod.name, Some(pod.uid.clone())));
        [claim].into_iter().chain(pods).collect()
    }
}

/// One list of all, sorted: the same objects give the same list.
#[must_use]
pub fn plan_known(facts: &Facts<'_>) -> Known {
    let mut pods: Vec<PodName> = facts.pods.iter().map(pod_name).collect();
    pods.sort_by(|one, two| one.uid.cmp(&two.uid));
    let mut volumes: BTreeMap<String, VolumeName> = BTreeMap::new();
    let mut owners: BTreeMap<String, Owners> = BTreeMap::new();
    for pod in facts.pods {
        for claim in &pod.claims {
            let Some(binding) = facts.bindings.get(&(pod.uid.clone(), claim.clone())) else {
                continue;
            };
            let pv = &binding.pv_name;
            let volume = volumes.entry(pv.clone());
            let volume = volume.or_insert_with(|| volume_name(facts, pod, claim, binding));
            if !volume.pod_uids.contains(&pod.folder) {
                volume.pod_uids.push(pod.folder.clone());
                let owners = owners.entry(pv.clone()).or_default();
                owners.claim_uid.clone_from(&binding.claim_uid);
                owners.pods.push(User { name: pod.name.clone(), uid: pod.uid.clone() });
            }
        }
    }
    volumes.values_mut().for_each(|volume| volume.pod_uids.sort());
    owners.values_mut().for_each(|owners| owners.pods.sort_by(|one, two| one.name.cmp(&two.name)));
    let mut inline_volumes: Vec<InlineVolume> = facts.pods.iter().flat_map(inline_of).collect();
    inline_volumes.sort_by(|one, two| (&one.pod_uid, &one.name).cmp(&(&two.pod_uid, &two.name)));
    let directories = facts.directories.to_vec();
    let volumes = volumes.into_values().collect();
    Known { names: Names { pods, volumes, inline_volumes, directories }, owners }
}

fn pod_name(pod: &PodFacts) -> PodName {
    PodName { uid: pod.folder.clone(), namespace: pod.namespace.clone(), name: pod.name.clone() }
}

fn inline_of(pod: &PodFacts) -> impl Iterator<Item = InlineVolume> {
    let named = |name: &String| InlineVolume { pod_uid: pod.folder.clone(), name: name.clone() };
    pod.inline.iter().map(named)
}

fn volume_name(facts: &Facts<'_>, pod: &PodFacts, claim: &str, binding: &Binding) -> VolumeName {
    let own = facts.own.get(&binding.pv_name);
    let target = own.and_then(|own| own.target_ns);
    VolumeName {
        pv_name: binding.pv_name.clone(),
        pod_uids: Vec::new(),
        namespace: pod.namespace.clone(),
        claim: claim.to_owned(),
        driver: binding.driver.clone(),
        storage_class: binding.storage_class.clone(),
        volume: own.map(|own| own.name.clone()),
        target_p99_ns: target.or(facts.default_target_ns),
        device: facts.devices.get(&binding.pv_name).copied(),
        handle_sha256: Some(binding.handle_sha256.clone()),
    }
}

#[cfg(test)]
#[path = "known/tests.rs"]
mod tests;
