//! When a call must answer: before its caller gives up, so that the caller hears why instead of a timeout.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// Longest call; the provisioner's own timeout is 60 s.
const LONGEST: Duration = Duration::from_secs(55);
/// Left for the answer on its way back, at most.
const MARGIN: Duration = Duration::from_secs(2);

/// When the call with this metadata must answer.
#[must_use]
pub fn deadline(metadata: &MetadataMap) -> Instant {
    let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    Instant::now() + budget(header.and_then(parse_timeout))
}

fn budget(timeout: Option<Duration>) -> Duration {
    timeout.map_or(LONGEST, |timeout| (timeout - MARGIN.min(timeout / 10)).min(LONGEST))
}

/// A gRPC timeout: at most 8 digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, LONGEST, budget, parse_timeout};

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        assert_eq!(parse_timeout("9S"), Some(Duration::from_secs(9)));
        assert_eq!(parse_timeout("9999971u"), Some(Duration::from_micros(9_999_971)));
        assert_eq!(parse_timeout("1H"), Some(Duration::from_secs(3600)));
        for text in ["", "S", "9", "9s", "123456789S", "-1S", "1é"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }

    #[test]
    fn a_call_ends_before_its_caller_gives_up() {
        for seconds in [1, 10, 15, 60, 600] {
            let timeout = Duration::from_secs(seconds);
            let budget = budget(Some(timeout));
            assert!(budget < timeout && budget <= LONGEST && budget >= timeout.min(LONGEST) / 2);
        }
        assert_eq!(budget(None), LONGEST);
    }
}
