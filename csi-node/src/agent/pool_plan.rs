//! Which folder or device each StoragePool gets on this node. Pure: pools, labels, devices and what was
//! known before go in; a claim or a refusal in words comes out. Of two pools that want one thing, the
//! older has it and both say so.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use terrace_crds::StoragePool;
use terrace_crds::pool::{
    DeviceChoice, DeviceSelector, LvmBackend, LvmThinBackend, StoragePoolSpec,
};
use terrace_device_types::{
    Allocation, BackendKind, ClusterUid, DeviceKind, DeviceView, PoolUuid, Wipe,
};
use uuid::Uuid;

use crate::journal::KnownPool;

/// In the place of a device or folder, of which a volume group has none that stays.
const GROUP: &str = "a volume group";

/// What a pool wants here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Directory(PathBuf),
    /// A disk of its own, mounted at the folder.
    Device {
        /// The disk.
        device: Box<DeviceView>,
        /// What may be wiped off it.
        wipe: Wipe,
        /// Its mount point.
        dir: PathBuf,
    },
    /// Disks of its own, as a volume group.
    Group {
        /// The disks that are there, and what may be wiped off each.
        devices: Vec<(DeviceView, Wipe)>,
        /// Those it names and that are not there, in words. None of a group that is yet to be made.
        absent: Vec<String>,
        /// Where the group's own folder is mounted.
        dir: PathBuf,
    },
}

impl Place {
    /// The pool's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        match self {
            Self::Directory(dir) | Self::Device { dir, .. } | Self::Group { dir, .. } => dir,
        }
    }

    /// The disks of its own, by their lasting ids.
    #[must_use]
    pub fn device_ids(&self) -> Vec<String> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::Device { device, .. } => vec![device.id.clone()],
            Self::Group { devices, .. } => {
                devices.iter().map(|(device, _)| device.id.clone()).collect()
            }
        }
    }
}

/// One pool on this node, as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// How it keeps volumes.
    pub backend: BackendKind,
    /// Whether images take their space at once.
    pub allocation: Allocation,
    /// What it gets, with its UUID here; or why it gets nothing.
    pub place: Result<(PoolUuid, Place), Refused>,
    /// Who else asks for the same.
    pub also: Option<String>,
}

/// Why a pool gets nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// None that is known here, or more than one.
    #[error(
        "it does not name exactly one backend of this release: use spec.file, spec.btrfs, spec.lvm or spec.lvmThin"
    )]
    NoBackend,
    /// Neither folder nor device.
    #[error("it names neither a directory nor a device")]
    NoPlace,
    /// Outside of what the admin of the node allows.
    #[error(
        "directory {dir} is not below one of this node's pool directories ({roots}): choose another, or add it to node.poolDirectories"
    )]
    OutsideRoots {
        /// What it names.
        dir: String,
        /// What is allowed.
        roots: String,
    },
    /// No such device here.
    #[error("no device of this node is {wanted}: see kubectl get snode -o yaml for what there is")]
    NoDevice {
        /// What was asked for.
        wanted: String,
    },
    /// An older pool has it.
    #[error("{what} belongs to pool {older}, which is older: name another")]
    Taken {
        /// The device or directory.
        what: String,
        /// Who has it.
        older: String,
    },
}

/// What the plan looks at.
#[derive(Debug)]
pub struct World<'a> {
    /// This node's name.
    pub node: &'a str,
    /// This node's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The cluster.
    pub cluster: &'a ClusterUid,
    /// Folders below which pools may lie.
    pub roots: &'a [PathBuf],
    /// Where disks of pools are mounted.
    pub mounts: &'a Path,
    /// The disks.
    pub devices: &'a [DeviceView],
    /// Pools that were made here before.
    pub known: &'a [KnownPool],
}

/// A claim for every pool that takes part, older pools first.
#[must_use]
pub fn plan_claims(pools: &[&StoragePool], world: &World<'_>) -> Vec<Claim> {
    let mut pools: Vec<&&StoragePool> =
        pools.iter().filter(|pool| selects(pool, world.labels)).collect();
    pools
        .sort_by_key(|pool| (pool.metadata.creation_timestamp.clone(), pool.metadata.name.clone()));
    let mut claims: Vec<Claim> = Vec::new();
    for pool in pools {
        let claim = plan_claim(pool, world, &claims);
        if let Err(Refused::Taken { older, what: _ }) = &claim.place {
            let both = claims.iter_mut().find(|other| other.name == *older);
            both.into_iter().for_each(|other| other.also = Some(claim.name.clone()));
        }
        claims.push(claim);
    }
    claims
}

