//! One step on a model node, as written. A step that cannot be done on this node answers with a sentence.

use std::path::{Path, PathBuf};

use terrace_device_types::{
    Access, Bytes, DeviceRef, HostState, Latch, StageState, Step, Tag, VolumeUuid,
};

use crate::host::{Content, Image, Mount, Node, Unsynced};
use crate::ledger::Ledger;

/// How far a step came when the process died inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Whole,
    Half,
}

pub(crate) fn execute(
    node: &mut Node,
    step: &Step,
    reach: Reach,
    ledger: &mut Ledger,
) -> Result<(), String> {
    ledger.count("step");
    let shape = format!("{step:?}");
    ledger.count(shape.split([' ', '{']).next().unwrap_or_default());
    match step {
        Step::AllocateImage { image, size, tag } => allocate(node, image, *size, tag, ledger),
        Step::SyncDir { .. } => {
            node.unsynced.clear();
            Ok(())
        }
        Step::WriteState { image, volume, state } => {
            with_tag(node, image, *volume, |tag| tag.state = state.clone())
        }
        Step::WriteLatch { image, volume, latch } => {
            with_tag(node, image, *volume, |tag| tag.latch = latch.clone())
        }
        Step::WriteStage { image, volume, stage } => {
            with_tag(node, image, *volume, |tag| tag.stage = stage.clone())
        }
        Step::GrowImage { image, volume, to, .. } => {
            with_tag(node, image, *volume, |_| ())?;
            with(node, image, |image| image.size = image.size.max(*to))
        }
        Step::AttachLoop { image, volume, access, .. } => {
            with_tag(node, image, *volume, |_| ())?;
            with(node, image, |image| {
                image.attached = image.attached.or(Some((image.size, false, *access)))
            })
        }
        Step::SetAutoclear { image } => with(node, image, |image| {
            image.attached = image.attached.map(|(size, _, access)| (size, true, access))
        }),
        Step::ResizeLoop { image } => with(node, image, |image| {
            image.attached =
                image.attached.map(|(_, autoclear, access)| (image.size, autoclear, access));
        }),
        Step::MakeFilesystem { device, fs, uuid, .. } => {
            make(node, device, reach, ledger, |spans| match reach {
                Reach::Half => Content::Partial { fs: *fs, uuid: *uuid },
                Reach::Whole => {
                    Content::Made { fs: *fs, uuid: *uuid, spans, layout: false, mark: None }
                }
            })
        }
        Step::CheckFilesystem { .. } | Step::ProveSize { .. } => Ok(()),
        Step::GrowOffline { device } => on_device(node, device, span_device),
        Step::GrowFilesystem { device, .. } => on_device(node, device, span_device),
        Step::MountFilesystem { device, target, .. } => mount_filesystem(node, device, target),
        Step::MakeLayout { mount } => {
            let ino = mounted_at(node, mount).ok_or("not mounted")?.ino;
            let image = node.images.iter_mut().find(|image| image.ino == ino).ok_or("no image")?;
            match &mut image.content {
                Content::Made { layout, .. } => *layout = true,
                Content::Blank | Content::Partial { .. } => return Err("no filesystem".into()),
            }
            Ok(())
        }
        Step::MakeTarget { target, mode: _ } => {
            node.targets.insert(target.clone());
            Ok(())
        }
        Step::RemoveTarget { target } => {
            node.targets.remove(target);
            Ok(())
        }
        Step::BindMount { from, to, access, options: _ } => bind(node, from, to, *access),
        Step::BindDevice { device, to, access } => bind_device(node, device, to, *access),
        Step::Unmount { target } => {
            unmount(node, target);
            Ok(())
        }
        Step::DetachLoop { image } => detach(node, image),
        Step::MarkQuarantined { image, proof } => {
            let (volume, deletion) = (proof.volume(), proof.id().clone());
            let name = node.name.clone();
            with_tag(node, image, volume, |tag| tag.state = HostState::Quarantined { deletion })?;
            ledger.condemned(volume, &name);
            Ok(())
        }
        Step::RenameToQuarantine { image, to, .. } => rename(node, image, to),
        Step::EraseImage { image, .. } => with(node, image, |image| image.content = Content::Blank),
        Step::RemoveImage { image, .. } => remove(node, image, ledger),
        Step::RemoveUnfinished { image, volume } => remove_unfinished(node, image, *volume, ledger),
        Step::CloneImage { from, source, image, tag } => {
            copy(node, from, *source, image, tag, ledger)
        }
        Step::FreezeFilesystem { mount, .. } => {
            mounted_at(node, mount).ok_or("not mounted")?;
            node.frozen.insert(mount.clone());
            Ok(())
        }
        Step::ThawFilesystem { mount, .. } => {
            let stood = node.frozen.remove(mount);
            if stood { Ok(()) } else { Err("it did not stand still".into()) }
        }
        Step::EndFreeze { mount, .. } => {
            node.frozen.remove(mount);
            Ok(())
        }
        Step::SyncDevice { .. } => Ok(()),
        Step::CreateSubvolume { .. }
        | Step::SnapshotSubvolumes { .. }
        | Step::LimitSubvolume { .. }
        | Step::RemoveSubvolume { .. }
        | Step::RemoveUnfinishedSubvolume { .. }
        | Step::EnableQuota { .. }
        | Step::Lvm(_) => Err("not part of this model".into()),
        Step::WipeSignatures { .. }
        | Step::MakePoolDirectory { .. }
        | Step::WritePoolFile { .. } => Ok(()),
    }
}

