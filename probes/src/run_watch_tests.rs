//! The loop's heart with a kernel that is made of values and a /proc that is a folder: naming, windows, turns, restart.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path as FsPath;
use std::rc::Rc;

use clap::Parser;
use terrace_probe_abi::layout::{
    FIRST_PROVISIONAL, Figures, Operation, OperationFigures, Path, SLOT_IGNORED, SharedClass, Slot,
    SlotKind, SlowRecord, Tier, bucket_of,
};
use terrace_probe_abi::wire::{Names, PodName, ToNode, VolumeName};

use super::Watch;
use crate::args::Args;
use crate::loader::{
    Attached, BlockFigures, Changed, Counters, FunctionReport, LoadError, Sighting, Switch, Thing,
};
use crate::metrics::families;
use crate::metrics_page::{Format, encode};
use crate::place_directory::DirectoryClass;
use crate::run_settings::Settings;

const POD: &str = "57ae704b-a842-42dd-b456-7df685c39008";

/// What is in the kernel, and outlives a process that looks at it.
#[derive(Debug)]
struct Kernel {
    figures: BTreeMap<Slot, Box<Figures>>,
    sightings: Vec<Sighting>,
    slow: Vec<SlowRecord>,
    thresholds: BTreeMap<Slot, u64>,
    functions: Vec<FunctionReport>,
    directories: Vec<DirectoryClass>,
    marked: Vec<(Thing, Switch)>,
    owners: BTreeMap<Slot, Vec<u8>>,
    wake: fs::File,
}

#[derive(Clone, Debug)]
struct Fake(Rc<RefCell<Kernel>>);

impl Fake {
    fn new() -> Self {
        let report = FunctionReport {
            function: "sys_enter".into(),
            tier: Tier::RawTracepoint,
            reason: "locked".into(),
        };
        Self(Rc::new(RefCell::new(Kernel {
            figures: BTreeMap::new(),
            sightings: Vec::new(),
            slow: Vec::new(),
            thresholds: BTreeMap::new(),
            functions: vec![report],
            directories: Vec::new(),
            marked: Vec::new(),
            owners: BTreeMap::new(),
            wake: fs::File::open("/dev/null").unwrap(),
        })))
    }

    /// A mount is used for the first time: so many operations, then it waits for its name.
    fn sees(&self, id: u32, slot: Slot) {
        self.0.borrow_mut().sightings.push(Sighting {
            thing: Thing::Mount(id),
            generation: 1,
            slot,
            s_dev: (7, 8),
            root_hash: 0,
            magic: 0x5846_5342,
            tgid: 900,
            seen_ns: 1,
        });
    }

    /// Operations on a mount, wherever it is counted by now.
    fn does(&self, id: u32, operation: Operation, count: u64, ns: u64) {
        let slot = self.slot(id);
        let mut kernel = self.0.borrow_mut();
        let figures = &mut kernel.figures.entry(slot).or_default()[operation.index()];
        figures.buckets[bucket_of(ns)] += count;
        figures.sum_ns += count * ns;
        figures.bytes += count * 4096;
        figures.max_ns = figures.max_ns.max(ns);
    }

    fn slot(&self, id: u32) -> Slot {
        let kernel = self.0.borrow();
        let seen = kernel.sightings.iter().find(|seen| seen.thing == Thing::Mount(id));
        seen.unwrap().slot
    }
}

