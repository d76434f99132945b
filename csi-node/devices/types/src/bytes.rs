//! A number of bytes. The only place where sizes are parsed, rounded and written for people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 1024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1024 KiB: every image size is a multiple of it.
pub const MIB: u64 = 1 << 20;
/// 1024 MiB.
pub const GIB: u64 = 1 << 30;

const UNITS: [(&str, u64); 5] =
    [("Ki", KIB), ("Mi", MIB), ("Gi", GIB), ("Ti", 1 << 40), ("Pi", 1 << 50)];

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Neither digits nor digits with a known unit.
    #[error("{text:?} is not a size; write a whole number with Ki, Mi, Gi, Ti or Pi, such as 10Gi")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// More than 2^64 - 1 bytes.
    #[error("{text:?} is more bytes than a 64-bit number holds")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * KIB)
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * MIB)
    }

    /// `n` GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n * GIB)
    }

    /// The next multiple of `unit`; stays at the largest number when there is none.
    #[must_use]
    pub const fn round_up(self, unit: Self) -> Self {
        match self.0.checked_next_multiple_of(unit.0) {
            Some(rounded) => Self(rounded),
            None => Self(u64::MAX),
        }
    }

    /// Whether this is a multiple of `unit`.
    #[must_use]
    pub const fn is_multiple_of(self, unit: Self) -> bool {
        self.0.is_multiple_of(unit.0)
    }

    /// The difference, never below zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// The largest binary unit that divides it evenly (`300Mi`, `1Gi`, `1000`): exact, so it can be parsed back.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        match unit {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, BytesError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let malformed = || BytesError::Malformed { text: text.to_owned() };
        if number.is_empty() {
            return Err(malformed());
        }
        let factor = match unit {
            "" => 1,
            other => UNITS.iter().find(|(name, _)| *name == other).ok_or_else(malformed)?.1,
        };
        let too_large = || BytesError::TooLarge { text: text.to_owned() };
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number.checked_mul(factor).map(Bytes).ok_or_else(too_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_is_exact() {
        assert_eq!(Bytes::gib(1).to_string(), "1Gi");
        assert_eq!(Bytes::mib(1025).to_string(), "1025Mi");
        assert_eq!(Bytes(0).to_string(), "0");
        assert_eq!(Bytes(1000).to_string(), "1000");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for size in [0, 1, 1023, 1024, 3 << 30, u64::MAX, 1 << 63] {
            assert_eq!(Bytes(size).to_string().parse(), Ok(Bytes(size)));
        }
    }

    #[test]
    fn malformed_sizes_are_refused() {
        for text in ["", "Gi", "1.5Gi", "-1", "10G", "1 Gi", "99999999999999999999"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(
            "16384Pi".parse::<Bytes>(),
            Err(BytesError::TooLarge { text: "16384Pi".into() })
        );
    }

    #[test]
    fn rounding_never_goes_down() {
        assert_eq!(Bytes(1).round_up(Bytes::mib(1)), Bytes::mib(1));
        assert_eq!(Bytes::mib(1).round_up(Bytes::mib(1)), Bytes::mib(1));
        assert_eq!(Bytes(u64::MAX).round_up(Bytes::mib(1)), Bytes(u64::MAX));
    }
}
