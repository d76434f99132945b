//! Stories on a real host: loop devices, filesystems, mounts and the CSI socket, as root. Each story has
//! its own folder, pool and sockets, and takes everything away again, whatever became of it. In a guest with disks, stories of deaths are told of logical
//! volumes: `hack/guest test -p terrace-node --disks 3 -- crash::`.

#[path = "story/absence.rs"]
mod absence;
#[path = "story/agent.rs"]
mod agent;
#[path = "story/api.rs"]
mod api;
#[path = "story/bench.rs"]
mod bench;
#[path = "story/copies.rs"]
mod copies;
#[path = "story/crash.rs"]
mod crash;
#[path = "story/disks.rs"]
mod disks;
#[path = "story/ground.rs"]
mod ground;
#[path = "story/groups.rs"]
mod groups;
#[path = "story/health.rs"]
mod health;
#[path = "story/hung.rs"]
mod hung;
#[path = "story/kubelet.rs"]
mod kubelet;
#[path = "story/node.rs"]
mod node;
#[path = "story/orphans.rs"]
mod orphans;
#[path = "story/pools.rs"]
mod pools;
#[path = "story/probe.rs"]
mod probe;
#[path = "story/snapshot_crash.rs"]
mod snapshot_crash;
#[path = "story/snapshot_end.rs"]
mod snapshot_end;
#[path = "story/snapshots.rs"]
mod snapshots;
#[path = "story/subvolumes.rs"]
mod subvolumes;
#[path = "story/sweep.rs"]
mod sweep;
#[path = "story/sweep_crash.rs"]
mod sweep_crash;
#[path = "story/thin_crash.rs"]
mod thin_crash;
