//! The only place where a failure becomes a gRPC status. The message is for the Pod's owner: cause
//! first, remedy where there is one.

use terrace_device_types::{Class, Refusal, TagRefusal};
use tonic::{Code, Status};

use crate::context::LookError;
use crate::{inventory, queue, runner};

/// What is wrong with a request, before anything is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A field that the specification wants is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A path that does not begin with `/`.
    #[error("{field} must be an absolute path, not {path:?}")]
    NotAbsolute {
        /// The field.
        field: &'static str,
        /// What was given.
        path: String,
    },
    /// A filesystem that Terrace does not make.
    #[error("fs_type {0:?} is not supported: use xfs, ext4 or btrfs")]
    FsType(String),
    /// More than one node.
    #[error("access mode {0} is not supported: a volume lives on one node (SINGLE_NODE_*)")]
    AccessMode(&'static str),
    /// A UUID that is none.
    #[error("volume_context {key} is no UUID: {text:?}")]
    Uuid {
        /// The key.
        key: &'static str,
        /// What was given.
        text: String,
    },
    /// A size that is none.
    #[error("capacity_range is impossible: required_bytes {required}, limit_bytes {limit}")]
    Capacity {
        /// What was given.
        required: i64,
        /// What was given.
        limit: i64,
    },
}

/// Why a call of the kubelet failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself.
    #[error(transparent)]
    Bad(#[from] BadRequest),
    /// The volume cannot be named.
    #[error(transparent)]
    Find(#[from] inventory::Error),
    /// The operation.
    #[error(transparent)]
    Run(#[from] runner::Error),
    /// A path that is none of the volume's.
    #[error("volume {volume} is neither staged nor published at {path}")]
    NotThere {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
    },
    /// Not staged.
    #[error("volume {volume} is not staged on this node: stage it first")]
    NotStaged {
        /// The volume.
        volume: String,
    },
    /// The path is a mount, and not one of this volume.
    #[error("{path} is a mount of {found}, which is not volume {volume}: it is not touched")]
    Stranger {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
        /// What is mounted there.
        found: String,
    },
    /// The image has not grown yet.
    #[error(
        "volume {volume} has {has} bytes on this node and {asked} are asked for: it has yet to be grown"
    )]
    NotGrownYet {
        /// The volume.
        volume: String,
        /// Its size.
        has: u64,
        /// What is asked.
        asked: u64,
    },
    /// Larger than the caller allows.
    #[error("volume {volume} has {has} bytes, more than limit_bytes {limit}: it cannot shrink")]
    OverLimit {
        /// The volume.
        volume: String,
        /// Its size.
        has: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The host did not answer.
    #[error(transparent)]
    Look(#[from] LookError),
    /// We do not know yet which cluster this is.
    #[error("the node is starting: it does not know its cluster yet")]
    Starting,
}

impl Error {
    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Bad(_) => Code::InvalidArgument,
            Self::Find(inventory::Error::NotFound { .. }) | Self::NotThere { .. } => Code::NotFound,
            Self::Find(inventory::Error::Unknown { .. })
            | Self::NotGrownYet { .. }
            | Self::Look(LookError::Hangs { .. })
            | Self::Starting => Code::Unavailable,
            Self::Look(LookError::Panicked) => Code::Internal,
            Self::Find(inventory::Error::Ambiguous { .. } | inventory::Error::OtherUuid { .. })
            | Self::NotStaged { .. }
            | Self::Stranger { .. } => Code::FailedPrecondition,
            Self::OverLimit { .. } => Code::OutOfRange,
            Self::Run(error) => code_of_run(error),
        }
    }
}

fn code_of_run(error: &runner::Error) -> Code {
    match error {
        runner::Error::Busy(queue::Error::ResourceBusy { .. } | queue::Error::Full { .. }) => {
            Code::Aborted
        }
        runner::Error::Refused(Refusal::Tag(TagRefusal::NoImage { .. })) => Code::NotFound,
        runner::Error::Busy(queue::Error::Refused(_))
        | runner::Error::Refused(_)
        | runner::Error::Observe(_)
        | runner::Error::Step { .. }
        | runner::Error::Hangs { .. }
        | runner::Error::Journal(_)
        | runner::Error::Audit(_)
        | runner::Error::Fault(_)
        | runner::Error::Panicked(_) => code_of_class(error.class()),
    }
}

const fn code_of_class(class: Class) -> Code {
    match class {
        Class::Retry => Code::Unavailable,
        Class::Wait => Code::FailedPrecondition,
        Class::Invalid => Code::InvalidArgument,
        Class::Exhausted => Code::ResourceExhausted,
        Class::Bug => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let first: &dyn std::error::Error = &error;
        let chain = std::iter::successors(Some(first), |error| error.source());
        let mut message = String::new();
        for text in chain.map(ToString::to_string) {
            // `transparent` layers repeat the text of their cause.
            if !message.ends_with(&text) {
                message = if message.is_empty() { text } else { format!("{message}: {text}") };
            }
        }
        Self::new(error.code(), message)
    }
}
