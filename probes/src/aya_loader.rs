//! The loader over aya: chooses with the ladder, loads, attaches, tests, and starts over one tier lower where the kernel refuses.

mod attached;
mod pins;
mod programs;

use std::path::{Path, PathBuf};

use aya::maps::Map;
use aya::{Btf, Ebpf, EbpfLoader};
use terrace_probe_abi::layout::{Operation, SLOTS, SharedClass, SlotKind, Tier};

use crate::calls::{plan_calls, plan_opcodes};
use crate::facts::observe_facts;
use crate::ladder::{Choice, Facts, Known, Refusal, choose};
use crate::loader::{LoadError, Loader, Plan};
use crate::maps::{Age, Maps, object};
use crate::program::{Hook, TARGETS};
use crate::self_test::{Finding, self_test};

pub use attached::Loaded;
use pins::Pins;
pub use pins::remove_pins;
use programs::{Running, attach_all};

/// The programs, compiled by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probe.o"));
/// A hash of their sources.
const HASH: &str = env!("TERRACE_ABI_HASH");
/// Stripes at most: above 8 processors they share.
const STRIPES: u32 = 8;
/// A slow operation in the ring with its header.
const EVENT_BYTES: u32 = size_of::<terrace_probe_abi::layout::SlowRecord>() as u32 + 8;

/// Loads with aya.
#[derive(Debug, Default, Clone, Copy)]
pub struct AyaLoader;

impl Loader for AyaLoader {
    type Attached = Loaded;

    fn attach(&self, plan: &Plan) -> Result<Loaded, LoadError> {
        let facts = observe_facts();
        let pins = plan.pins.as_deref().map(|folder| Pins::new(folder, HASH, plan));
        if let Some(adopted) = pins.as_ref().and_then(|pins| adopt(pins, plan)) {
            return Ok(adopted);
        }
        let loaded = climb(&facts, plan, pins.as_ref())?;
        // The kernel's types alone are some 20 MB while they are read; they are not needed again.
        terrace_telemetry::give_memory_back();
        Ok(loaded)
    }
}

/// Tries, and each time the kernel refuses something tries again without it. Ends: every round either succeeds or refuses one more.
fn climb(facts: &Facts, plan: &Plan, pins: Option<&Pins>) -> Result<Loaded, LoadError> {
    let types = match facts.types {
        Known::There => Some(Btf::from_sys_fs().map_err(object("read the kernel's types"))?),
        Known::Missing => None,
    };
    let mut refusals = Vec::new();
    loop {
        let choices = choose(facts, plan, &refusals);
        let Some(types) = types.as_ref().filter(|_| choices.iter().any(is_followed)) else {
            return Loaded::new(None, &choices, plan, Running::new(), None);
        };
        match once(facts, plan, pins, types, &choices)? {
            Ok(loaded) => return Ok(loaded),
            Err(more) => refusals.extend(more),
        }
    }
}

fn is_followed(choice: &Choice) -> bool {
    choice.tier != Tier::None
}

/// One round: all of it stands, or what was refused.
fn once(
    facts: &Facts,
    plan: &Plan,
    pins: Option<&Pins>,
    types: &Btf,
    choices: &[Choice],
) -> Result<Result<Loaded, Vec<Refusal>>, LoadError> {
    let stripes = stripes()?;
    let (paths, age) = pins.map_or(Ok((vec![], Age::New)), |pins| pins.prepare(stripes))?;
    let mut ebpf = load(facts, plan, &paths, types, choices, stripes)?;
    let maps = Maps::open(|name| take(&mut ebpf, name), stripes, age)?;
    pins.map_or(Ok(()), Pins::filled)?;
    configure(&maps, plan);
    let running = match attach_all(&mut ebpf, types, choices) {
        Ok(running) => running,
        Err(refusals) => return Ok(Err(refusals)),
    };
    let findings = self_test(&maps, choices);
    let refusals: Vec<Refusal> = findings.into_iter().map(Finding::into_refusal).collect();
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    let running = match pins {
        Some(pins) => pins.keep(&mut ebpf, running)?,
        None => running,
    };
    Loaded::new(Some(maps), choices, plan, running, Some(ebpf)).map(Ok)
}

