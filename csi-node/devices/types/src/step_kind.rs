//! The kinds of step as a closed list with a word for each: for metrics, and for the names of fault points. What a step
//! does is said in [`crate::Step`].

use std::fmt;

use crate::Step;
use crate::lvm::LvmStep;

/// One line a kind: a new step that is not here does not compile, and what is here is in the list.
macro_rules! kinds {
    ($($kind:ident => $word:literal,)* ; $($lvm:ident => $lvm_word:literal,)*) => {
        /// Which step, without its particulars.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum StepKind {
            $(#[doc = concat!("[`Step::", stringify!($kind), "`]")] $kind,)*
            $(#[doc = concat!("[`LvmStep::", stringify!($lvm), "`]")] $lvm,)*
        }

        impl StepKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)* $(Self::$lvm,)*];

            /// Those of LVM.
            pub const LVM: &[Self] = &[$(Self::$lvm,)*];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                    $(Self::$lvm => $lvm_word,)*
                }
            }
        }

        impl Step {
            /// Which step it is.
            #[must_use]
            pub const fn kind(&self) -> StepKind {
                match self {
                    $(Self::$kind { .. } => StepKind::$kind,)*
                    $(Self::Lvm(LvmStep::$lvm { .. }) => StepKind::$lvm,)*
                }
            }
        }
    };
}

kinds! {
    AllocateImage => "allocate-image",
    CloneImage => "clone-image",
    FreezeFilesystem => "freeze-filesystem",
    ThawFilesystem => "thaw-filesystem",
    EndFreeze => "end-freeze",
    SyncDevice => "sync-device",
    CreateSubvolume => "create-subvolume",
    SnapshotSubvolumes => "snapshot-subvolumes",
    LimitSubvolume => "limit-subvolume",
    RemoveSubvolume => "remove-subvolume",
    RemoveUnfinishedSubvolume => "remove-unfinished-subvolume",
    EnableQuota => "enable-quota",
    SyncDir => "sync-dir",
    WriteState => "write-state",
    WriteLatch => "write-latch",
    WriteStage => "write-stage",
    GrowImage => "grow-image",
    AttachLoop => "attach-loop",
    SetAutoclear => "set-autoclear",
    ResizeLoop => "resize-loop",
    MakeFilesystem => "make-filesystem",
    CheckFilesystem => "check-filesystem",
    GrowOffline => "grow-offline",
    MountFilesystem => "mount-filesystem",
    MakeLayout => "make-layout",
    MakeTarget => "make-target",
    BindMount => "bind-mount",
    BindDevice => "bind-device",
    GrowFilesystem => "grow-filesystem",
    ProveSize => "prove-size",
    Unmount => "unmount",
    RemoveTarget => "remove-target",
    DetachLoop => "detach-loop",
    MarkQuarantined => "mark-quarantined",
    RenameToQuarantine => "rename-to-quarantine",
    EraseImage => "erase-image",
    RemoveImage => "remove-image",
    RemoveUnfinished => "remove-unfinished",
    WipeSignatures => "wipe-signatures",
    MakePoolDirectory => "make-pool-directory",
    WritePoolFile => "write-pool-file",
    ;
    MakeGroup => "make-group",
    ExtendGroup => "extend-group",
    MakeFolder => "make-folder",
    ActivateGroup => "activate-group",
    ClearLeftovers => "clear-leftovers",
    MakeThinPool => "make-thin-pool",
    GrowThinPool => "grow-thin-pool",
    CreateEntry => "create-entry",
    CreateLv => "create-lv",
    GrowLv => "grow-lv",
    ZeroLv => "zero-lv",
    RefreshLv => "refresh-lv",
    SetAccess => "set-access",
    EraseLv => "erase-lv",
    RemoveLv => "remove-lv",
    RemoveUnfinishedLv => "remove-unfinished-lv",
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
