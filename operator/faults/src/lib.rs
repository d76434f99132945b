//! Fault points: places where a program may be made to die, fail or hang, so that what follows can be looked at.
//!
//! ```text
//!   program --reach(point)--> Faults --Verdict--> pass(): go on, fail, wait, be dead
//!                               ^
//!            NoFaults (service) | a test's own | ByOrder (feature `protocol`) <--files--> Panel, in the harness
//! ```
//! A program names its points in an enum of its own, and every place where it acts calls [`pass`] or [`pass_blocking`].
//! In service that is [`NoFaults`]: nothing happens, and nothing from outside can change that, since `protocol` is not
//! compiled in. This crate knows neither Kubernetes nor CSI.

mod fault;
#[cfg(feature = "protocol")]
mod order;
#[cfg(feature = "protocol")]
mod panel;
#[cfg(feature = "protocol")]
mod process;
mod words;

pub use fault::{Edge, Fault, Faults, NoFaults, Verdict, pass, pass_blocking};
#[cfg(feature = "protocol")]
pub use order::{DIRECTORY, Mode, Order, OrderError, PATIENCE, Process};
#[cfg(feature = "protocol")]
pub use panel::Panel;
#[cfg(feature = "protocol")]
pub use process::ByOrder;
