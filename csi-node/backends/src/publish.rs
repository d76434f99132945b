//! Publish and unpublish: the volume's `/data` (or its device node) at a Pod's path.

use std::path::Path;

use terrace_device_types::{
    Access, BindOptions, ClusterUid, MountPoint, Refusal, Sharing, StageState, Step, UseRefusal,
    View, VolumeMode, VolumeUuid,
};

use crate::check::{self, OurImage};
use crate::object::device_of;

/// What is asked.
pub(crate) struct Wanted<'a> {
    pub(crate) volume: VolumeUuid,
    pub(crate) cluster: &'a ClusterUid,
    pub(crate) staging: &'a Path,
    pub(crate) target: &'a Path,
    pub(crate) access: Access,
    pub(crate) sharing: Sharing,
}

/// Bound at the target.
pub(crate) fn plan_publish(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_path(wanted.staging)?;
    check::validate_path(wanted.target)?;
    let ours = check::require_image(view, wanted.volume, wanted.cluster)?;
    ours.require_volume("publish")?;
    ours.require_ready("publish")?;
    if !is_staged(wanted, ours, view) {
        let (volume, staging) = (wanted.volume, wanted.staging.to_owned());
        return Err(UseRefusal::NotStaged { volume, staging }.into());
    }
    if let Some(mount) = view.mount_at(wanted.target) {
        return validate_published(wanted, mount, view).map(|()| Vec::new());
    }
    if wanted.sharing == Sharing::Exclusive {
        refuse_second_place(wanted, view)?;
    }
    let (mode, to, access) = (ours.tag.mode, wanted.target.to_owned(), wanted.access);
    let bind = match mode {
        VolumeMode::Filesystem { .. } => Step::BindMount {
            from: wanted.staging.join("data"),
            to: to.clone(),
            access,
            options: BindOptions::Inherited,
        },
        VolumeMode::Block => Step::BindDevice { device: device_of(ours)?, to: to.clone(), access },
    };
    Ok(vec![Step::MakeTarget { target: to, mode }, bind])
}

fn is_staged(wanted: &Wanted<'_>, ours: OurImage<'_>, view: &View) -> bool {
    match ours.tag.mode {
        VolumeMode::Filesystem { .. } => {
            view.mount_at(wanted.staging).is_some_and(|mount| view.is_of_volume(mount))
        }
        VolumeMode::Block => {
            let (boot, target) = (view.boot.clone(), wanted.staging.to_owned());
            view.volume.has_device() && ours.tag.stage == StageState::At { boot, target }
        }
    }
}

fn validate_published(wanted: &Wanted<'_>, mount: &MountPoint, view: &View) -> Result<(), Refusal> {
    let target = wanted.target.to_owned();
    if !view.is_of_volume(mount) {
        return Err(UseRefusal::TargetOccupied { target, found: mount.source.clone() }.into());
    }
    let read_only = mount.options.iter().any(|option| option == "ro");
    if read_only != (wanted.access == Access::ReadOnly) {
        return Err(UseRefusal::OtherAccess { target }.into());
    }
    Ok(())
}

fn refuse_second_place(wanted: &Wanted<'_>, view: &View) -> Result<(), Refusal> {
    // A mount that shows the same as the staging path is no Pod's.
    let staged = view.mount_at(wanted.staging).map(|mount| &mount.root);
    let second = view
        .volume_mounts()
        .find(|mount| mount.at != wanted.staging && Some(&mount.root) != staged);
    match second {
        None => Ok(()),
        Some(mount) => {
            let (volume, at) = (wanted.volume, mount.at.clone());
            Err(UseRefusal::PublishedElsewhere { volume, at }.into())
        }
    }
}

/// Nothing at the target any more. It is the kubelet's own path, so what is mounted there goes, whatever became of the volume.
pub(crate) fn plan_unpublish(target: &Path, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_path(target)?;
    let target = target.to_owned();
    let mounted = view.mount_at(&target).is_some();
    let unmount = mounted.then(|| Step::Unmount { target: target.clone() });
    Ok(unmount.into_iter().chain([Step::RemoveTarget { target }]).collect())
}