fn with(node: &mut Node, path: &Path, change: impl FnOnce(&mut Image)) -> Result<(), String> {
    node.image(path).map(change).ok_or_else(|| format!("no image {}", path.display()))
}

fn with_tag(
    node: &mut Node,
    path: &Path,
    volume: VolumeUuid,
    change: impl FnOnce(&mut Tag),
) -> Result<(), String> {
    let image = node.image(path).ok_or_else(|| format!("no image {}", path.display()))?;
    let tag =
        image.tag.as_mut().filter(|tag| tag.volume == volume).ok_or("another volume's image")?;
    change(tag);
    Ok(())
}

fn allocate(
    node: &mut Node,
    path: &Path,
    size: Bytes,
    tag: &Tag,
    ledger: &mut Ledger,
) -> Result<(), String> {
    if node.image(path).is_some() {
        return Err("exists".into());
    }
    if size > node.free() {
        return Err("no space left on device".into());
    }
    let ino = node.fresh();
    let (path, tag) = (path.to_owned(), Some(tag.clone()));
    ledger.allocated(tag.as_ref().map(|tag| tag.volume).ok_or("no tag")?, &node.name);
    node.images.push(Image { path, ino, size, tag, content: Content::Blank, attached: None });
    node.unsynced.push(Unsynced::Appeared { ino });
    Ok(())
}

/// Shares every block of another image.
fn copy(
    node: &mut Node,
    from: &Path,
    source: VolumeUuid,
    path: &Path,
    tag: &Tag,
    ledger: &mut Ledger,
) -> Result<(), String> {
    if node.image(path).is_some() {
        return Err("exists".into());
    }
    with_tag(node, from, source, |_| ())?;
    let frozen = !node.frozen.is_empty();
    let (size, content, ino) = {
        let there = node.image(from).ok_or("no source")?;
        (there.size, there.content.clone(), there.ino)
    };
    let root = |mount: &&Mount| mount.ino == ino && mount.root == Path::new("/");
    if node.mounts.iter().any(|mount| root(&mount)) && !frozen {
        ledger.broke("copy", format!("{source} was copied while it was written"));
    }
    let ino = node.fresh();
    ledger.copied(tag.volume, source, &node.name);
    let (path, tag) = (path.to_owned(), Some(tag.clone()));
    node.images.push(Image { path, ino, size, tag, content, attached: None });
    node.unsynced.push(Unsynced::Appeared { ino });
    Ok(())
}

fn image_behind<'a>(node: &'a mut Node, device: &DeviceRef) -> Result<&'a mut Image, String> {
    let DeviceRef::LoopOf { image } = device else { return Err("no such disk".into()) };
    let found =
        node.images.iter_mut().find(|there| there.path == *image && there.attached.is_some());
    found.ok_or_else(|| "no loop device".into())
}

fn make(
    node: &mut Node,
    device: &DeviceRef,
    reach: Reach,
    ledger: &mut Ledger,
    content: impl FnOnce(Bytes) -> Content,
) -> Result<(), String> {
    let image = image_behind(node, device)?;
    let volume = image.tag.as_ref().map(|tag| tag.volume).ok_or("mkfs on an untagged image")?;
    if matches!(image.content, Content::Made { .. }) {
        ledger.broke("I2", format!("mkfs of {volume} over a filesystem"));
    }
    image.content = content(image.size);
    match reach {
        Reach::Whole => ledger.formatted(volume),
        Reach::Half => {}
    }
    Ok(())
}

fn on_device(node: &mut Node, device: &DeviceRef, change: fn(&mut Image)) -> Result<(), String> {
    image_behind(node, device).map(change)
}

fn span_device(image: &mut Image) {
    if let (Content::Made { spans, .. }, Some((size, _, _))) = (&mut image.content, image.attached)
    {
        *spans = size;
    }
}

