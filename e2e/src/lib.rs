//! What the tests on real parts share: where the cluster is, how to wait for something, how to look at the host.
//! It decides nothing about Terrace and imports none of its programs: a story sees what an administrator sees.

pub mod examples;
pub mod ground;
pub mod reader;
pub mod rig;
pub mod schema;
pub mod story;
pub mod throttle;
pub mod watch;
