//! Every effect Terrace has on a host, one variant each. A step leaves its executor no choice, can be run twice, and is found again by looking.
//!
//! A step names a device by what it is of ([`DeviceRef`]): which number that got is looked up at the moment it is needed.

use std::path::PathBuf;
use std::time::Duration;

use crate::lvm::LvmStep;
use crate::{
    Access, Allocation, Bytes, DeletionId, DeletionProof, DeviceRef, Erase, FsType, FsUuid,
    HostState, Latch, PoolFile, PoolUuid, SectorSize, StageState, Tag, VolumeMode, VolumeUuid,
};

/// What must hold at the moment mkfs starts; the executor looks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatGuard {
    /// An image: its tag is of this volume, its latch `formatting`, its stage record `never`.
    Latch {
        /// The image.
        image: PathBuf,
        /// The volume.
        volume: VolumeUuid,
    },
    /// A disk for this pool: blank, and used by nobody.
    Blank {
        /// The pool.
        pool: PoolUuid,
    },
}

/// What is to be proven about a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// The filesystem.
    pub fs: FsType,
    /// The size of the device; the filesystem must span [`FsType::reachable`] of it.
    pub device_size: Bytes,
}

/// Options of a bind mount: they belong to the mount, not to the filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindOptions {
    /// Those of the mount it is taken from.
    Inherited,
    /// These and no other, whatever the mount has that it is taken from. Nothing is said of read-only here.
    Only {
        /// Such as `noatime` or `nosuid`, as `mount -o` takes them.
        options: Vec<String>,
    },
}

/// The longest that a freeze may last (I10): a Pod's writers wait meanwhile.
pub const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// One copy of a subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubvolumeCopy {
    /// The source's path (the directory).
    pub from: PathBuf,
    /// Whose the source must be.
    pub source: VolumeUuid,
    /// The new object's path.
    pub object: PathBuf,
    /// What it says about itself.
    pub tag: Box<Tag>,
}