fn selects(pool: &StoragePool, labels: &BTreeMap<String, String>) -> bool {
    let leaving = pool.metadata.deletion_timestamp.is_some();
    !leaving && pool.spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn plan_claim(pool: &StoragePool, world: &World<'_>, older: &[Claim]) -> Claim {
    let name = pool.metadata.name.clone().unwrap_or_default();
    let overprovision = pool.spec.file.as_ref().and_then(|file| file.overprovision);
    let sparse = overprovision.is_some_and(|factor| factor > 1.0);
    let allocation = if sparse { Allocation::Sparse } else { Allocation::Reserved };
    let named = named_backend(pool);
    let place = match &named {
        Some(named) => plan_place(pool, &name, *named, world, older),
        None => Err(Refused::NoBackend),
    };
    let backend = named.map_or(BackendKind::File, |(backend, _)| backend);
    Claim { name, tier: pool.spec.tier.clone(), backend, allocation, place, also: None }
}

/// The backend, and the folder it is to use if it names one.
fn named_backend(pool: &StoragePool) -> Option<(BackendKind, Option<&String>)> {
    let StoragePoolSpec { file, btrfs, lvm, lvm_thin, .. } = &pool.spec;
    match (file, btrfs, lvm, lvm_thin) {
        (Some(file), None, None, None) => Some((BackendKind::File, file.directory.as_ref())),
        (None, Some(btrfs), None, None) => Some((BackendKind::Btrfs, btrfs.directory.as_ref())),
        (None, None, Some(LvmBackend {}), None) => Some((BackendKind::Lvm, None)),
        // How much may be promised is the operator's.
        (None, None, None, Some(LvmThinBackend { overprovision: _ })) => {
            Some((BackendKind::LvmThin, None))
        }
        (Some(_) | None, _, _, _) => None,
    }
}

fn plan_place(
    pool: &StoragePool,
    name: &str,
    (backend, directory): (BackendKind, Option<&String>),
    world: &World<'_>,
    older: &[Claim],
) -> Result<(PoolUuid, Place), Refused> {
    match (backend, directory, pool.spec.devices.first()) {
        (BackendKind::Lvm | BackendKind::LvmThin, _, _) => plan_group(name, pool, world, older),
        (BackendKind::File | BackendKind::Btrfs, Some(directory), _) => {
            plan_directory(name, directory, world, older)
        }
        (BackendKind::File | BackendKind::Btrfs, None, Some(choice)) => {
            plan_device(name, (choice, pool), world, older)
        }
        (BackendKind::File | BackendKind::Btrfs, None, None) => Err(Refused::NoPlace),
    }
}

fn plan_directory(
    name: &str,
    directory: &str,
    world: &World<'_>,
    older: &[Claim],
) -> Result<(PoolUuid, Place), Refused> {
    let dir = normal(Path::new(directory));
    if !world.roots.iter().any(|root| dir.starts_with(normal(root)) && dir != normal(root)) {
        let roots: Vec<_> = world.roots.iter().map(|root| root.display().to_string()).collect();
        return Err(Refused::OutsideRoots { dir: directory.to_owned(), roots: roots.join(", ") });
    }
    for claim in older {
        let Ok((_, Place::Directory(taken))) = &claim.place else { continue };
        if dir.starts_with(taken) || taken.starts_with(&dir) {
            let what = format!("directory {}", dir.display());
            return Err(Refused::Taken { what, older: claim.name.clone() });
        }
    }
    let uuid = uuid_for(name, world, &dir.display().to_string());
    Ok((uuid, Place::Directory(dir)))
}

/// Every device that is named, and every unused one that a selector fits. The first time all that are named must be there: a group is made whole.
fn plan_group(
    name: &str,
    pool: &StoragePool,
    world: &World<'_>,
    older: &[Claim],
) -> Result<(PoolUuid, Place), Refused> {
    let uuid = uuid_for(name, world, GROUP);
    let known = world.known.iter().find(|known| known.uuid == uuid);
    let kept = known.map_or(&[][..], |known| &known.devices);
    let (mut devices, mut absent) = (Vec::new(), Vec::new());
    for choice in &pool.spec.devices {
        let mut found = false;
        for device in world.devices.iter().filter(|device| is_chosen(choice, device, kept)) {
            match (owner(device, older), &choice.id) {
                (None, _) => found = true,
                (Some(older), Some(_)) => {
                    return Err(Refused::Taken { what: format!("device {}", device.id), older });
                }
                (Some(_), None) => continue,
            }
            let wiped = (device.clone(), permitted(pool, device));
            if !devices.contains(&wiped) {
                devices.push(wiped);
            }
        }
        if !found {
            absent.push(words(choice));
        }
    }
    if devices.is_empty() || (known.is_none() && !absent.is_empty()) {
        return Err(Refused::NoDevice { wanted: absent.join(", nor ") });
    }
    devices.sort_by(|(one, _), (two, _)| one.id.cmp(&two.id));
    Ok((uuid, Place::Group { devices, absent, dir: world.mounts.join(uuid.to_string()) }))
}

fn is_chosen(choice: &DeviceChoice, device: &DeviceView, kept: &[String]) -> bool {
    match (&choice.id, &choice.selector) {
        (Some(id), _) => device.id == *id,
        (None, Some(selector)) => {
            let is_free = device.kind != DeviceKind::Loop && device.uses.is_empty();
            selected(device, selector) && (is_free || kept.contains(&device.id))
        }
        (None, None) => false,
    }
}

/// What spec.erase permits to wipe off a device.
fn permitted(pool: &StoragePool, device: &DeviceView) -> Wipe {
    let named = pool.spec.erase.iter().find(|erasure| erasure.device == device.id);
    named.map_or(Wipe::Never, |erasure| Wipe::IfFound { found: erasure.found.clone() })
}

fn plan_device(
    name: &str,
    (choice, pool): (&DeviceChoice, &StoragePool),
    world: &World<'_>,
    older: &[Claim],
) -> Result<(PoolUuid, Place), Refused> {
    let DeviceChoice { id, selector } = choice;
    // A pool that has a device keeps it: a selector that fits more than one must not wander.
    let kept = world.known.iter().find(|known| known.name == name);
    let kept = kept.and_then(|known| known.device.as_deref());
    let fits = |device: &&DeviceView| match (id, selector, kept) {
        (Some(id), _, _) => device.id == *id,
        (None, Some(_), Some(kept)) => device.id == kept,
        (None, Some(selector), None) => {
            // A loop device is taken only by who names it.
            device.kind != DeviceKind::Loop && selected(device, selector) && device.uses.is_empty()
        }
        (None, None, _) => false,
    };
    let free = |device: &&DeviceView| owner(device, older).is_none();
    let mut fitting: Vec<&DeviceView> = world.devices.iter().filter(fits).collect();
    fitting.sort_by(|one, two| one.id.cmp(&two.id));
    match (fitting.iter().copied().find(free), fitting.first()) {
        (Some(device), _) => {
            let uuid = uuid_for(name, world, &device.id);
            let dir = world.mounts.join(uuid.to_string());
            let wipe = permitted(pool, device);
            Ok((uuid, Place::Device { device: Box::new(device.clone()), wipe, dir }))
        }
        (None, Some(device)) => {
            let older = owner(device, older).unwrap_or_default();
            Err(Refused::Taken { what: format!("device {}", device.id), older })
        }
        (None, None) => Err(Refused::NoDevice { wanted: words(choice) }),
    }
}

fn owner(device: &DeviceView, older: &[Claim]) -> Option<String> {
    let has = |claim: &&Claim| match &claim.place {
        Ok((_, place)) => place.device_ids().contains(&device.id),
        Err(_) => false,
    };
    older.iter().find(has).map(|claim| claim.name.clone())
}

fn selected(device: &DeviceView, selector: &DeviceSelector) -> bool {
    let DeviceSelector { model, rotational, min_size } = selector;
    let least = min_size.as_ref().map_or(0, |size| size.bytes().unwrap_or(u64::MAX));
    model.as_ref().is_none_or(|model| device.model.as_ref() == Some(model))
        && rotational.is_none_or(|rotational| device.rotational == rotational)
        && device.size.0 >= least
}

fn words(choice: &DeviceChoice) -> String {
    let DeviceChoice { id, selector } = choice;
    if let Some(id) = id {
        return format!("{id:?}");
    }
    let Some(DeviceSelector { model, rotational, min_size }) = selector else {
        return "named".to_owned();
    };
    let parts = [
        model.as_ref().map(|model| format!("of model {model:?}")),
        rotational.map(|turns| if turns { "rotational" } else { "not rotational" }.to_owned()),
        min_size.as_ref().map(|size| format!("of at least {size}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("unused and {}", parts.join(" and "))
}

/// The pool's UUID here: what it was before in the same place, else derived, so that a crash before it
/// was written anywhere gives the same one again.
fn uuid_for(name: &str, world: &World<'_>, place: &str) -> PoolUuid {
    let same = |known: &&KnownPool| {
        known.name == name
            && (known.device.as_deref() == Some(place) || known.dir == Path::new(place))
    };
    if let Some(known) = world.known.iter().find(same) {
        return known.uuid;
    }
    let text = [world.cluster.as_str(), world.node, name, place].join("\n");
    PoolUuid(Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes()))
}

/// The path without `.` and repeated `/`; `..` is refused by the API and kept here so that it fits no root.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
#[path = "pool_plan/tests.rs"]
mod tests;
