//! Spans of time as kubectl writes them: two units at most, fewer the longer it is. Pure.

use std::fmt;

use jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// A span in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(u64);

impl Age {
    /// Of so many seconds.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// From `then` to `now`; 0 where the clocks disagree.
    #[must_use]
    pub fn between(then: Timestamp, now: Timestamp) -> Self {
        Self(u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or(0))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        let mut two = |unit, name, rest, rest_name| match seconds % unit / rest {
            0 => write!(f, "{}{name}", seconds / unit),
            more => write!(f, "{}{name}{more}{rest_name}", seconds / unit),
        };
        match seconds {
            0..120 => write!(f, "{seconds}s"),
            _ if seconds < 10 * MINUTE => two(MINUTE, 'm', 1, 's'),
            _ if seconds < 3 * HOUR => write!(f, "{}m", seconds / MINUTE),
            _ if seconds < 8 * HOUR => two(HOUR, 'h', MINUTE, 'm'),
            _ if seconds < 2 * DAY => write!(f, "{}h", seconds / HOUR),
            _ if seconds < 8 * DAY => two(DAY, 'd', HOUR, 'h'),
            _ if seconds < 2 * YEAR => write!(f, "{}d", seconds / DAY),
            _ if seconds < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
            _ => write!(f, "{}y", seconds / YEAR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Age;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        let known = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, want) in known {
            assert_eq!(Age(seconds).to_string(), want);
        }
    }
}
