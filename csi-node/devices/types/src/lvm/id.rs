//! LVM's own UUIDs: 32 characters, shown as 6-4-4-4-4-4-6. LVM draws those of groups and volumes; that of a physical volume can be ours.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::PoolUuid;

const LENGTH: usize = 32;
/// Lengths of the parts it is shown in.
const PARTS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// Why a text is no UUID of LVM's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a UUID of LVM's: 32 characters, with or without dashes")]
pub struct LvmIdError {
    /// What was given, at most 64 characters of it.
    pub text: String,
}

fn compact(text: &str) -> Result<String, LvmIdError> {
    let bare: String = text.chars().filter(|c| *c != '-').collect();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '!' || c == '#';
    if bare.len() == LENGTH && bare.chars().all(fits) {
        Ok(bare)
    } else {
        Err(LvmIdError { text: text.chars().take(64).collect() })
    }
}

fn write_parts(bare: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = bare;
    for (index, length) in PARTS.into_iter().enumerate() {
        let (part, after) = rest.split_at(length);
        if index > 0 {
            f.write_str("-")?;
        }
        f.write_str(part)?;
        rest = after;
    }
    Ok(())
}

macro_rules! lvm_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The 32 characters without dashes, as device-mapper and the disk have them.
            #[must_use]
            pub fn compact(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_parts(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = LvmIdError;
            fn from_str(text: &str) -> Result<Self, LvmIdError> {
                compact(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

lvm_id!(
    /// A volume group.
    VgUuid
);
lvm_id!(
    /// A physical volume: what makes a device part of a group.
    PvUuid
);
lvm_id!(
    /// A logical volume.
    LvUuid
);

impl PvUuid {
    /// The UUID that a device of a pool gets, from the device's id as a StoragePool names it: after a crash between pvcreate and vgcreate, a physical
    /// volume without a group is known as our own half-made work by it, and no other one is.
    #[must_use]
    pub fn derived(pool: PoolUuid, device: &str) -> Self {
        let name = format!("physical volume {device}");
        Self(Uuid::new_v5(&pool.0, name.as_bytes()).as_simple().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_the_parted_one_is_shown() {
        let shown = "7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B";
        let id: VgUuid = shown.parse().unwrap();
        assert_eq!(id.compact(), "7NiBDFJPUKUbddXuiksxcc9BUG2QfA7B");
        assert_eq!(id.compact().parse(), Ok(id.clone()));
        assert_eq!(id.to_string(), shown);
        for bad in ["", "7NiBDF", &"x".repeat(33), "7NiBDF JPUKUbddXuiksxcc9BUG2QfA7"] {
            assert!(bad.parse::<VgUuid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pools_device_gets_the_same_uuid_every_time() {
        let pool: PoolUuid = "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap();
        let one = PvUuid::derived(pool, "ata-Disk_1");
        assert_eq!(one, PvUuid::derived(pool, "ata-Disk_1"));
        assert_ne!(one, PvUuid::derived(pool, "ata-Disk_2"));
        assert_eq!(one.to_string().parse(), Ok(one));
    }
}
