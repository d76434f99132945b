//! Latencies as text (`10ms`), within what the probe can tell apart: 1 us to 16 s. Pure.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A latency of at least 1 us and at most 16 s. Keeps the text it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency(String);

/// The text is no latency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no latency: write a whole number with us, ms or s, from 1us to 16s, such as 10ms"
)]
pub struct LatencyError(pub String);

/// (unit, the most of it, its length in nanoseconds)
const UNITS: [(&str, u64, u64); 3] =
    [("us", 999_999, 1_000), ("ms", 16_000, 1_000_000), ("s", 16, 1_000_000_000)];

impl Latency {
    /// The latency.
    ///
    /// # Errors
    /// [`LatencyError`] where the text is malformed or out of range.
    pub fn duration(&self) -> Result<Duration, LatencyError> {
        parse_latency(&self.0).ok_or_else(|| LatencyError(self.0.clone()))
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Latency {
    type Err = LatencyError;
    fn from_str(text: &str) -> Result<Self, LatencyError> {
        let latency = Self(text.to_owned());
        latency.duration().map(|_| latency.clone())
    }
}

fn parse_latency(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, most, nanoseconds) = UNITS.into_iter().find(|(name, _, _)| *name == unit)?;
    let number: u64 = number.parse().ok().filter(|_| !number.starts_with('0'))?;
    (number <= most).then(|| Duration::from_nanos(number * nanoseconds))
}

impl JsonSchema for Latency {
    fn schema_name() -> Cow<'static, str> {
        "Latency".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 8,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([1-9][0-9]{0,5}us|([1-9][0-9]{0,3}|1[0-5][0-9]{3}|16000)ms|([1-9]|1[0-6])s)$')",
                "message": "must be a latency from 1us to 16s, such as 10ms",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Latency};

    #[test]
    fn latencies_are_read_in_three_units() {
        let known = [
            ("1us", Duration::from_micros(1)),
            ("999999us", Duration::from_micros(999_999)),
            ("10ms", Duration::from_millis(10)),
            ("16000ms", Duration::from_secs(16)),
            ("16s", Duration::from_secs(16)),
        ];
        for (text, want) in known {
            assert_eq!(text.parse::<Latency>().unwrap().duration(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_latency_is_refused() {
        for text in
            ["", "ms", "10", "0ms", "01ms", "1.5ms", "-1ms", "16001ms", "17s", "1m", "10 ms"]
        {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
    }
}
