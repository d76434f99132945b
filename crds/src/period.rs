//! Spans of time as text with h, m, s, d, w (`90d`, `1h30m`). Pure.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of time. A day is 24 hours, a week 7 days. Keeps the text it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(String);

/// The text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write numbers with s, m, h, d or w, such as 90d or 1h30m")]
pub struct PeriodError(pub String);

impl Period {
    /// The span.
    ///
    /// # Errors
    /// [`PeriodError`] where the text is malformed or overflows.
    pub fn duration(&self) -> Result<Duration, PeriodError> {
        parse_period(&self.0).ok_or_else(|| PeriodError(self.0.clone()))
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let period = Self(text.to_owned());
        period.duration().map(|_| period.clone())
    }
}

fn parse_period(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match rest[end..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]{1,9}[smhdw])+$')",
                "message": "must be a time such as 90d, 24h or 1h30m",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn times_are_read_with_days_and_weeks() {
        let known = [("90d", 7_776_000), ("1h30m", 5_400), ("2w", 1_209_600), ("0s", 0)];
        for (text, want) in known {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.duration().unwrap().as_secs(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "d", "90", "90 d", "1.5h", "-1d", "1y", "99999999999999999999w"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
