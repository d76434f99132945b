//! Plans against a pure model of a host: goldens one can read, and laws over random lives with crashes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

mod copy;
mod copy_laws;
mod golden;
mod group;
mod laws;
mod lv;
mod model;
mod pair;
mod subvolume;
mod subvolume_golden;
mod subvolume_laws;
mod sweep;
mod thin;
mod thin_pool;
mod world;
