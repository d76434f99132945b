//! What an error means for whoever meets it. One word that decides requeue, gRPC code and metric label.

/// The class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Try again soon: a passing fault.
    Retry,
    /// Try again when something changes: a missing resource.
    Wait,
    /// Never as asked: somebody has to write something else.
    Invalid,
    /// Our own fault: an invariant does not hold.
    Bug,
}

impl Class {
    /// The word used as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Wait => "wait",
            Self::Invalid => "invalid",
            Self::Bug => "bug",
        }
    }
}
