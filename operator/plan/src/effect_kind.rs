//! The kinds of effect as a closed list with a word for each: for the names of fault points. What an effect does is said in
//! [`crate::effect::Effect`].

use std::fmt;

use crate::effect::Effect;

/// One line a kind: a new effect that is not here does not compile, and what is here is in the list.
macro_rules! kinds {
    ($($kind:ident => $word:literal,)*) => {
        /// Which effect, without its particulars.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EffectKind {
            $(#[doc = concat!("[`Effect::", stringify!($kind), "`]")] $kind,)*
        }

        impl EffectKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }
        }

        impl Effect {
            /// Which effect it is.
            #[must_use]
            pub const fn kind(&self) -> EffectKind {
                match self {
                    $(Self::$kind { .. } => EffectKind::$kind,)*
                }
            }
        }
    };
}

kinds! {
    CreateVolume => "create-volume",
    HealVolume => "heal-volume",
    AssignVolume => "assign-volume",
    NameVolume => "name-volume",
    MakePersistent => "make-persistent",
    PointPersistent => "point-persistent",
    MakeClaim => "make-claim",
    GrowClaim => "grow-claim",
    GrowVolume => "grow-volume",
    StampDeletion => "stamp-deletion",
    CreateSnapshot => "create-snapshot",
    AssignSnapshot => "assign-snapshot",
    StampSnapshot => "stamp-snapshot",
    DeleteSnapshot => "delete-snapshot",
    ReleaseSnapshot => "release-snapshot",
    AbandonSnapshot => "abandon-snapshot",
    ReportSnapshot => "report-snapshot",
    DeleteVolume => "delete-volume",
    ReleaseVolume => "release-volume",
    AbandonVolume => "abandon-volume",
    ReportVolume => "report-volume",
    HoldPool => "hold-pool",
    ReleasePool => "release-pool",
    ReportPool => "report-pool",
    ReportLifecycle => "report-lifecycle",
    ReportTiering => "report-tiering",
    Tell => "tell",
    TellPersistent => "tell-persistent",
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
