//! The words in which LVM is talked about: names, what was seen, what is to be made. Values only; `terrace_devices::lvm` looks and acts.
//!
//! A volume group is chosen by its UUID on devices that the call names, never by its name alone. A logical volume is chosen by its name *and* by what its tag
//! says ([`LvmTag`]): one of our name without our tag is somebody else's.

mod id;
mod make;
mod name;
mod seen;
mod status;
mod step;
mod tag;
mod thin_size;
mod view;

pub use id::{LvUuid, LvmIdError, PvUuid, VgUuid};
pub use make::{
    Gains, GroupRef, LvRef, NewGroup, NewPv, NewThinPool, NewVolume, PoolSize, VolumeKind,
};
pub use name::{LvName, LvmNameError, VgName};
pub use seen::{
    FolderView, GroupDevice, GroupPlace, GroupView, LvDevice, LvObject, LvSeen, ThinView,
};
pub use status::{DmStatus, DmTarget, PoolMode, RaidLeg, RaidStatus, ThinPoolStatus, Used};
pub use step::LvmStep;
pub use tag::{LvmTag, LvmTagError};
pub use thin_size::{InUse, METADATA_MOST, ThinRoom, chunk_for, metadata_for};
pub use view::{LabelView, LvKind, LvScope, LvView, PARTIAL, PvView, VgMark, VgView};

/// The logical volume that holds a pool's folder.
pub const FOLDER_LV: &str = "terrace-folder";
/// A pool's thin pool.
pub const THIN_LV: &str = "terrace-thin";
/// How large [`FOLDER_LV`] is.
pub const FOLDER_SIZE: crate::Bytes = crate::Bytes::mib(64);
