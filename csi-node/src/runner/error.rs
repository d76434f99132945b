//! Why an operation did not reach its end, and what its caller does about it.

use terrace_device_types::{Class, Refusal};

use crate::audit;
use crate::fault::Fault;
use crate::journal;
use crate::queue;
use crate::queue::schedule::OpId;

/// Why an operation did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its turn did not come.
    #[error(transparent)]
    Busy(#[from] queue::Error),
    /// The plan refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host cannot be looked at.
    #[error("look at the host")]
    Observe(#[source] terrace_devices::DeviceError),
    /// A step failed, as often as it was tried.
    #[error("{step}")]
    Step {
        /// The step in prose.
        step: String,
        /// What happened.
        source: terrace_devices::DeviceError,
    },
    /// A step did not come back in time; the operation holds its locks until it does.
    #[error("{step}: no answer after {after_s} s")]
    Hangs {
        /// The step in prose.
        step: String,
        /// The deadline that passed, in seconds.
        after_s: u64,
    },
    /// The journal cannot be written: nothing is done without it (I3).
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The audit cannot be written: nothing is destroyed without it.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// It was made to fail, or the process to die.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The operation's own code failed.
    #[error("operation {0} panicked")]
    Panicked(OpId),
}

impl Error {
    /// What the caller does about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Busy(_) | Self::Hangs { .. } | Self::Fault(_) => Class::Retry,
            Self::Refused(refusal) => refusal.class(),
            Self::Observe(source) | Self::Step { source, .. } => source.class(),
            Self::Journal(source) => source.class(),
            Self::Audit(source) => source.class(),
            Self::Panicked(_) => Class::Bug,
        }
    }

    /// Whether the process is to be taken as dead: nothing is cleaned up, told or undone.
    #[must_use]
    pub const fn is_death(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_death())
    }

    /// The error and all its causes in one line, for a status or a condition.
    #[must_use]
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(Some(first), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

/// The label of a class in metrics.
#[must_use]
pub const fn class_label(class: Class) -> &'static str {
    match class {
        Class::Retry => "retry",
        Class::Wait => "wait",
        Class::Invalid => "invalid",
        Class::Exhausted => "exhausted",
        Class::Bug => "bug",
    }
}
