//! How large a volume becomes for what was asked: default, minimum, alignment, bounds. Pure, and total:
//! every rounding is said.

use std::fmt;

use terrace_crds::Size;
use terrace_crds::volume::FsType;

use crate::class::Class;

/// Sizes are whole multiples of this many bytes.
pub const ALIGNMENT: u64 = 1 << 20;
/// Size of a volume for which none was asked.
pub const DEFAULT: u64 = 1 << 30;

/// What a volume is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A filesystem.
    Filesystem(FsType),
    /// Raw bytes.
    Block,
}

impl Content {
    /// The least size of an image, in bytes: what mkfs of the shipped tools accepts (xfsprogs 5.19 and later
    /// refuses below 300 MiB, btrfs-progs below 109 MiB for mixed defaults).
    #[must_use]
    pub fn minimum(self) -> u64 {
        match self {
            Self::Filesystem(FsType::Xfs) => 300 << 20,
            Self::Filesystem(FsType::Btrfs) => 109 << 20,
            Self::Filesystem(FsType::Ext4) => 16 << 20,
            Self::Block => ALIGNMENT,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem(fs) => f.write_str(fs.as_str()),
            Self::Block => f.write_str("raw block"),
        }
    }
}

/// A size as CSI asks for it, in bytes; 0 is "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// At least.
    pub required: u64,
    /// At most.
    pub limit: u64,
}

impl Asked {
    /// What arrived on the wire.
    ///
    /// # Errors
    /// [`SizeError::Negative`], and [`SizeError::Contradiction`] where the limit is below the requirement.
    pub fn parse(required: i64, limit: i64) -> Result<Self, SizeError> {
        let negative = |bytes| SizeError::Negative { bytes };
        let required = u64::try_from(required).map_err(|_| negative(required))?;
        let limit = u64::try_from(limit).map_err(|_| negative(limit))?;
        if limit != 0 && limit < required {
            return Err(SizeError::Contradiction { required, limit });
        }
        Ok(Self { required, limit })
    }

    /// Whether a volume of `bytes` is what was asked for.
    #[must_use]
    pub fn admits(self, bytes: u64) -> bool {
        bytes >= self.required && (self.limit == 0 || bytes <= self.limit)
    }
}

/// Why the size is not the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nothing was asked.
    Defaulted {
        /// What was given instead, in bytes.
        to: u64,
    },
    /// The content needs more.
    Raised {
        /// What was asked, in bytes.
        from: u64,
        /// What was given instead, in bytes.
        to: u64,
        /// What needs more.
        content: Content,
    },
    /// The source is larger.
    Copied {
        /// What was asked, in bytes.
        from: u64,
        /// What the source has, in bytes.
        least: u64,
    },
    /// Not a multiple of [`ALIGNMENT`].
    Aligned {
        /// What was asked, in bytes.
        from: u64,
    },
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaulted { to } => write!(f, "no size was asked for: {} given", words(*to)),
            Self::Raised { from, to, content } => {
                let (from, minimum) = (words(*from), words(*to));
                write!(f, "{from} asked, raised to {minimum}, the minimum for {content}")
            }
            Self::Copied { from: 0, least } => {
                write!(f, "no size was asked for: {} given, as its source has", words(*least))
            }
            Self::Copied { from, least } => {
                write!(
                    f,
                    "{} asked, raised to {}, the size of its source",
                    words(*from),
                    words(*least)
                )
            }
            Self::Aligned { from } => {
                write!(f, "{} asked, rounded up to a multiple of 1Mi", words(*from))
            }
        }
    }
}

/// A size that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Bytes of the volume's device.
    pub bytes: u64,
    /// Every rounding, in the order applied.
    pub said: Vec<Rounding>,
}

