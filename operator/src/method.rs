//! The methods of the CSI Controller and GroupController services as a closed list: for metrics, the log and fault points.

use prometheus_client::encoding::EncodeLabelValue;

/// One line a method, so that none is missing from the list.
macro_rules! methods {
    ($($method:ident => $word:literal,)*) => {
        /// A method of the CSI Controller or GroupController service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
        pub enum Method {
            $(#[doc = concat!(stringify!($method), ".")] $method,)*
        }

        impl Method {
            /// Every one that may be answered.
            pub const ALL: &[Self] = &[$(Self::$method,)*];

            /// Its name in the CSI specification.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$method => stringify!($method),)*
                }
            }

            /// The word for it in the name of a fault point.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$method => $word,)*
                }
            }
        }
    };
}

methods! {
    CreateVolume => "create-volume",
    DeleteVolume => "delete-volume",
    ControllerExpandVolume => "expand-volume",
    ValidateVolumeCapabilities => "validate-volume-capabilities",
    ListVolumes => "list-volumes",
    GetCapacity => "get-capacity",
    ControllerGetVolumeHealth => "get-volume-health",
    ControllerListVolumeHealth => "list-volume-health",
    CreateSnapshot => "create-snapshot",
    DeleteSnapshot => "delete-snapshot",
    ListSnapshots => "list-snapshots",
    GetSnapshot => "get-snapshot",
    CreateVolumeGroupSnapshot => "create-volume-group-snapshot",
    DeleteVolumeGroupSnapshot => "delete-volume-group-snapshot",
    GetVolumeGroupSnapshot => "get-volume-group-snapshot",
}
