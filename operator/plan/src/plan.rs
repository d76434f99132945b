//! A plan: what to do, in order, what holds then, and when to look again. Pure data; it leaves no choice to
//! whoever carries it out.

use std::fmt;
use std::time::Duration;

use terrace_crds::condition::Verdict;

use crate::effect::Effect;

/// What to do about one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Changes to the world, in the order in which they are made.
    pub effects: Vec<Effect>,
    /// What holds, for conditions and for people.
    pub verdicts: Vec<Verdict>,
    /// What a person may want to know beside that.
    pub said: Vec<String>,
    /// When to look again.
    pub next: Next,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Change,
    /// After this time at the latest.
    After(Duration),
}

/// One line an effect, then what holds, then why, then when to look again.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { effects, verdicts, said, next } = self;
        if effects.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        effects.iter().try_for_each(|effect| writeln!(f, "{effect}"))?;
        for Verdict { kind, truth, reason, message } in verdicts {
            writeln!(f, "{kind} is {} ({reason}): {message}", truth.as_str())?;
        }
        said.iter().try_for_each(|said| writeln!(f, "because: {said}"))?;
        match next {
            Next::Change => Ok(()),
            Next::After(time) => writeln!(f, "look again in {} s", time.as_secs()),
        }
    }
}
