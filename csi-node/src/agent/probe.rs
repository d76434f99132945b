//! The node's half of the probe: a socket on which it is heard, names for what it sees, and its figures in the status of volumes.
//! The probe itself knows no API server; nothing here touches a volume, and a node without a probe does all else as before.

pub mod board;
pub mod directories;
pub mod events;
pub mod known;
pub mod names;
pub mod schedule;
pub mod serve;
pub mod shown;
pub mod status;
pub mod write;
