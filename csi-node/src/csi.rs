//! The CSI services of a node over a unix socket. Every call is checked in [`request`], run through the
//! runner and answered; [`status`] is the only place where a failure becomes a gRPC code.

pub mod expand;
pub mod health;
pub mod identity;
pub mod node;
pub mod publish;
pub mod request;
pub mod serve;
pub mod stage;
pub mod stats;
pub mod status;
mod target;
