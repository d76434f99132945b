//! Many operations at once on one volume group, through queue, runner, journal and audit as the agent has them, on the disks of a guest
//! (`hack/guest test -p terrace-node --disks 6 -- five_hundred`). Elsewhere it says so and ends: nobody's disks but a guest's are written to.

#![allow(clippy::panic, reason = "a test that can't go on must fail")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use terrace_backends::backend;
use terrace_device_types::lvm::FOLDER_LV;
use terrace_device_types::{
    Allocation, BackendKind, Bytes, Claimed, ClusterUid, DeletionId, DeletionProof, DeletionStamp,
    Erase, FsType, HostObject, Intent, OperationId, PoolFile, PoolIntent, PoolPlace, PoolUuid,
    PvReading, Step, TagReading, VolumeMode, VolumeUuid, Wipe, image_name,
};
use terrace_devices::lvm::{keep_in, observe_place};
use terrace_devices::{Deadline, observe_devices, observe_mounts};
use terrace_node::audit::{Audit, Phase, Wanted};
use terrace_node::context::observe_and_plan;
use terrace_node::fault::NoFaults;
use terrace_node::host::{Host, Probe, RealHost};
use terrace_node::journal::Journal;
use terrace_node::journal::record::Subject;
use terrace_node::metrics::Metrics;
use terrace_node::operation::OpKind;
use terrace_node::queue::Queue;
use terrace_node::queue::schedule::Priority;
use terrace_node::runner::{AGENT_PATIENCE, Error, Job, Runner};
use uuid::Uuid;

const SMALL: Bytes = Bytes::mib(16);
const LARGE: Bytes = Bytes::mib(32);
/// As `--max-operations` has it by default.
const AT_ONCE: usize = 8;

struct Node {
    runner: Runner,
    dir: PathBuf,
    file: PoolFile,
}

/// One operation that is to run.
struct Wish {
    kind: OpKind,
    volume: VolumeUuid,
    intent: Intent,
}

fn sh(line: &str) -> String {
    let ended = Command::new("sh").args(["-c", line]).output().expect("a shell");
    assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("text")
}

fn disks() -> Option<Vec<PathBuf>> {
    let in_guest = std::env::var_os("TERRACE_GUEST").is_some();
    let disks = std::env::var("TERRACE_DISKS").unwrap_or_default();
    let disks: Vec<PathBuf> = disks.split_whitespace().map(PathBuf::from).collect();
    if in_guest && fs::File::open("/dev/mapper/control").is_ok() && disks.len() >= 5 {
        return Some(disks);
    }
    let told = "skipped: needs a guest with device-mapper: hack/guest test -p terrace-node --disks 6 -- five_hundred\n";
    std::io::stderr().write_all(told.as_bytes()).expect("stderr");
    None
}

fn volume(number: u128) -> VolumeUuid {
    VolumeUuid(Uuid::from_u128(0x4000_8000_0000_0000_0000 + number))
}

impl Node {
    fn new(scratch: &Path) -> Self {
        keep_in(&scratch.join("lvm")).expect("a configuration");
        let (journal, _) = Journal::open(&scratch.join("journal.redb"), jiff::Timestamp::now())
            .expect("a journal");
        let audit = Audit::open(scratch, "guest").expect("an audit");
        let runner = Runner::new(
            Arc::new(RealHost::new()),
            Queue::new(AT_ONCE),
            Arc::new(journal),
            Arc::new(audit),
            Arc::new(NoFaults),
            Metrics::new(),
        );
        let cluster_uid: ClusterUid =
            "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().expect("a cluster");
        let pool_uuid = PoolUuid(Uuid::from_u128(0x8000_0000_0000_0001));
        let (pool, backend) = ("many".to_owned(), BackendKind::Lvm);
        let file = PoolFile { pool_uuid, cluster_uid, pool, backend };
        Self { runner, dir: scratch.join("pool"), file }
    }