/// Why no size fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A size below zero.
    #[error("a size of {bytes} bytes makes no sense")]
    Negative {
        /// As received.
        bytes: i64,
    },
    /// The limit is below the requirement.
    #[error("the limit of {limit} bytes is below the required {required} bytes")]
    Contradiction {
        /// At least.
        required: u64,
        /// At most.
        limit: u64,
    },
    /// The smallest size that would do is above the limit.
    #[error("a volume of {content} takes {} here, above the limit of {}", words(*.smallest), words(*.limit))]
    AboveLimit {
        /// What the volume holds.
        content: Content,
        /// The smallest size that would do.
        smallest: u64,
        /// At most.
        limit: u64,
    },
    /// Beyond 2^63 bytes.
    #[error("{bytes} bytes are more than any pool can hold")]
    TooLarge {
        /// As asked.
        bytes: u64,
    },
    /// A volume cannot get smaller.
    #[error("a volume cannot shrink: it has {}, the limit is {}", words(*.has), words(*.limit))]
    Shrink {
        /// Bytes now.
        has: u64,
        /// At most.
        limit: u64,
    },
}

impl SizeError {
    /// Nobody but the caller can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Negative { .. }
            | Self::Contradiction { .. }
            | Self::AboveLimit { .. }
            | Self::TooLarge { .. }
            | Self::Shrink { .. } => Class::Invalid,
        }
    }
}

/// The size of a new volume, which must have `minimum` bytes.
///
/// # Errors
/// [`SizeError`] where the limit forbids what the content and the alignment need.
pub fn plan_size(asked: Asked, content: Content, minimum: u64) -> Result<Granted, SizeError> {
    let Asked { required, limit } = asked;
    let mut said = Vec::new();
    let mut bytes = required;
    if required == 0 {
        bytes = if limit == 0 { DEFAULT } else { DEFAULT.min(limit - limit % ALIGNMENT) };
        said.push(Rounding::Defaulted { to: bytes });
    }
    if bytes < minimum {
        said.push(Rounding::Raised { from: bytes, to: minimum, content });
        bytes = minimum;
    } else if bytes % ALIGNMENT != 0 {
        said.push(Rounding::Aligned { from: bytes });
        bytes = aligned(bytes)?;
    }
    if limit != 0 && bytes > limit {
        return Err(SizeError::AboveLimit { content, smallest: bytes, limit });
    }
    Ok(Granted { bytes, said })
}

/// The size of a new volume that begins as a copy of `least` bytes; what its source has is enough for what it holds.
///
/// # Errors
/// As [`plan_size`]; a limit below what is copied is out of range.
pub fn plan_copy_size(asked: Asked, content: Content, least: u64) -> Result<Granted, SizeError> {
    if asked.required >= least {
        return plan_size(asked, content, least);
    }
    if asked.limit != 0 && asked.limit < least {
        return Err(SizeError::AboveLimit { content, smallest: least, limit: asked.limit });
    }
    let Granted { bytes, mut said } =
        plan_size(Asked { required: least, ..asked }, content, least)?;
    said.insert(0, Rounding::Copied { from: asked.required, least });
    Ok(Granted { bytes, said })
}

/// The size that a volume of `has` bytes grows to; `has` itself where it is large enough already.
///
/// # Errors
/// [`SizeError`] where the limit forbids it, or is below what the volume has.
pub fn plan_growth(asked: Asked, has: u64, content: Content) -> Result<Granted, SizeError> {
    if asked.limit != 0 && asked.limit < has {
        return Err(SizeError::Shrink { has, limit: asked.limit });
    }
    if asked.required <= has {
        return Ok(Granted { bytes: has, said: Vec::new() });
    }
    plan_size(asked, content, has)
}

fn aligned(bytes: u64) -> Result<u64, SizeError> {
    let whole = bytes.checked_next_multiple_of(ALIGNMENT);
    whole.filter(|whole| i64::try_from(*whole).is_ok()).ok_or(SizeError::TooLarge { bytes })
}

