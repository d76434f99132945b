//! A step as one line of prose: the same words in a golden, an Event and `kubectl terrace explain`.

use std::fmt;
use std::path::Path;

use crate::{Access, Allocation, BindOptions, Erase, FREEZE_LIMIT, FormatGuard, Step, VolumeMode};

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
        })
    }
}

const fn space(allocation: Allocation) -> &'static str {
    match allocation {
        Allocation::Reserved => "all space reserved",
        Allocation::Sparse => "space taken as it is written",
    }
}

fn at(path: &Path) -> std::path::Display<'_> {
    path.display()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllocateImage { image, size, tag } => {
                write!(f, "create image {} of {size}, {}", at(image), space(tag.allocation))
            }
            Self::CloneImage { from, source: _, image, tag: _ } => {
                write!(f, "create image {} that shares the blocks of {}", at(image), at(from))
            }
            Self::FreezeFilesystem { mount, device: _ } => {
                write!(f, "freeze {} for at most {} s", at(mount), FREEZE_LIMIT.as_secs())
            }
            Self::ThawFilesystem { mount, device: _ } => write!(f, "thaw {}", at(mount)),
            Self::EndFreeze { mount, device: _ } => {
                write!(f, "see that {} is not frozen", at(mount))
            }
            Self::SyncDevice { device } => write!(f, "write out the page cache of {device}"),
            Self::CreateSubvolume { object, tag: _ } => {
                write!(f, "create subvolume {}", at(object))
            }
            Self::SnapshotSubvolumes { members } => {
                f.write_str("in one transaction copy ")?;
                for (number, copy) in members.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}subvolume {} to {}", at(&copy.from), at(&copy.object))?;
                }
                Ok(())
            }
            Self::LimitSubvolume { object, volume: _, to } => {
                write!(f, "limit subvolume {} to {to}", at(object))
            }
            Self::RemoveSubvolume { object, deletion: _ } => {
                write!(f, "remove subvolume {}", at(object))
            }
            Self::RemoveUnfinishedSubvolume { object, volume: _ } => {
                write!(f, "remove subvolume {}, which was never used", at(object))
            }
            Self::EnableQuota { dir } => write!(f, "switch quota groups on in {}", at(dir)),
            Self::SyncDir { dir } => write!(f, "make the entries of {} durable", at(dir)),
            Self::WriteState { image, volume: _, state } => {
                write!(f, "tag {} as {state}", at(image))
            }
            Self::WriteLatch { image, volume: _, latch } => {
                write!(f, "set the format latch of {} to {latch}", at(image))
            }
            Self::WriteStage { image, volume: _, stage } => {
                write!(f, "write the stage record of {}: {stage}", at(image))
            }
            Self::GrowImage { image, volume: _, to, allocation } => {
                write!(f, "grow image {} to {to}, {}", at(image), space(*allocation))
            }
            Self::AttachLoop { image, volume: _, sector, access, allocation } => {
                let sector = sector.bytes();
                let discard = match allocation {
                    Allocation::Reserved => "without discards",
                    Allocation::Sparse => "with discards",
                };
                let image = at(image);
                write!(
                    f,
                    "attach a loop device to {image}, {access}, direct I/O, {sector}-byte sectors, {discard}"
                )
            }
            Self::SetAutoclear { image } => {
                write!(f, "let the loop device of {} detach itself when unmounted", at(image))
            }
            Self::ResizeLoop { image } => {
                write!(f, "let the loop device of {} see its new size", at(image))
            }
            Self::MakeFilesystem { device, fs, uuid, guard } => {
                let guard = match guard {
                    FormatGuard::Latch { .. } => "latched, never staged and blank",
                    FormatGuard::Blank { .. } => "blank and unused",
                };
                write!(f, "make {fs} {uuid} on {device}, which must be {guard}")
            }
            Self::CheckFilesystem { device, fs } => write!(f, "check {fs} on {device}"),
            Self::GrowOffline { device } => {
                write!(f, "grow ext4 on {device} to its device, unmounted")
            }
            Self::MountFilesystem { device, fs, uuid, target, options } => {
                let options =
                    if options.is_empty() { "defaults".to_owned() } else { options.join(",") };
                write!(f, "mount {fs} {uuid} of {device} at {} ({options})", at(target))
            }
            Self::MakeLayout { mount } => {
                write!(f, "see to data and .terrace in {}", at(mount))
            }
            Self::MakeTarget { target, mode } => match mode {
                VolumeMode::Filesystem { .. } => write!(f, "make directory {}", at(target)),
                VolumeMode::Block => write!(f, "make file {}", at(target)),
            },
            Self::BindMount { from, to, access, options } => {
                write!(f, "bind {} to {}, {access}", at(from), at(to))?;
                match options {
                    BindOptions::Inherited => Ok(()),
                    BindOptions::Only { options } => write!(f, " ({})", options.join(",")),
                }
            }
            Self::BindDevice { device, to, access } => {
                write!(f, "bind {device} to {}, {access}", at(to))
            }
            Self::GrowFilesystem { mount, fs, device } => {
                write!(f, "grow {fs} at {} to {device}", at(mount))
            }
            Self::ProveSize { mount, device: _, grown } => {
                let (fs, size) = (grown.fs, grown.device_size);
                write!(f, "prove that {fs} at {} spans its device of {size}", at(mount))
            }
            Self::Unmount { target } => write!(f, "unmount {}", at(target)),
            Self::RemoveTarget { target } => write!(f, "remove the empty {}", at(target)),
            Self::DetachLoop { image } => write!(f, "detach the loop device of {}", at(image)),
            Self::MarkQuarantined { image, proof } => {
                write!(f, "tag {} as quarantined: deletion {} is proven", at(image), proof.id())
            }
            Self::RenameToQuarantine { image, to, deletion: _ } => {
                write!(f, "rename {} to {}", at(image), at(to))
            }
            Self::EraseImage { image, deletion: _, erase } => match erase {
                Erase::Zeros => write!(f, "write zeros over {}", at(image)),
                Erase::No => write!(f, "leave the bytes of {} as they are", at(image)),
            },
            Self::RemoveImage { image, deletion: _ } => write!(f, "remove {}", at(image)),
            Self::RemoveUnfinished { image, volume: _ } => {
                write!(f, "remove {}, which was never used", at(image))
            }
            Self::WipeSignatures { device, found } => {
                write!(f, "wipe {found:?} from {device}, as permitted")
            }
            Self::Lvm(step) => step.fmt(f),
            Self::MakePoolDirectory { dir } => write!(f, "make pool directory {}", at(dir)),
            Self::WritePoolFile { dir, file } => {
                write!(f, "mark {} as pool {} ({})", at(dir), file.pool, file.pool_uuid)
            }
        }
    }
}