fn mounted_at<'a>(node: &'a Node, path: &Path) -> Option<&'a Mount> {
    node.mounts.iter().rev().find(|mount| mount.at == path)
}

fn mount_filesystem(node: &mut Node, device: &DeviceRef, at: &Path) -> Result<(), String> {
    let image = image_behind(node, device)?;
    if !matches!(image.content, Content::Made { .. }) {
        return Err("wrong fs type".into());
    }
    let latched =
        image.tag.as_ref().is_some_and(|tag| matches!(tag.latch, Latch::Formatted { .. }));
    let ino = image.ino;
    if !latched {
        return Err("a first mount before the latch says formatted".into());
    }
    let (id, at) = (node.fresh(), at.to_owned());
    node.mounts.push(Mount { id, ino, at, root: PathBuf::from("/"), read_only: false });
    Ok(())
}

fn bind(node: &mut Node, from: &Path, to: &Path, access: Access) -> Result<(), String> {
    let from = from.parent().ok_or("no parent")?;
    let ino = mounted_at(node, from).ok_or("source is not mounted")?.ino;
    let (id, at) = (node.fresh(), to.to_owned());
    let read_only = access == Access::ReadOnly;
    node.mounts.push(Mount { id, ino, at, root: PathBuf::from("/data"), read_only });
    Ok(())
}

fn bind_device(
    node: &mut Node,
    device: &DeviceRef,
    to: &Path,
    access: Access,
) -> Result<(), String> {
    let ino = image_behind(node, device)?.ino;
    let (id, at) = (node.fresh(), to.to_owned());
    let root = PathBuf::from(format!("/loop{ino}"));
    node.mounts.push(Mount { id, ino, at, root, read_only: access == Access::ReadOnly });
    Ok(())
}

fn unmount(node: &mut Node, target: &Path) {
    node.mounts.retain(|mount| mount.at != target);
    node.frozen.remove(target);
    let held: Vec<u64> = node.mounts.iter().map(|mount| mount.ino).collect();
    for image in &mut node.images {
        // The last close clears an autoclear loop device.
        image.attached =
            image.attached.filter(|(_, autoclear, _)| !autoclear || held.contains(&image.ino));
    }
}

fn detach(node: &mut Node, path: &Path) -> Result<(), String> {
    let Some(ino) = node.image(path).map(|image| image.ino) else { return Ok(()) };
    if node.mounts.iter().any(|mount| mount.ino == ino) {
        return Err("loop device is busy".into());
    }
    with(node, path, |image| image.attached = None)
}

fn rename(node: &mut Node, from: &Path, to: &Path) -> Result<(), String> {
    let ino = node.image(from).map(|image| image.ino).ok_or("no image to rename")?;
    with(node, from, |image| image.path = to.to_owned())?;
    node.unsynced.push(Unsynced::Renamed { ino, from: from.to_owned() });
    Ok(())
}

fn remove(node: &mut Node, path: &Path, ledger: &mut Ledger) -> Result<(), String> {
    let at = node.images.iter().position(|image| image.path == path).ok_or("no image to remove")?;
    let image = node.images.remove(at);
    match image.tag.as_ref().map(|tag| &tag.state) {
        Some(HostState::Quarantined { .. }) => {}
        Some(HostState::Creating | HostState::Ready | HostState::Retained) | None => {
            ledger.broke("I1", format!("{} was removed and is not quarantined", path.display()));
        }
    }
    if node.mounts.iter().any(|mount| mount.ino == image.ino) {
        ledger.broke("I1", format!("{} was removed while mounted", path.display()));
    }
    node.unsynced.push(Unsynced::Removed { image: Box::new(image) });
    Ok(())
}

fn remove_unfinished(
    node: &mut Node,
    path: &Path,
    volume: VolumeUuid,
    ledger: &mut Ledger,
) -> Result<(), String> {
    let Some(image) = node.image(path) else { return Ok(()) };
    let tag = image.tag.clone().ok_or("untagged")?;
    // The executor's own check; an undo from the journal may name an image that went on living.
    if tag.volume != volume
        || tag.state != HostState::Creating
        || (tag.latch != Latch::None && tag.source.is_none())
        || tag.stage != StageState::Never
    {
        return Err("not unfinished".into());
    }
    if image.content != Content::Blank && tag.source.is_none() {
        ledger.broke("I1", format!("{volume} was taken back with bytes on it"));
    }
    let (ino, name) = (image.ino, node.name.clone());
    let at = node.images.iter().position(|image| image.ino == ino).ok_or("no image")?;
    let image = node.images.remove(at);
    ledger.life(volume).holders.retain(|holder| *holder != name);
    node.unsynced.push(Unsynced::Removed { image: Box::new(image) });
    Ok(())
}
