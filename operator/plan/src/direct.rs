//! A Direct volume that lies nowhere yet: its identity, what it adopts, and every reason to make nothing. Pure.
//! Old data is handed out only where `spec.adopt` names it; where it is not found, nothing is made in its place.

use terrace_crds::names::is_dns_label;
use terrace_crds::node::{HostVolume, HostVolumeState};
use terrace_crds::volume::{Assignment, ClaimRef, FsType, Origin, VolumeMode};
use terrace_crds::{Size, StorageNode, StorageVolume};

use crate::bound::is_let_go;
use crate::capability::{
    Access, AccessMode, Capability, DEFAULT_FILESYSTEM, validate_capabilities,
};
use crate::create::{minimum_of, own_filesystem};
use crate::direct_claim::judge_claim;
use crate::direct_error::DirectError;
use crate::effect::{Effect, ObjectRef};
use crate::listed::Key;
use crate::parameters::Target;
use crate::size::{Asked, Content, Rounding, plan_size};
use crate::space::{bytes, observe_spaces, wanted};
use crate::volume::{listings_of, target_of};
use crate::world::{World, name_of};

/// What comes next for a volume that may be made.
pub(crate) enum New {
    /// This, and why.
    Do(Box<Effect>, &'static str),
    /// A place is looked for.
    Place,
}

/// What comes next, or why nothing is made.
pub(crate) fn plan_new(world: &World, volume: &StorageVolume) -> Result<New, DirectError> {
    let name = name_of(&volume.metadata);
    if !is_dns_label(name) {
        return Err(DirectError::Name);
    }
    // The schema demands a claim.
    let Some(claim) = &volume.spec.claim_ref else { return Err(DirectError::Name) };
    let unseen = || DirectError::NotLooked { claim: claim.clone() };
    let looked = world.looked.get(name).ok_or_else(unseen)?;
    judge_claim(volume, claim, looked)?;
    if let Some(what) = looked.stranger.clone() {
        return Err(DirectError::Stranger { name: name.to_owned(), what });
    }
    refuse_rival(world, volume, claim)?;
    let own = volume.spec.volume_uuid.as_ref().or(volume.spec.adopt.as_ref());
    let uuid = own.or(looked.uuid.as_ref()).ok_or_else(unseen)?;
    let kept = find_kept(world, volume, uuid)?;
    let content = content(world, volume, kept.map(|(_, host)| host));
    let own = own_filesystem(&world.pools, &target_of(volume));
    validate(volume, content, own, kept.map(|(_, host)| host))?;
    let unnamed = volume.spec.fs_type.is_none().then(|| filesystem(content)).flatten();
    if volume.spec.volume_uuid.is_none() || unnamed.is_some() {
        let (uuid, at) = (uuid.clone(), ObjectRef::of(&volume.metadata));
        let name = Effect::NameVolume { volume: at, uuid, fs_type: unnamed };
        return Ok(New::Do(Box::new(name), "its identity stands before its place"));
    }
    match kept {
        Some((node, host)) => plan_adopt(world, volume, node, host),
        None => Ok(New::Place),
    }
}

/// Of two volumes for one claim the older has it; one whose claim is gone asks for nothing.
fn refuse_rival(
    world: &World,
    volume: &StorageVolume,
    claim: &ClaimRef,
) -> Result<(), DirectError> {
    let age = |of: &StorageVolume| {
        let born = of.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (of.spec.assignment.is_none(), born, name_of(&of.metadata).to_owned())
    };
    let rivals = world.volumes.iter().filter(|other| {
        other.metadata.name != volume.metadata.name
            && other.spec.origin == Origin::Direct
            && other.spec.claim_ref.as_ref() == Some(claim)
            && other.metadata.deletion_timestamp.is_none()
            && !is_let_go(other)
    });
    match rivals.min_by_key(|other| age(other)) {
        Some(first) if age(first) < age(volume) => {
            let other = name_of(&first.metadata).to_owned();
            Err(DirectError::Rival { claim: claim.clone(), other })
        }
        Some(_) | None => Ok(()),
    }
}

/// The host object to adopt; `None` where none is asked for and none is there.
fn find_kept<'a>(
    world: &'a World,
    volume: &StorageVolume,
    uuid: &str,
) -> Result<Option<(&'a StorageNode, &'a HostVolume)>, DirectError> {
    let uuid_of = |other: &StorageVolume| other.spec.volume_uuid.as_deref() == Some(uuid);
    let mut others = world.volumes.candidates(Key::Bytes(uuid)).filter(|other| uuid_of(other));
    if let Some(other) = others.find(|other| other.metadata.name != volume.metadata.name) {
        let (uuid, other) = (uuid.to_owned(), name_of(&other.metadata).to_owned());
        return Err(DirectError::AnotherHas { uuid, other });
    }
    let found = listings_of(world, uuid);
    let Some((node, host)) = found.first().copied() else {
        return match &volume.spec.adopt {
            Some(_) => Err(DirectError::NotListed { uuid: uuid.to_owned() }),
            None => Ok(None),
        };
    };
    let on = name_of(&node.metadata).to_owned();
    let uuid = uuid.to_owned();
    if volume.spec.adopt.is_none() {
        return Err(DirectError::NeedsAdopt { node: on, uuid });
    }
    if found.len() > 1 {
        let nodes: Vec<&str> = found.iter().map(|(node, _)| name_of(&node.metadata)).collect();
        return Err(DirectError::Several { nodes: nodes.join(", "), uuid });
    }
    match host.state {
        HostVolumeState::Ready | HostVolumeState::Retained => {}
        HostVolumeState::Creating | HostVolumeState::Quarantined | HostVolumeState::Unreadable => {
            let state = format!("{:?}", host.state);
            return Err(DirectError::Unusable { node: on, uuid, state });
        }
    }
    if host.name != name_of(&volume.metadata) {
        return Err(DirectError::OtherName { uuid, name: host.name.clone() });
    }
    Ok(Some((node, host)))
}

