//! The running kernel's version: what decides whether it can do a thing. Parsed from uname's release, never guessed.

use std::fmt;

use serde::Serialize;

/// A kernel's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Kernel {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Kernel {
    /// Reads a release such as `6.1.0-32-cloud-amd64`; one that can't be read counts as the oldest.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Self { major, minor },
            _ => Self { major: 0, minor: 0 },
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn releases_are_read_and_garbage_is_old() {
        for (release, major, minor) in
            [("6.18.0", 6, 18), ("6.1.0-32-cloud-amd64", 6, 1), ("5.15-rc1", 5, 15), ("x", 0, 0)]
        {
            assert_eq!(Kernel::parse(release), Kernel { major, minor }, "{release}");
        }
    }
}