    fn make_pool(&self, disks: &[PathBuf]) {
        let real = terrace_devices::Host::real();
        for _ in 0..8 {
            let all = observe_devices(&real).expect("devices");
            let ours = all.into_iter().filter(|device| disks.contains(&device.path));
            let ours = ours.map(|device| (device, Wipe::Never)).collect();
            let soon = Deadline::after(Duration::from_secs(60));
            let place = observe_place(&real, ours, self.file.pool_uuid, soon).expect("a place");
            let place = PoolPlace::Group(Box::new(place));
            let intent = PoolIntent::Make { file: self.file.clone(), place };
            let (host, mounts) = (&self.runner.host, observe_mounts(&real).expect("mounts"));
            let view = host.pool(&self.dir).expect("a look");
            let steps = backend(BackendKind::Lvm).plan_pool(&intent, &view, &mounts);
            let steps = steps.expect("a plan");
            if steps.is_empty() {
                return;
            }
            for step in steps {
                host.execute(&step, Duration::from_secs(60)).expect("a step");
            }
        }
        panic!("the pool is never made");
    }

    fn create(&self, number: u128) -> Wish {
        let (volume, cluster) = (volume(number), self.file.cluster_uid.clone());
        let intent = Intent::Create {
            volume,
            cluster,
            name: format!("pvc-{number}"),
            size: SMALL,
            mode: VolumeMode::Filesystem { fs: FsType::Ext4 },
            allocation: Allocation::Reserved,
        };
        Wish { kind: OpKind::Create, volume, intent }
    }

    fn grow(&self, number: u128) -> Wish {
        let (volume, cluster) = (volume(number), self.file.cluster_uid.clone());
        Wish { kind: OpKind::Grow, volume, intent: Intent::Grow { volume, cluster, to: LARGE } }
    }

    fn delete(&self, number: u128) -> Wish {
        let (volume, id) = (volume(number), DeletionId::from(Uuid::from_u128(number)));
        let view = self.runner.host.volume(&self.dir, volume, None, Probe::Skip).expect("a look");
        let TagReading::Read(tag) = view.volume.image.expect("an entry").tag else {
            panic!("no tag")
        };
        let stamp = DeletionStamp { volume, id };
        let read = Claimed::Volume(PvReading::NotFound);
        let cluster = &self.file.cluster_uid;
        let proof = DeletionProof::check(Some(&stamp), volume, cluster, &read, &tag);
        let intent = Intent::Delete { volume, proof: proof.expect("proof"), erase: Erase::No };
        Wish { kind: OpKind::Delete, volume, intent }
    }

    /// Runs them all at once; how long each took from being asked for, and why those that failed did.
    async fn run(&self, wishes: Vec<Wish>) -> (Vec<Duration>, Vec<Error>) {
        let tasks: Vec<_> = wishes
            .into_iter()
            .map(|Wish { kind, volume, intent }| {
                let (runner, dir, pool) =
                    (self.runner.clone(), self.dir.clone(), self.file.pool_uuid);
                let name = format!("{volume}");
                let subject =
                    Subject { volume: Some(volume), pool: Some(pool), name, ..Subject::default() };
                let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, Error> {
                    observe_and_plan(host, &dir, volume, Probe::Look, &intent)
                };
                tokio::spawn(async move {
                    let began = Instant::now();
                    loop {
                        let subject = subject.clone();
                        let job = Job::on_volume(kind, subject, Priority::Agent, AGENT_PATIENCE);
                        match runner.run(job, plan.clone()).await {
                            // Whoever asks is told that it is not its turn yet, and asks again.
                            Err(Error::Busy(_)) => {}
                            ended => return (ended, began.elapsed()),
                        }
                    }
                })
            })
            .collect();
        let (mut took, mut failed) = (Vec::new(), Vec::new());
        for task in tasks {
            let (ended, time) = task.await.expect("no panic");
            took.push(time);
            failed.extend(ended.err());
        }
        took.sort();
        (took, failed)
    }
}

