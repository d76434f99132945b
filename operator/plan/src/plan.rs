//! A plan: what to do, in order, what holds then, and when to look again. Pure data; it leaves no choice to
//! whoever carries it out.

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