impl Attached for Fake {
    fn functions(&self) -> &[FunctionReport] {
        // As long as the test runs.
        Box::leak(self.0.borrow().functions.clone().into_boxed_slice())
    }
    fn unobservable(&self) -> &[Path] {
        &[Path::Mmap]
    }
    fn figures(&self, slot: Slot) -> Box<Figures> {
        self.0.borrow().figures.get(&slot).cloned().unwrap_or_default()
    }
    fn take_longest(&self, slot: Slot) -> [u64; 4] {
        let mut kernel = self.0.borrow_mut();
        let figures = kernel.figures.entry(slot).or_default();
        std::array::from_fn(|at| std::mem::take(&mut figures[at].max_ns))
    }
    fn block_figures(&self, _: Slot) -> BlockFigures {
        BlockFigures::default()
    }
    fn clear(&self, slot: Slot) {
        self.0.borrow_mut().figures.remove(&slot);
    }
    fn sightings(&self) -> Result<Vec<Sighting>, LoadError> {
        Ok(self.0.borrow().sightings.clone())
    }
    fn slow_events(&mut self, limit: usize) -> Vec<SlowRecord> {
        let mut kernel = self.0.borrow_mut();
        let count = limit.min(kernel.slow.len());
        kernel.slow.drain(..count).collect()
    }
    fn wake(&self) -> BorrowedFd<'_> {
        // SAFETY is not needed: the file is leaked with the clone of the handle.
        let file: &'static fs::File =
            Box::leak(Box::new(self.0.borrow().wake.try_clone().unwrap()));
        file.as_fd()
    }
    fn counters(&self) -> Result<Counters, LoadError> {
        Ok(Counters { missed: [3, 0, 0, 0, 0, 0], ..Counters::default() })
    }
    fn set_slot(&self, thing: Thing, generation: u16, slot: Slot) -> Result<Changed, LoadError> {
        let mut kernel = self.0.borrow_mut();
        let same = |seen: &&mut Sighting| seen.thing == thing && seen.generation == generation;
        let Some(seen) = kernel.sightings.iter_mut().find(same) else { return Ok(Changed::No) };
        seen.slot = slot;
        Ok(Changed::Yes)
    }
    fn set_directories(&self, directories: &[DirectoryClass]) -> Result<(), LoadError> {
        self.0.borrow_mut().directories = directories.to_vec();
        Ok(())
    }
    fn set_has_directories(&self, thing: Thing, _: u16, has: Switch) -> Result<Changed, LoadError> {
        self.0.borrow_mut().marked.push((thing, has));
        Ok(Changed::Yes)
    }
    fn remember(&self, volume: Slot, owner: &[u8]) {
        self.0.borrow_mut().owners.insert(volume, owner.to_vec());
    }
    fn remembered(&self) -> Vec<(Slot, Vec<u8>)> {
        self.0.borrow().owners.clone().into_iter().collect()
    }
    fn forget(&self, thing: Thing, _: u16) -> Result<Changed, LoadError> {
        self.0.borrow_mut().sightings.retain(|seen| seen.thing != thing);
        Ok(Changed::Yes)
    }
    fn fold(&self, from: Slot, to: Slot) -> Result<(), LoadError> {
        self.retire(from, to);
        Ok(())
    }
    fn retire(&self, volume: Slot, to: Slot) {
        let mut kernel = self.0.borrow_mut();
        let gone = kernel.figures.remove(&volume).unwrap_or_default();
        let into = kernel.figures.entry(to).or_default();
        into.iter_mut().zip(gone.iter()).for_each(|(sum, more)| sum.add(more));
    }
    fn release(&self, provisional: Slot) -> Result<(), LoadError> {
        self.clear(provisional);
        Ok(())
    }
    fn set_threshold(&self, slot: Slot, ns: u64) {
        self.0.borrow_mut().thresholds.insert(slot, ns);
    }
    fn set_device(&self, _: Slot, _: Option<(u32, u32)>) -> Result<(), LoadError> {
        Ok(())
    }
}

/// A /proc in which process 900 of a Pod sees the volume's mount 501, and the host its own, 500.
fn proc_with(volume_is_mounted: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: String| {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), text).unwrap();
    };
    let root = "20 1 254:0 / / rw - ext4 /dev/vda rw\n";
    let at = format!("/var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~csi/pv-1/mount");
    let published = format!("500 20 7:8 /data {at} rw - xfs /dev/loop8 rw\n");
    let configmap = format!(
        "502 20 0:99 / /var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~configmap/c rw - tmpfs tmpfs rw\n"
    );
    let host =
        if volume_is_mounted { format!("{root}{published}{configmap}") } else { root.to_owned() };
    write("1/mountinfo", host);
    let pod =
        "600 1 0:50 / / rw - overlay overlay rw\n501 600 7:8 /data /data rw - xfs /dev/loop8 rw\n";
    write(
        "900/mountinfo",
        if volume_is_mounted {
            pod.to_owned()
        } else {
            "600 1 0:50 / / rw - overlay overlay rw\n".into()
        },
    );
    write("900/cgroup", format!("0::/kubepods/burstable/pod{POD}/{}\n", "c".repeat(64)));
    folder
}

