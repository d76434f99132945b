//! What may be found wrong: one closed list, so that the verdict counts each.

use std::fmt;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// Something is left of what was deleted.
    Leaked,
    /// Bytes are gone that nobody deleted.
    Lost,
    /// An object is being deleted and does not go.
    Finalizer,
    /// There are two where one was asked for.
    Second,
    /// A filesystem was made anew under its files.
    Format,
    /// Something else did not come about in time.
    Stuck,
}

impl Wrong {
    pub(crate) const ALL: [Self; 6] =
        [Self::Leaked, Self::Lost, Self::Finalizer, Self::Second, Self::Format, Self::Stuck];

    /// The row of the verdict.
    pub(crate) const fn row(self) -> &'static str {
        match self {
            Self::Leaked => "leaked objects",
            Self::Lost => "wrong deletions",
            Self::Finalizer => "stuck finalizers",
            Self::Second => "second volumes",
            Self::Format => "double formats",
            Self::Stuck => "operations that did not come to an end",
        }
    }
}

/// Something found wrong.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) wrong: Wrong,
    /// What was seen.
    pub(crate) seen: String,
}

impl Fault {
    pub(crate) fn new(wrong: Wrong, seen: impl Into<String>) -> Self {
        Self { wrong, seen: seen.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.wrong.row(), self.seen)
    }
}

impl std::error::Error for Fault {}

/// The promise that an error breaks: what is not told is that it did not come to an end.
pub(crate) fn wrong_of(error: &anyhow::Error) -> Wrong {
    let told = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
    told.map_or(Wrong::Stuck, |fault| fault.wrong)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::{Fault, Wrong, wrong_of};

    #[test]
    fn the_promise_is_found_below_any_context() {
        let fault = anyhow::Error::new(Fault::new(Wrong::Lost, "f differs"));
        assert_eq!(wrong_of(&fault.context("read again")), Wrong::Lost);
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("late")).context("wait");
        assert_eq!(wrong_of(&plain.unwrap_err()), Wrong::Stuck);
    }
}
