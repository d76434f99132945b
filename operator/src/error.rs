//! What can go wrong here, its class, and the one place where an error becomes a gRPC status.

use std::time::Duration;

use terrace_crds::condition::Reason;
use terrace_plan::capability::CapabilityError;
use terrace_plan::class::Class;
use terrace_plan::create::CreateError;
use terrace_plan::group::GroupError;
use terrace_plan::grow::GrowError;
use terrace_plan::parameters::ParameterError;
use terrace_plan::plan::Next;
use terrace_plan::size::SizeError;
use terrace_plan::snapshot::SnapshotError;
use terrace_plan::topology::TopologyError;
use tonic::{Code, Status};

use crate::fault::Fault;

/// Why a call or a reconciliation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or cannot be reached.
    #[error("{verb}")]
    Api {
        /// What was tried, with its object.
        verb: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object changed since it was read.
    #[error("{name} changed meanwhile: try again")]
    Changed {
        /// Its name.
        name: String,
    },
    /// Another call for the same volume is under way (CSI: ABORTED).
    #[error("{holder} for {name} is under way")]
    Busy {
        /// The volume.
        name: String,
        /// The method of the other call.
        holder: &'static str,
    },
    /// The caller's deadline is near; the work goes on, and a retry finds it.
    #[error("still waiting for {waiting}; the work goes on, call again")]
    Deadline {
        /// The volume, and what of it.
        waiting: String,
    },
    /// No such volume.
    #[error("there is no volume {name}")]
    NotFound {
        /// Its handle.
        name: String,
    },
    /// No such snapshot, or group.
    #[error("there is no snapshot {name}")]
    NoSnapshot {
        /// Its handle.
        name: String,
    },
    /// The operator or the node says that it cannot be taken now.
    #[error("snapshot {name} cannot be taken: {message}")]
    SnapshotRefused {
        /// Its name.
        name: String,
        /// From the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
    /// It is on its way out.
    #[error("{name} is being deleted: try again")]
    Leaving {
        /// Its name.
        name: String,
    },
    /// The operator or the node says that it cannot be made now.
    #[error("volume {name} cannot be made: {message}")]
    Refused {
        /// Its name.
        name: String,
        /// From the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
    /// The node says that it cannot grow now.
    #[error("volume {name} cannot grow: {message}")]
    GrowthRefused {
        /// Its name.
        name: String,
        /// Cause and remedy.
        message: String,
    },
    /// A field that CSI demands is missing or makes no sense.
    #[error("{field} is missing or makes no sense")]
    Field {
        /// Its name in the request.
        field: &'static str,
    },
    /// A page token that this service did not give out.
    #[error("starting_token {token:?} was not given out by this service")]
    Token {
        /// As received.
        token: String,
    },
    /// This replica is not the leader any more.
    #[error("another replica leads now")]
    NotLeading,
    /// It was made to fail.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// See the source.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// See the source.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// See the source.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// See the source.
    #[error(transparent)]
    Grow(#[from] GrowError),
    /// See the source.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// See the source.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// See the source.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// See the source.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

impl Error {
    /// An answer of the API server. A conflict is [`Error::Changed`], whatever was tried.
    #[must_use]
    pub fn api(verb: &str, name: &str, source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.code == 409 => {
                Self::Changed { name: name.to_owned() }
            }
            _ => Self::Api { verb: format!("{verb} {name}"), source: Box::new(source) },
        }
    }

    /// Whether the API server says that the object is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 404)
            }
            _ => false,
        }
    }

    /// What it means for whoever meets it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => class_of_api(source),
            Self::Changed { .. }
            | Self::Busy { .. }
            | Self::Deadline { .. }
            | Self::NotLeading
            | Self::Fault(_)
            | Self::Leaving { .. } => Class::Retry,
            Self::Refused { reason, .. } | Self::SnapshotRefused { reason, .. } => {
                class_of(*reason)
            }
            Self::GrowthRefused { .. } => Class::Wait,
            Self::NotFound { .. }
            | Self::NoSnapshot { .. }
            | Self::Field { .. }
            | Self::Token { .. } => Class::Invalid,
            Self::Snapshot(error) => error.class(),
            Self::Group(error) => error.class(),
            Self::Create(error) => error.class(),
            Self::Grow(error) => error.class(),
            Self::Size(error) => error.class(),
            Self::Capability(error) => error.class(),
            Self::Parameter(error) => error.class(),
            Self::Topology(error) => error.class(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } | Self::NoSnapshot { .. } => Code::NotFound,
            Self::Create(CreateError::Exists { .. })
            | Self::Snapshot(SnapshotError::Exists { .. })
            | Self::Group(GroupError::Exists { .. }) => Code::AlreadyExists,
            Self::Snapshot(SnapshotError::SourceLeaving { .. })
            | Self::Group(GroupError::Apart { .. } | GroupError::Backends { .. }) => {
                Code::FailedPrecondition
            }
            // The moment could not be held: a retry takes another one.
            Self::SnapshotRefused { reason: Reason::Inconsistent | Reason::NotFound, .. } => {
                Code::Aborted
            }
            Self::Create(CreateError::Size(error)) | Self::Size(error) => code_of_size(error),
            Self::Grow(GrowError::Size(error)) => code_of_size(error),
            Self::Grow(GrowError::Leaving { .. }) => Code::FailedPrecondition,
            Self::Token { .. } => Code::Aborted,
            Self::NotLeading | Self::Fault(_) => Code::Unavailable,
            Self::Api { source, .. } => match class_of_api(source) {
                Class::Invalid => Code::InvalidArgument,
                Class::Retry | Class::Wait | Class::Bug => Code::Unavailable,
            },
            Self::Changed { .. }
            | Self::Busy { .. }
            | Self::Deadline { .. }
            | Self::Leaving { .. }
            | Self::Refused { .. }
            | Self::SnapshotRefused { .. }
            | Self::Snapshot(_)
            | Self::Group(_)
            | Self::GrowthRefused { .. }
            | Self::Field { .. }
            | Self::Create(_)
            | Self::Grow(_)
            | Self::Capability(_)
            | Self::Parameter(_)
            | Self::Topology(_) => code_of(self.class()),
        }
    }

    /// When to look again.
    #[must_use]
    pub fn requeue(&self) -> Next {
        match self.class() {
            Class::Retry => Next::After(Duration::from_secs(1)),
            Class::Wait => Next::After(Duration::from_secs(30)),
            Class::Invalid => Next::Change,
            Class::Bug => Next::After(Duration::from_secs(300)),
        }
    }
}