/// Bytes as people write them.
#[must_use]
pub fn words(bytes: u64) -> String {
    Size::from_bytes(bytes).to_string()
}

/// Bytes as people read them: exact where that is short, else rounded down.
#[must_use]
pub fn about(bytes: u64) -> String {
    /// Longest exact size that reads at a glance.
    const SHORT: usize = 6;
    let exact = words(bytes);
    if exact.len() <= SHORT { exact } else { Size::rounded(bytes).to_string() }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Content, FsType, SizeError, plan_growth, plan_size};

    const MIB: u64 = 1 << 20;
    const XFS: Content = Content::Filesystem(FsType::Xfs);

    fn grant(required: u64, limit: u64, content: Content) -> Result<(u64, String), SizeError> {
        let granted = plan_size(Asked { required, limit }, content, content.minimum())?;
        let said: Vec<String> = granted.said.iter().map(ToString::to_string).collect();
        Ok((granted.bytes, said.join("; ")))
    }

    #[test]
    fn nothing_asked_is_a_gibibyte() {
        let said = "no size was asked for: 1Gi given".to_owned();
        assert_eq!(grant(0, 0, XFS), Ok((1024 * MIB, said)));
        assert_eq!(grant(0, 400 * MIB + 5, XFS).map(|(bytes, _)| bytes), Ok(400 * MIB));
    }

    #[test]
    fn a_size_below_the_minimum_is_raised_and_said() {
        let said = "1Mi asked, raised to 300Mi, the minimum for xfs".to_owned();
        assert_eq!(grant(MIB, 0, XFS), Ok((300 * MIB, said)));
        let btrfs = grant(MIB, 0, Content::Filesystem(FsType::Btrfs));
        assert_eq!(btrfs.map(|(bytes, _)| bytes), Ok(109 * MIB));
        let block = grant(1, 0, Content::Block).map(|(bytes, _)| bytes);
        assert_eq!(block, Ok(MIB));
    }

    #[test]
    fn a_minimum_above_the_limit_is_out_of_range() {
        let error = grant(MIB, 200 * MIB, XFS).unwrap_err();
        assert_eq!(error.to_string(), "a volume of xfs takes 300Mi here, above the limit of 200Mi");
    }

    #[test]
    fn an_odd_size_is_aligned_and_said_unless_the_limit_forbids() {
        let odd = 400 * MIB + 1;
        let said = format!("{odd} asked, rounded up to a multiple of 1Mi");
        assert_eq!(grant(odd, 0, XFS), Ok((401 * MIB, said)));
        assert!(matches!(grant(odd, odd, XFS), Err(SizeError::AboveLimit { .. })));
        assert!(matches!(grant(u64::MAX, 0, XFS), Err(SizeError::TooLarge { .. })));
    }

    #[test]
    fn a_volume_grows_and_never_shrinks() {
        let grow = |required, limit| plan_growth(Asked { required, limit }, 500 * MIB, XFS);
        assert_eq!(grow(400 * MIB, 0).map(|granted| granted.bytes), Ok(500 * MIB));
        assert_eq!(grow(600 * MIB, 0).map(|granted| granted.bytes), Ok(600 * MIB));
        assert!(matches!(grow(0, 400 * MIB), Err(SizeError::Shrink { .. })));
    }

    #[test]
    fn free_space_reads_at_a_glance() {
        assert_eq!(super::about(3 << 30), "3Gi");
        assert_eq!(super::about((100 << 30) + 4096), "100Gi");
    }

    #[test]
    fn sizes_off_the_wire_are_checked() {
        assert!(matches!(Asked::parse(-1, 0), Err(SizeError::Negative { .. })));
        assert!(matches!(Asked::parse(2, 1), Err(SizeError::Contradiction { .. })));
        let asked = Asked::parse(5, 9).unwrap();
        assert!(asked.admits(5) && asked.admits(9) && !asked.admits(4) && !asked.admits(10));
    }
}
