//! Stories on the real node: each makes what it needs, waits with a deadline, and leaves nothing behind.
//! They share one cluster; one that takes a part of it away runs alone (`.config/nextest.toml`).

mod btrfs;
mod capacity;
mod crash;
mod deletion;
mod direct;
mod explain;
mod faults;
mod foreign;
mod growth;
mod life;
mod limits;
mod lost;
mod lvm;
mod orphans;
mod policies;
mod pools;
mod probe;
mod refusals;
mod snapshots;
mod standards;
