//! Names of groups and volumes. What LVM would refuse, or take for an option, a path or a volume of its own, is no name.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{PoolUuid, VolumeUuid};

/// Group and volume share what device-mapper allows for a name, with each dash doubled.
const LONGEST: usize = 60;
/// A volume with one of these inside its name is LVM's own part of another.
const RESERVED: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog",
    "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];
const RESERVED_BEGINNINGS: [&str; 3] = ["snapshot", "pvmove", "lvol"];

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LvmNameError {
    /// Empty, too long, or with characters that do not belong there.
    #[error(
        "{text:?} is no name for LVM: 1 to 60 of A-Z, a-z, 0-9 and '+_.-', not beginning with '-' or '.'"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// Kept by LVM for itself.
    #[error("{text:?} is a name that LVM keeps for itself: {reserved:?}")]
    Reserved {
        /// What was given.
        text: String,
        /// What in it.
        reserved: &'static str,
    },
}

fn checked(text: &str) -> Result<String, LvmNameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-');
    let shape = (1..=LONGEST).contains(&text.len()) && text.chars().all(fits);
    if shape && !text.starts_with(['-', '.']) {
        Ok(text.to_owned())
    } else {
        Err(LvmNameError::Malformed { text: text.to_owned() })
    }
}

/// The name of a volume group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VgName(String);

/// The name of a logical volume that we make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LvName(String);

impl FromStr for VgName {
    type Err = LvmNameError;

    fn from_str(text: &str) -> Result<Self, LvmNameError> {
        checked(text).map(Self)
    }
}

impl FromStr for LvName {
    type Err = LvmNameError;

    fn from_str(text: &str) -> Result<Self, LvmNameError> {
        let name = checked(text)?;
        let inside = RESERVED.into_iter().find(|reserved| text.contains(reserved));
        let first = RESERVED_BEGINNINGS.into_iter().find(|reserved| text.starts_with(reserved));
        match inside.or(first) {
            None => Ok(Self(name)),
            Some(reserved) => Err(LvmNameError::Reserved { text: name, reserved }),
        }
    }
}

impl LvName {
    /// What a volume is about to gain, until it has it.
    #[must_use]
    pub fn of_gain(volume: VolumeUuid) -> Self {
        Self(format!("g-{volume}"))
    }
}

impl VgName {
    /// The name of a pool's group.
    #[must_use]
    pub fn of_pool(pool: PoolUuid) -> Self {
        Self(format!("terrace-{pool}"))
    }
}

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(VgName);
text!(LvName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_no_path_and_none_of_lvms_own() {
        let long = "a".repeat(61);
        for bad in ["", "-L", ".", "..", "a/b", "a b", "@tag", "a,b", "é", long.as_str()] {
            assert!(bad.parse::<VgName>().is_err() && bad.parse::<LvName>().is_err(), "{bad}");
        }
        for reserved in ["pool_tmeta", "x_rimage_0", "snapshot1", "pvmove0", "lvol0_pmspare"] {
            assert!(
                matches!(reserved.parse::<LvName>(), Err(LvmNameError::Reserved { .. })),
                "{reserved}"
            );
        }
        let name = "t-4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11";
        assert_eq!(name.parse::<LvName>().unwrap().as_str(), name);
        let pool = "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap();
        assert_eq!(VgName::of_pool(pool).as_str().parse(), Ok(VgName::of_pool(pool)));
    }
}
