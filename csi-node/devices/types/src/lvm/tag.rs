//! What we write into LVM's tags. LVM allows few characters there, so a text is written with everything else as `&` and two hexadecimal digits.
//!
//! A volume carries its whole [`Tag`] in one LVM tag: LVM replaces one by another in a single commit of the group's metadata, which is what an extended
//! attribute gives an image file.

use std::fmt;

use serde::Serialize;

use crate::{Tag, TagError, TagReading};

/// LVM's own limit.
const LONGEST: usize = 1024;
const VOLUME: &str = "terrace.volume=";
const POOL: &str = "terrace.pool=";
const GAIN: &str = "terrace.gain=";

/// Why a text can't be a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LvmTagError {
    /// LVM takes 1024 characters.
    #[error("the tag would be {length} characters long, and LVM keeps 1024")]
    TooLong {
        /// With its escapes.
        length: usize,
    },
}

/// A tag of ours as LVM keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct LvmTag(String);

impl LvmTag {
    /// What a volume says about itself.
    ///
    /// # Errors
    /// When it is too long, by a staging path of several hundred characters.
    pub fn of_volume(tag: &Tag) -> Result<Self, LvmTagError> {
        Self::written(VOLUME, &tag.to_string())
    }

    /// What a group, or a thin pool in it, says about the pool it is: the text of the pool's file.
    ///
    /// # Errors
    /// When it is too long.
    pub fn of_pool(text: &str) -> Result<Self, LvmTagError> {
        Self::written(POOL, text)
    }

    /// What a thin pool is about to gain, until it has it.
    ///
    /// # Errors
    /// When it is too long.
    pub fn of_gain(text: &str) -> Result<Self, LvmTagError> {
        Self::written(GAIN, text)
    }

    fn written(kind: &str, text: &str) -> Result<Self, LvmTagError> {
        let mut tag = kind.to_owned();
        for byte in text.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"_+.-/=:".contains(&byte);
            if plain {
                tag.push(char::from(byte));
            } else {
                tag.push_str(&format!("&{byte:02x}"));
            }
        }
        if tag.len() <= LONGEST {
            Ok(Self(tag))
        } else {
            Err(LvmTagError::TooLong { length: tag.len() })
        }
    }

    /// As LVM has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The volume's tag among the LVM tags of an LV. Two of them are unreadable: neither counts.
    #[must_use]
    pub fn read_volume<S: AsRef<str>>(tags: &[S]) -> TagReading {
        match only(VOLUME, tags) {
            Only::None => TagReading::Absent,
            Only::One(text) => {
                Tag::parse(&text).map_or_else(TagReading::Unreadable, TagReading::Read)
            }
            Only::Unreadable(found) => TagReading::Unreadable(TagError::NotATag { first: found }),
        }
    }

    /// The text that a group or a thin pool says about its pool, if there is exactly one.
    #[must_use]
    pub fn read_pool<S: AsRef<str>>(tags: &[S]) -> Option<Vec<u8>> {
        match only(POOL, tags) {
            Only::One(text) => Some(text),
            Only::None | Only::Unreadable(_) => None,
        }
    }

    /// What a thin pool is about to gain, if there is exactly one such tag.
    #[must_use]
    pub fn read_gain<S: AsRef<str>>(tags: &[S]) -> Option<Vec<u8>> {
        match only(GAIN, tags) {
            Only::One(text) => Some(text),
            Only::None | Only::Unreadable(_) => None,
        }
    }
}

impl fmt::Display for LvmTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

enum Only {
    None,
    One(Vec<u8>),
    Unreadable(String),
}

fn only<S: AsRef<str>>(kind: &str, tags: &[S]) -> Only {
    let mut ours = tags.iter().filter_map(|tag| tag.as_ref().strip_prefix(kind));
    match (ours.next(), ours.next()) {
        (None, _) => Only::None,
        (Some(text), None) => unescaped(text).map_or_else(|| unreadable(text), Only::One),
        (Some(text), Some(_)) => unreadable(text),
    }
}

fn unreadable(text: &str) -> Only {
    Only::Unreadable(text.chars().take(64).collect())
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'&' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            plain => plain,
        });
    }
    Some(found)
}

fn digit(byte: u8) -> Option<u8> {
    // One writer, one form: no capitals.
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Allocation, HostObject, HostState, Latch, StageState, VolumeMode};

    fn tag() -> Tag {
        Tag {
            object: HostObject::Volume,
            source: None,
            volume: "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap(),
            cluster: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
            pool: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
            name: "a&b, \"c\" é#!@{}[]".into(),
            mode: VolumeMode::Block,
            allocation: Allocation::Sparse,
            state: HostState::Creating,
            latch: Latch::None,
            stage: StageState::At { boot: "b-1".parse().unwrap(), target: "/var/lib/x y".into() },
        }
    }

    #[test]
    fn a_tag_of_any_characters_comes_back_from_those_that_lvm_allows() {
        let lvm = LvmTag::of_volume(&tag()).unwrap();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(c);
        assert!(lvm.as_str().chars().all(allowed), "{lvm}");
        assert_eq!(LvmTag::read_volume(&["foreign", lvm.as_str()]), TagReading::Read(tag()));
    }

    #[test]
    fn what_was_tampered_with_is_unreadable_and_not_absent() {
        let lvm = LvmTag::of_volume(&tag()).unwrap();
        let unreadable = |tags: &[&str]| {
            assert!(matches!(LvmTag::read_volume(tags), TagReading::Unreadable(_)), "{tags:?}");
        };
        unreadable(&["terrace.volume="]);
        unreadable(&["terrace.volume=&0"]);
        unreadable(&["terrace.volume=&0A"]);
        unreadable(&[lvm.as_str(), lvm.as_str()]);
        assert_eq!(LvmTag::read_volume(&["terrace.volumes=x", "foreign"]), TagReading::Absent);
    }

    #[test]
    fn a_tag_that_lvm_would_cut_is_none() {
        assert!(matches!(LvmTag::of_pool(&"x".repeat(1100)), Err(LvmTagError::TooLong { .. })));
        let pool = LvmTag::of_pool("{\"pool\": \"fast\"}\n").unwrap();
        assert_eq!(LvmTag::read_pool(&[pool.as_str()]).unwrap(), b"{\"pool\": \"fast\"}\n");
        assert_eq!(LvmTag::read_pool(&[pool.as_str(), pool.as_str()]), None);
    }
}