/// One effect on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the image in one piece: unnamed file, space, tag, fsync, and only then its name.
    AllocateImage {
        /// Its path.
        image: PathBuf,
        /// Its length.
        size: Bytes,
        /// What it says about itself; `tag.allocation` decides whether the space is taken.
        tag: Box<Tag>,
    },
    /// Makes an image that shares every block with another (FICLONE): unnamed file, blocks, tag, fsync, and only then its name. It gets the source's length.
    CloneImage {
        /// The source's path.
        from: PathBuf,
        /// Whose the source must be.
        source: VolumeUuid,
        /// The new image.
        image: PathBuf,
        /// What it says about itself.
        tag: Box<Tag>,
    },
    /// Freezes a mounted volume: all is written, and writers wait. A watchdog thaws it after [`FREEZE_LIMIT`].
    FreezeFilesystem {
        /// Where it is mounted.
        mount: PathBuf,
        /// Its device.
        device: DeviceRef,
    },
    /// Ends a freeze. Fails if the watchdog had to: what was copied meanwhile is then no copy of one moment.
    ThawFilesystem {
        /// Where it is mounted.
        mount: PathBuf,
        /// Its device.
        device: DeviceRef,
    },
    /// Takes a freeze back; what is not frozen, or not mounted any more, is no error.
    EndFreeze {
        /// Where it is mounted.
        mount: PathBuf,
        /// Its device.
        device: DeviceRef,
    },
    /// Writes out what the page cache holds of a raw block volume's device.
    SyncDevice {
        /// The device.
        device: DeviceRef,
    },
    /// Makes a volume of a btrfs pool: a directory with the tag, an empty subvolume in it, durable, and only then its name.
    CreateSubvolume {
        /// The object's path (the directory).
        object: PathBuf,
        /// What it says about itself.
        tag: Box<Tag>,
    },
    /// Makes copies of subvolumes, all in one btrfs transaction: together they show one moment. Read-only where the tag says snapshot.
    SnapshotSubvolumes {
        /// Which.
        members: Vec<SubvolumeCopy>,
    },
    /// Sets the quota group's limit of a subvolume (bytes referenced) and reads it back.
    LimitSubvolume {
        /// The object's path.
        object: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// The limit.
        to: Bytes,
    },
    /// Removes a quarantined subvolume and its directory.
    RemoveSubvolume {
        /// The object's path.
        object: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
    },
    /// Removes a subvolume and its directory that are still `creating` and were never staged.
    RemoveUnfinishedSubvolume {
        /// The object's path.
        object: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
    },
    /// Switches classic quota groups on in a btrfs filesystem and waits for the first count.
    EnableQuota {
        /// The pool directory.
        dir: PathBuf,
    },
    /// Makes a directory's entries durable.
    SyncDir {
        /// The directory.
        dir: PathBuf,
    },
    /// Rewrites the tag's state. Not to `quarantined`: that is [`Step::MarkQuarantined`].
    WriteState {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// The new state.
        state: HostState,
    },
    /// Moves the latch forward, durably.
    WriteLatch {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// The new latch.
        latch: Latch,
    },
    /// Writes the stage record, durably.
    WriteStage {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// The new record.
        stage: StageState,
    },
    /// Lengthens the image; takes the space, or leaves it as it was.
    GrowImage {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// Its new length.
        to: Bytes,
        /// Whether the space is taken.
        allocation: Allocation,
    },
    /// Attaches a loop device with direct I/O. Not yet autoclear: see [`Step::SetAutoclear`].
    AttachLoop {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
        /// The sector size it shows.
        sector: SectorSize,
        /// Read-write or read-only.
        access: Access,
        /// `Reserved` switches discards off.
        allocation: Allocation,
    },
    /// Lets the loop device detach itself at the last close; set once the filesystem is mounted and holds it.
    SetAutoclear {
        /// The image.
        image: PathBuf,
    },
    /// Lets the loop device see the image's new length.
    ResizeLoop {
        /// The image.
        image: PathBuf,
    },
    /// Runs mkfs with a UUID of our choice, behind a guard.
    MakeFilesystem {
        /// The device.
        device: DeviceRef,
        /// Which.
        fs: FsType,
        /// The UUID it gets.
        uuid: FsUuid,
        /// What must hold.
        guard: FormatGuard,
    },
    /// Repairs what the filesystem's own preen may repair (ext4); xfs and btrfs replay their log when mounted.
    CheckFilesystem {
        /// The device.
        device: DeviceRef,
        /// Which.
        fs: FsType,
    },
    /// Grows an unmounted ext4 to its device (a full check first, as resize2fs demands).
    GrowOffline {
        /// The device.
        device: DeviceRef,
    },
    /// Mounts a filesystem that has this UUID.
    MountFilesystem {
        /// The device.
        device: DeviceRef,
        /// Which.
        fs: FsType,
        /// The UUID it must have.
        uuid: FsUuid,
        /// Where.
        target: PathBuf,
        /// Options as `mount -o` takes them.
        options: Vec<String>,
    },
    /// Makes `/data` and `/.terrace` (0700) in a mounted volume.
    MakeLayout {
        /// Where it is mounted.
        mount: PathBuf,
    },
    /// Makes the path a mount will cover: a directory, or an empty file for raw block.
    MakeTarget {
        /// The path.
        target: PathBuf,
        /// Which of the two.
        mode: VolumeMode,
    },
    /// Bind-mounts a directory.
    BindMount {
        /// From.
        from: PathBuf,
        /// To.
        to: PathBuf,
        /// Read-write or read-only.
        access: Access,
        /// What the new mount takes over from the old one.
        options: BindOptions,
    },
    /// Bind-mounts a device node over a file.
    BindDevice {
        /// The device.
        device: DeviceRef,
        /// To.
        to: PathBuf,
        /// Read-write or read-only (of the node; whether the device takes writes is the loop device's own flag).
        access: Access,
    },
    /// Grows a mounted filesystem to its device, by its ioctl.
    GrowFilesystem {
        /// Where it is mounted.
        mount: PathBuf,
        /// Which.
        fs: FsType,
        /// The device.
        device: DeviceRef,
    },
    /// Proves that the mounted filesystem spans that much, from its own geometry and statvfs; changes nothing.
    ProveSize {
        /// Where it is mounted.
        mount: PathBuf,
        /// The device.
        device: DeviceRef,
        /// What must hold.
        grown: Grown,
    },
    /// Unmounts every mount at the path; what is not mounted or gone is no error.
    Unmount {
        /// The path.
        target: PathBuf,
    },
    /// Removes an empty directory or file that a mount covered. Never anything else.
    RemoveTarget {
        /// The path.
        target: PathBuf,
    },
    /// Detaches the loop device, and proves that it is.
    DetachLoop {
        /// The image.
        image: PathBuf,
    },
    /// Writes into the tag that the deletion is proven. The point of no return.
    MarkQuarantined {
        /// The image.
        image: PathBuf,
        /// The proof.
        proof: DeletionProof,
    },
    /// Gives the image its quarantine name.
    RenameToQuarantine {
        /// The image.
        image: PathBuf,
        /// Its new path, in the same directory.
        to: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
    },
    /// Destroys the bytes.
    EraseImage {
        /// The image.
        image: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
        /// How.
        erase: Erase,
    },
    /// Unlinks the image.
    RemoveImage {
        /// The image.
        image: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
    },
    /// Unlinks an image that is still `creating` and was never staged: no Pod ever saw it.
    RemoveUnfinished {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
    },
    /// Wipes the signatures of a disk, if they are word for word what was permitted.
    WipeSignatures {
        /// The device.
        device: DeviceRef,
        /// What must be found on it.
        found: String,
    },
    /// What is done with LVM.
    Lvm(LvmStep),
    /// Makes the pool directory (0700), with its parents.
    MakePoolDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// Writes `terrace-pool.json`, atomically and durably; never over another's.
    WritePoolFile {
        /// The directory.
        dir: PathBuf,
        /// What it says.
        file: PoolFile,
    },
}