/// A size that cannot be granted is out of range; one that makes no sense is invalid.
fn code_of_size(error: &SizeError) -> Code {
    match error {
        SizeError::AboveLimit { .. } | SizeError::TooLarge { .. } | SizeError::Shrink { .. } => {
            Code::OutOfRange
        }
        SizeError::Negative { .. } | SizeError::Contradiction { .. } => Code::InvalidArgument,
    }
}

fn code_of(class: Class) -> Code {
    match class {
        Class::Retry => Code::Aborted,
        Class::Wait => Code::ResourceExhausted,
        Class::Invalid => Code::InvalidArgument,
        Class::Bug => Code::Internal,
    }
}

/// What the API server finds wrong with an object stays wrong; everything else may pass.
fn class_of_api(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) if status.code == 422 => Class::Invalid,
        _ => Class::Retry,
    }
}

/// Of the reasons for which a volume is not made: those of the request, and those of the place.
fn class_of(reason: Reason) -> Class {
    if matches!(reason, Reason::Invalid | Reason::NotSupported) {
        Class::Invalid
    } else {
        Class::Wait
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let said = cause.to_string();
            // Some of the client's errors repeat their source in their own text.
            if !message.contains(&said) {
                message = format!("{message}: {said}");
            }
            source = cause.source();
        }
        Self::new(error.code(), message)
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, CreateError, Error, Reason, SizeError, Status};

    fn code(error: Error) -> Code {
        Status::from(error).code()
    }

    #[test]
    fn every_refusal_has_the_code_that_csi_names_for_it() {
        let refused = |reason| Error::Refused { name: "a".into(), reason, message: String::new() };
        let exists = CreateError::Exists { name: "a".into(), has: "b".into(), asked: "c".into() };
        let known = [
            (Error::Busy { name: "a".into(), holder: "CreateVolume" }, Code::Aborted),
            (Error::Deadline { waiting: "a".into() }, Code::Aborted),
            (Error::NotFound { name: "a".into() }, Code::NotFound),
            (Error::Token { token: "x".into() }, Code::Aborted),
            (Error::Field { field: "name" }, Code::InvalidArgument),
            (exists.into(), Code::AlreadyExists),
            (SizeError::Shrink { has: 2, limit: 1 }.into(), Code::OutOfRange),
            (SizeError::Negative { bytes: -1 }.into(), Code::InvalidArgument),
            (refused(Reason::NoCapacity), Code::ResourceExhausted),
            (refused(Reason::NotSupported), Code::InvalidArgument),
        ];
        for (error, want) in known {
            let said = error.to_string();
            assert_eq!(code(error), want, "{said}");
        }
    }
}