fn settings(proc: &FsPath, more: &[&str]) -> Settings {
    let proc = proc.display().to_string();
    let basic = ["terrace-probe", "--node-name", "n", "--proc", &proc];
    Settings::of(&Args::try_parse_from([&basic[..], more].concat()).unwrap())
}

fn names() -> Names {
    let volume = VolumeName {
        pv_name: "pv-1".into(),
        pod_uids: vec![POD.into()],
        namespace: "bank".into(),
        claim: "data".into(),
        target_p99_ns: Some(5_000_000),
        ..VolumeName::default()
    };
    let pod = PodName { uid: POD.into(), namespace: "bank".into(), name: "ledger-0".into() };
    Names { pods: vec![pod], volumes: vec![volume], ..Names::default() }
}

fn page(watch: &Watch<Fake>) -> String {
    String::from_utf8(encode(families(&watch.view()), Format::Text).unwrap()).unwrap()
}

fn writes(watch: &Watch<Fake>) -> Option<u64> {
    let name = "terrace_volume_operation_duration_seconds_count{namespace=\"bank\",persistentvolumeclaim=\"data\",operation=\"write\"} ";
    page(watch).lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

#[test]
fn operations_before_the_name_was_known_are_the_volumes_too() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    kernel.sees(501, FIRST_PROVISIONAL);
    kernel.does(501, Operation::Write, 10, 1_000_000);
    watch.look().unwrap();
    assert_eq!(
        (kernel.slot(501), writes(&watch)),
        (FIRST_PROVISIONAL, None),
        "nobody said whose it is"
    );
    watch.names(names());
    watch.look().unwrap();
    assert_eq!(SlotKind::of(kernel.slot(501)), SlotKind::Volume);
    kernel.does(501, Operation::Write, 7, 1_000_000);
    watch.window().unwrap();
    assert_eq!(writes(&watch), Some(17));
    assert_eq!(kernel.0.borrow().thresholds[&kernel.slot(501)], 5_000_000);
    let page = page(&watch);
    assert!(page.contains("device=\"7:8\",fstype=\"xfs\",pod=\"ledger-0\""), "{page}");
}

#[test]
fn a_volume_that_is_slow_turns_within_two_windows_and_is_told_again_to_whoever_connects() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    watch.look().unwrap();
    let mut said = Vec::new();
    for _ in 0..3 {
        kernel.does(501, Operation::Fsync, 40, 8_000_000);
        said.push(watch.window().unwrap());
    }
    let turned = |messages: &[ToNode]| {
        messages.iter().any(|one| matches!(one, ToNode::Turned(turned) if turned.high && turned.operation == Operation::Fsync))
    };
    assert_eq!(said.iter().map(|said| turned(said)).collect::<Vec<_>>(), [false, true, false]);
    let Some(ToNode::Figures(figures)) = said[0].last() else { panic!("{said:?}") };
    assert_eq!((figures.volumes[0].claim.as_deref(), figures.missed[0].count), (Some("data"), 3));
    let hello = watch.hello();
    assert!(
        matches!(&hello[0], ToNode::Hello(hello) if hello.unobservable == ["mmap"]),
        "{hello:?}"
    );
    assert!(turned(&hello), "{hello:?}");
    assert!(watch.window().unwrap().is_empty(), "an idle volume is not told of");
}