/// What it holds: as asked, else what is there, else what the pool makes.
fn content(world: &World, volume: &StorageVolume, kept: Option<&HostVolume>) -> Content {
    match (volume.spec.volume_mode, volume.spec.fs_type) {
        (VolumeMode::Block, _) => Content::Block,
        (VolumeMode::Filesystem, Some(fs)) => Content::Filesystem(fs),
        (VolumeMode::Filesystem, None) => {
            let there = kept.and_then(|host| host.fs_type);
            Content::Filesystem(
                there.unwrap_or_else(|| own_filesystem(&world.pools, &target_of(volume))),
            )
        }
    }
}

fn filesystem(content: Content) -> Option<FsType> {
    match content {
        Content::Filesystem(fs) => Some(fs),
        Content::Block => None,
    }
}

fn validate(
    volume: &StorageVolume,
    content: Content,
    own: FsType,
    kept: Option<&HostVolume>,
) -> Result<(), DirectError> {
    let access = match content {
        Content::Block => Access::Block,
        Content::Filesystem(fs) => {
            let flags = volume.spec.mount_options.clone();
            Access::Mount { fs_type: fs.as_str().to_owned(), flags }
        }
    };
    validate_capabilities(
        &[Capability { mode: AccessMode::SingleNodeWriter, access }],
        None,
        DEFAULT_FILESYSTEM,
    )?;
    if let Some(host) = kept {
        return validate_kept(content, host);
    }
    let asked = Asked { required: bytes(&volume.spec.capacity), limit: 0 };
    let minimum = minimum_of(content, own);
    let granted = plan_size(asked, content, minimum)?;
    let small = |said: &Rounding| match said {
        Rounding::Defaulted { .. } | Rounding::Raised { .. } | Rounding::Copied { .. } => true,
        Rounding::Aligned { .. } => false,
    };
    if granted.said.iter().any(small) {
        Err(DirectError::Small { content, minimum })
    } else {
        Ok(())
    }
}

/// What a node of an earlier release lists does not say what it holds; the node looks again at each mount.
fn validate_kept(asked: Content, host: &HostVolume) -> Result<(), DirectError> {
    let has = match (host.volume_mode, host.fs_type) {
        (None, _) | (Some(VolumeMode::Filesystem), None) => return Ok(()),
        (Some(VolumeMode::Block), _) => Content::Block,
        (Some(VolumeMode::Filesystem), Some(fs)) => Content::Filesystem(fs),
    };
    if has == asked {
        return Ok(());
    }
    Err(DirectError::OtherContent { uuid: host.uuid.clone(), has, asked })
}

/// Where the bytes are, with as much reserved as they take, or as was asked if that is more.
fn plan_adopt(
    world: &World,
    volume: &StorageVolume,
    node: &StorageNode,
    host: &HostVolume,
) -> Result<New, DirectError> {
    let on = name_of(&node.metadata).to_owned();
    let here = |uuid: Option<&String>| uuid == Some(&host.pool_uuid);
    let spaces = observe_spaces(world);
    let space = spaces.iter().find(|space| space.node == on && here(space.pool.uuid.as_ref()));
    let there = bytes(&host.size);
    let size = wanted(volume).max(there);
    let pool = space.map_or_else(|| host.pool_uuid.clone(), |space| space.pool.name.clone());
    if let Some(space) = space {
        let tier = space.pool.tier.clone();
        let asked = match target_of(volume) {
            Target::Pool(name) => name == pool,
            Target::Tier(name) => name == tier,
            Target::Any => true,
        };
        if !asked {
            let uuid = host.uuid.clone();
            return Err(DirectError::OtherPool { uuid, node: on, pool, tier });
        }
        let (more, free) = (size.saturating_sub(there), space.free());
        if more > free {
            return Err(DirectError::NoSpace { place: format!("{on}/{pool}"), more, free });
        }
    }
    let capacity = Some(Size::from_bytes(size));
    let assignment = Assignment { node: on, pool_uuid: host.pool_uuid.clone(), capacity };
    let at = ObjectRef::of(&volume.metadata);
    let adopt = Effect::AssignVolume { volume: at, assignment, pool, bytes: size };
    Ok(New::Do(Box::new(adopt), "adopted, as spec.adopt asks"))
}