/// What a killed probe left, if it is whole and of this plan: it has been counting since.
fn adopt(pins: &Pins, plan: &Plan) -> Option<Loaded> {
    let stripes = stripes().ok()?;
    let (running, choices) = pins.adopt(stripes)?;
    let maps = Maps::open(|name| pins.open(name), stripes, Age::Old).ok()?;
    configure(&maps, plan);
    Loaded::new(Some(maps), &choices, plan, running, None).ok()
}

fn load(
    facts: &Facts,
    plan: &Plan,
    paths: &[(&'static str, PathBuf)],
    types: &Btf,
    choices: &[Choice],
    stripes: u32,
) -> Result<Ebpf, LoadError> {
    let hooks = |tiers: &[Tier]| -> Vec<Hook> {
        let of = choices.iter().filter(|choice| tiers.contains(&choice.tier));
        of.map(|choice| choice.hook).collect()
    };
    let asked: Vec<Hook> = TARGETS
        .iter()
        .filter(|target| target.operations.iter().any(|one| plan.operations.contains(one)))
        .map(|target| target.hook)
        .collect();
    let calls = plan_calls(&hooks(&[Tier::RawTracepoint]));
    let opcodes = plan_opcodes(&asked, &hooks(&[Tier::Fentry, Tier::Kprobe]));
    let mask = stripes - 1;
    let interval = 1_000_000_000 / u64::from(plan.slow_per_second.max(1));
    let burst = u64::from(plan.slow_burst);
    // Atomic operations that return something: Linux 5.12.
    let fetch = u8::from(facts.kernel >= (5, 12));
    let is_seen = |choice: &Choice| choice.hook == Hook::Rename && choice.tier != Tier::None;
    let renames = u8::from(choices.iter().any(is_seen));
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(types))
        .override_global("stripe_mask", &mask, true)
        .override_global("slow_interval_ns", &interval, true)
        .override_global("slow_burst", &burst, true)
        .override_global("has_fetch", &fetch, true)
        .override_global("sees_renames", &renames, true)
        .override_global("calls", &calls, true)
        .override_global("uring_calls", &opcodes, true)
        .map_max_entries("figures", u32::from(SLOTS) * Operation::ALL.len() as u32 * stripes)
        .map_max_entries("events", ring_bytes(plan));
    for (name, path) in paths {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(OBJECT).map_err(object("load the probe's object"))
}

/// Room for a burst, a power of two as the ring wants it.
fn ring_bytes(plan: &Plan) -> u32 {
    plan.slow_burst.clamp(64, 100_000).saturating_mul(EVENT_BYTES).next_power_of_two()
}

/// Thresholds and samples before the first operation is counted.
fn configure(maps: &Maps, plan: &Plan) {
    let threshold = u64::try_from(plan.threshold.as_nanos()).unwrap_or(u64::MAX);
    let sample = (plan.sampling.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    for slot in 0..SLOTS {
        let is_sampled = match SlotKind::of(slot) {
            SlotKind::Class(class) => class.is_some_and(SharedClass::is_sampled),
            SlotKind::Volume | SlotKind::Provisional | SlotKind::Uncounted => false,
        };
        maps.set_threshold(slot, threshold);
        maps.set_keep(slot, if is_sampled { sample } else { u32::MAX });
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::Absent { name })
}

/// A power of two, one for each processor that may ever be, 8 at most.
fn stripes() -> Result<u32, LoadError> {
    let processors = aya::util::nr_cpus().map_err(|(doing, source)| LoadError::Io {
        doing,
        path: Path::new("/sys/devices/system/cpu/possible").into(),
        source,
    })?;
    Ok((processors as u32).next_power_of_two().min(STRIPES))
}