/// What of the group is there: names of logical volumes with their sizes.
fn logical(disks: &[PathBuf], group: &str) -> BTreeSet<String> {
    let devices = disks.iter().map(|disk| format!("--devices {}", disk.display()));
    let devices: Vec<String> = devices.collect();
    let told = sh(&format!(
        "lvm lvs {} --noheadings --units m --nosuffix --separator ' ' -o lv_name,lv_size {group}",
        devices.join(" ")
    ));
    told.lines().map(|line| line.trim().to_owned()).collect()
}

fn told(what: &str, took: &[Duration], all: Duration) -> String {
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)].as_secs_f64();
    format!(
        "{what}: {} operations in {:.1} s, {:.1} ms each; from being asked for: p50 {:.2} s, p99 {:.2} s\n",
        took.len(),
        all.as_secs_f64(),
        all.as_secs_f64() * 1000.0 / took.len() as f64,
        at(50),
        at(99)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_operations_at_once_on_one_group_all_end_and_leave_nothing_behind() {
    let Some(disks) = disks() else { return };
    let scratch = tempfile::tempdir().expect("temp dir");
    let node = Node::new(scratch.path());
    let group = format!("terrace-{}", node.file.pool_uuid);
    // Of the same name, on a device of its own.
    let (ours, foreign) = (&disks[..4], disks[4].display());
    sh(&format!("lvm vgcreate -qq --devices {foreign} {group} {foreign} 2>&1"));
    sh(&format!("lvm lvcreate -qq -an -Zn -Wn --devices {foreign} -L 64m -n theirs {group} 2>&1"));
    let theirs = || {
        sh(&format!(
            "head -c 128M {foreign} | sha256sum; lvm vgs --devices {foreign} --noheadings -o vg_seqno,lv_count {group}"
        ))
    };
    let before = theirs();
    node.make_pool(ours);

    let (took, failed) = {
        let began = Instant::now();
        let (took, failed) = node.run((0..250).map(|n| node.create(n)).collect()).await;
        let text = told("250 creates", &took, began.elapsed());
        std::io::stderr().write_all(text.as_bytes()).expect("stderr");
        (took, failed)
    };
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), took.len(), failed.first());

    let creates = (250..500).map(|n| node.create(n));
    let grows = (0..125).map(|n| node.grow(n));
    let deletes = (125..250).map(|n| node.delete(n));
    let wishes: Vec<Wish> = creates.chain(grows).chain(deletes).collect();
    let began = Instant::now();
    let (took, failed) = node.run(wishes).await;
    let all = began.elapsed();

    let name = |number| image_name(HostObject::Volume, volume(number));
    let small = (250..500).map(|n| format!("{} 16.00", name(n)));
    let large = (0..125).map(|n| format!("{} 32.00", name(n)));
    let mut wanted: BTreeSet<String> = small.chain(large).collect();
    let mut there = logical(ours, &group);
    there.retain(|line| !line.starts_with(FOLDER_LV));
    let leaked = there.difference(&wanted).count();
    let text = told("250 creates, 125 grows, 125 deletes", &took, all);
    let text = format!("{text}failed {}, leaked {leaked}\n", failed.len());
    std::io::stderr().write_all(text.as_bytes()).expect("stderr");
    assert!(failed.is_empty(), "{:?}", failed.first());
    assert_eq!(there, wanted);

    let entries: BTreeSet<String> = fs::read_dir(&node.dir)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("t-") || name.starts_with("q-") || name.starts_with('.'))
        .collect();
    wanted = wanted.iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(entries, wanted, "an entry for each, and none more");
    let mapped = sh("dmsetup ls | wc -l");
    assert_eq!(mapped.trim(), "376", "each has its device, and the folder");
    assert!(node.runner.journal.open_operations().expect("read").is_empty());
    assert!(node.runner.queue.snapshot().is_empty());
    let audited = node.runner.audit.read(&Wanted::default()).expect("read").entries;
    let removed = audited.iter().filter(|e| e.act == "remove" && e.phase == Phase::Result);
    assert!(removed.count() >= 125, "each removal is told");
    assert_eq!(theirs(), before, "the other group is as it was");
    sh(&format!("umount {}", node.dir.display()));
}
