//! LVM for real: groups, volumes and thin pools on the blank disks of a guest (`hack/guest test -p terrace-devices --disks 6`). Where there is no device-mapper,
//! or no guest around the tests, each says so in a sentence and ends: nobody's disks but a guest's are written to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

mod ailing;
mod batch;
mod fault;
mod foreign;
mod frozen;
mod group;
mod ill;
mod made;
mod pool;
mod rig;
mod sectors;
mod thin;
mod thin_full;
mod thin_kill;
mod thin_life;
mod thin_metadata;
mod vanish;
mod volume;
