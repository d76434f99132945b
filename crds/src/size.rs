//! Sizes as Kubernetes quantities (`100G`, `10Gi`, `1073741824`) and their value in bytes. Pure.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number of bytes, written as a Kubernetes quantity. Keeps the text it was given.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Size(Text);

/// Thousands of sizes are kept: one that is as short as they are has no memory of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    /// As long as it is short enough: its length, and zeroes after it.
    Short(u8, [u8; SHORT]),
    #[expect(clippy::box_collection, reason = "a pointer is all that there is room for")]
    Long(Box<String>),
}

/// What has room beside the length, where a pointer would take as much.
const SHORT: usize = 14;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No digits, or an unknown suffix.
    #[error(
        "{0:?} is no size: write a number with an optional suffix such as M, G, T, Mi, Gi or Ti"
    )]
    Malformed(String),
    /// Beyond what 64 bits of bytes can hold.
    #[error("{0:?} is larger than 2^63 bytes")]
    TooLarge(String),
}

const BINARY: [(&str, u64); 6] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];
const DECIMAL: [(&str, u64); 6] = [
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

impl Size {
    /// The size of `bytes`, written with the largest binary suffix that loses nothing.
    pub fn from_bytes(bytes: u64) -> Self {
        let whole = BINARY.iter().rev().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
        let text = whole.map(|(name, unit)| format!("{}{name}", bytes / unit));
        text.unwrap_or_else(|| bytes.to_string()).into()
    }

    /// The size of `bytes` for people: whole units of the largest binary suffix with at least 3 digits' worth.
    pub fn rounded(bytes: u64) -> Self {
        let unit = BINARY.iter().rev().find(|(_, unit)| bytes >= 10 * unit);
        let text = unit.map(|(name, unit)| format!("{}{name}", bytes / unit));
        text.unwrap_or_else(|| bytes.to_string()).into()
    }

    /// Bytes; a fraction is rounded up, as Kubernetes does.
    ///
    /// # Errors
    /// [`SizeError`] where the text is no quantity or too large.
    pub fn bytes(&self) -> Result<u64, SizeError> {
        parse_quantity(self.as_str())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // What a text was made from is one.
            Text::Short(length, bytes) => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Text::Long(text) => text,
        }
    }
}

impl From<String> for Size {
    fn from(text: String) -> Self {
        let mut bytes = [0; SHORT];
        let short = u8::try_from(text.len()).ok().zip(bytes.get_mut(..text.len()));
        let Some((length, place)) = short else { return Self(Text::Long(Box::new(text))) };
        place.copy_from_slice(text.as_bytes());
        Self(Text::Short(length, bytes))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        match size.0 {
            Text::Short(..) => size.as_str().to_owned(),
            Text::Long(text) => *text,
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Size").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Size {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        parse_quantity(text).map(|_| text.to_owned().into())
    }
}

fn parse_quantity(text: &str) -> Result<u64, SizeError> {
    let malformed = || SizeError::Malformed(text.to_owned());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(malformed());
    }
    let unit = parse_suffix(suffix).ok_or_else(malformed)?;
    let scaled = parse_scaled(whole, fraction, unit).ok_or(SizeError::TooLarge(text.to_owned()))?;
    u64::try_from(scaled)
        .ok()
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or(SizeError::TooLarge(text.to_owned()))
}

fn parse_suffix(suffix: &str) -> Option<u128> {
    if suffix.is_empty() {
        return Some(1);
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        let digits = exponent.strip_prefix('+').unwrap_or(exponent);
        return 10_u128.checked_pow(digits.parse().ok()?);
    }
    let known = BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix);
    known.map(|(_, unit)| u128::from(*unit))
}

/// `whole.fraction * unit`, rounded up; None on overflow.
fn parse_scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let parts = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let below = digits(fraction)?.checked_mul(unit)?.div_ceil(parts);
    digits(whole)?.checked_mul(unit)?.checked_add(below)
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "isQuantity(self) && self.matches('^[0-9.]+([kMGTPE]|[KMGTPE]i|[eE][+]?[0-9]+)?$') && quantity(self).isLessThan(quantity('8Ei'))",
                "message": "must be a size such as 100G or 10Gi",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Size, SizeError};

    fn bytes(text: &str) -> Result<u64, SizeError> {
        text.parse::<Size>().and_then(|size| size.bytes())
    }

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        let known = [
            ("0", 0),
            ("100G", 100_000_000_000),
            ("1T", 1_000_000_000_000),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("1e9", 1_000_000_000),
            ("0.5", 1),
            ("125M", 125_000_000),
        ];
        for (text, want) in known {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_size_keeps_its_text_however_long() {
        for text in ["", "1Gi", "12345678901234", "123456789012345", "no size, and \u{e9}\u{e9}"] {
            let written = serde_json::json!(text);
            let read: Size = serde_json::from_value(written.clone()).unwrap();
            assert_eq!((read.as_str(), serde_json::to_value(&read).unwrap()), (text, written));
            assert_eq!(read, Size::from(text.to_owned()));
        }
        assert_eq!(size_of::<Option<Size>>(), 16);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Gi", "-1", "1 G", "1GB", "1g", ".", "10m", "1e", "9999999999999E"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_size_is_read_back() {
        for want in [0, 1, 1023, 1024, 300 << 20, 10 << 30, (10 << 30) + 1] {
            assert_eq!(Size::from_bytes(want).bytes(), Ok(want));
        }
        assert_eq!(Size::from_bytes(10 << 30).as_str(), "10Gi");
        assert_eq!(Size::rounded((10 << 30) + 12_345).as_str(), "10Gi");
    }
}
