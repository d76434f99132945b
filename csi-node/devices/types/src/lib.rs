//! terrace-device-types: the words in which a node talks about its storage.
//!
//! ```text
//!   observe (terrace-devices) ->  View  -+
//!                                        +-> plan (terrace-backends) -> Vec<Step> -> execute (terrace-devices)
//!   ask (terrace-node)        -> Intent -+                          \-> Refusal
//! ```
//! Every type here is a value. This crate may not open a file, start a process, read a clock or draw a random number:
//! what it says can be tested by comparing values, and the prose of a [`Step`] is the same in a golden, an Event and
//! `kubectl terrace explain`.
//!
//! # Rules that live here because every other crate must obey them
//! - The text of a [`Tag`] is written and parsed in one place ([`tag`]); what cannot be read is an error, never a guess.
//! - A [`Latch`] only moves forward ([`Latch::may_become`]): formatted once is formatted for ever.
//! - A [`DeletionProof`] can only be made by [`DeletionProof::check`].

mod backend_kind;
mod bytes;
mod destruction;
mod device;
mod device_ref;
mod done;
mod facts;
mod format;
mod health;
mod id;
mod intent;
mod kernel;
pub mod lvm;
mod pool;
mod proof;
mod prose;
mod refusal;
mod step;
mod step_kind;
pub mod tag;
mod undo;
mod view;

pub use backend_kind::BackendKind;
pub use bytes::{Bytes, BytesError, GIB, KIB, MIB};
pub use destruction::{Act, Destruction};
pub use device::{DeviceKind, DeviceUse, DeviceView, Signature};
pub use device_ref::DeviceRef;
pub use done::{StepDone, Tool};
pub use facts::{DeviceFacts, PartitionEntry, PartitionView, Stack, Transport, WriteCache};
pub use format::{Access, Allocation, Erase, FsType, SectorSize, VolumeMode};
pub use health::{Logged, SmartView};
pub use id::{
    BootId, ClusterUid, DeletionId, DevT, FileId, FsUuid, IdError, OperationId, PoolUuid,
    SUBVOLUME_NAME, UNFINISHED_PREFIX, VolumeUuid, image_name, quarantine_name, unfinished_name,
};
pub use intent::{Intent, Leftover, PoolIntent, PoolPlace, Sharing, Wipe};
pub use kernel::Kernel;
pub use pool::{POOL_FILE_NAME, PoolFile, PoolFileError, PoolFileReading, PoolView, QuotaView};
pub use proof::{Claimed, DeletionProof, DeletionStamp, OrphanReading, PersonsWord, PvReading};
pub use refusal::{
    Class, FormatRefusal, InUse, PoolRefusal, ProofRefusal, Refusal, RequestRefusal, TagRefusal,
    UseRefusal,
};
pub use step::{BindOptions, FREEZE_LIMIT, FormatGuard, Grown, Step, SubvolumeCopy};
pub use step_kind::StepKind;
pub use tag::{HostObject, HostState, Latch, StageState, Tag, TagError};
pub use undo::undo;
pub use view::{
    FilesystemView, Form, ImageView, LayoutView, LoopView, MountPoint, Opened, SubvolumeView,
    TagReading, View, VolumeView,
};