#[test]
fn a_restart_finds_its_volume_again_and_no_series_goes_backwards() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    kernel.does(501, Operation::Write, 10, 1_000_000);
    watch.look().unwrap();
    watch.window().unwrap();
    assert_eq!(writes(&watch), Some(10));
    drop(watch);
    kernel.does(501, Operation::Write, 5, 50_000_000);
    let mut again = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    again.names(names());
    again.look().unwrap();
    assert_eq!(writes(&again), Some(15), "what happened in between is there too");
    assert!(again.window().unwrap().is_empty(), "and is history, not this window's");
    assert_eq!(writes(&again), Some(15));
}

#[test]
fn a_type_that_is_switched_off_is_left_alone() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let only_pvc = settings(proc.path(), &["--volume-types", "pvc"]);
    let mut watch = Watch::new(kernel.clone(), only_pvc).unwrap();
    watch.names(names());
    kernel.sees(502, FIRST_PROVISIONAL);
    kernel.0.borrow_mut().sightings[0].s_dev = (0, 99);
    kernel.sees(501, FIRST_PROVISIONAL + 1);
    watch.look().unwrap();
    assert_eq!(kernel.slot(502), SLOT_IGNORED);
    assert_eq!(SlotKind::of(kernel.slot(501)), SlotKind::Volume);
    let mut all = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    kernel.0.borrow_mut().sightings[0].slot = FIRST_PROVISIONAL;
    all.look().unwrap();
    assert_eq!(kernel.slot(502), SharedClass::ConfigMap.slot());
}

#[test]
fn a_slow_operation_is_told_with_claim_pod_and_container() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    watch.look().unwrap();
    let mut record = crate::slow::tests::record();
    (record.mount, record.slot, record.tgid) = (501, kernel.slot(501), 900);
    kernel.0.borrow_mut().slow.push(record.clone());
    let told = watch.slow();
    assert_eq!(
        (told[0].persistent_volume_claim.as_deref(), told[0].mount_point.as_deref()),
        (Some("data"), Some("/data"))
    );
    assert_eq!(
        (told[0].pod_uid.as_deref(), told[0].container_id.clone()),
        (Some(POD), Some("c".repeat(64)))
    );
    assert!(watch.slow().is_empty() && page(&watch).contains("terrace_probe_slow_events_total 1"));
    let mut blind =
        Watch::new(kernel.clone(), settings(proc.path(), &["--container-correlation", "off"]))
            .unwrap();
    kernel.0.borrow_mut().slow.push(record);
    assert_eq!(blind.slow()[0].pod_uid, None);
}

#[test]
fn what_volumes_counted_that_are_gone_stays_in_the_sum() {
    let (proc, kernel) = (proc_with(true), Fake::new());
    let mut watch = Watch::new(kernel.clone(), settings(proc.path(), &[])).unwrap();
    watch.names(names());
    kernel.sees(501, FIRST_PROVISIONAL);
    kernel.does(501, Operation::Write, 10, 1_000_000);
    watch.look().unwrap();
    watch.window().unwrap();
    let of_all = |watch: &Watch<Fake>| {
        page(watch).contains(
            "terrace_operation_duration_seconds_count{class=\"pvc\",operation=\"write\"} 10",
        )
    };
    assert!(of_all(&watch) && writes(&watch) == Some(10));
    let gone = proc_with(false);
    watch.settings.proc = gone.path().to_owned();
    watch.proc = crate::host_proc::HostProc::new(gone.path());
    watch.swept = None;
    let windows = |watch: &mut Watch<Fake>| (0..20).for_each(|_| drop(watch.window().unwrap()));
    windows(&mut watch);
    assert!(kernel.0.borrow().sightings.is_empty(), "the mount is forgotten");
    assert_eq!(writes(&watch), Some(10), "a Pod has it still");
    watch.names(Names::default());
    windows(&mut watch);
    assert_eq!((watch.slots.free(), watch.volumes.len()), (512, 0), "its slot is free");
    assert!(of_all(&watch) && writes(&watch).is_none(), "{}", page(&watch));
}

const _: OperationFigures = OperationFigures::ZERO;

#[path = "run_directories_tests.rs"]
mod directories;
#[path = "run_need_tests.rs"]
mod need;
