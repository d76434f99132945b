//! What outlives the process below a bpffs: maps, programs and links, in a folder named after the sources' hash. Taken over only
//! if every map has the shape that this version wants and every link of this plan is there.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramInfo, RawTracePoint};
use terrace_probe_abi::layout::Tier;

use super::programs::{Running, Working, field};
use crate::ladder::Choice;
use crate::loader::{LoadError, Plan, Switch};
use crate::map_shape::{SHAPES, Shape};
use crate::maps::{Age, Maps, object};
use crate::program::{TARGETS, Target, Visibility};

/// A folder that says that the maps are filled as they must be at first.
const FILLED: &str = "filled";
/// A folder that says that all links of its folder are there.
const WHOLE: &str = "whole";

/// Maps by name, and where each is pinned.
pub(super) type Paths = Vec<(&'static str, PathBuf)>;

/// The pins of one version and one plan.
pub(super) struct Pins {
    root: PathBuf,
    version: PathBuf,
    links: PathBuf,
    asked: Plan,
}

impl Pins {
    pub(super) fn new(root: &Path, hash: &str, plan: &Plan) -> Self {
        let version = root.join(hash);
        let links = version.join(format!("links-{:016x}", key(plan)));
        Self { root: root.to_owned(), version, links, asked: plan.clone() }
    }

    /// Makes the folder ready for maps: those of another shape, or half made, are taken away with all that hangs on them.
    pub(super) fn prepare(&self, stripes: u32) -> Result<(Paths, Age), LoadError> {
        let is_whole = self.version.join(FILLED).exists()
            && SHAPES.iter().all(|shape| self.has_shape(shape, stripes));
        if is_whole {
            self.remove_links()?;
        } else {
            remove(&self.version)?;
        }
        make(&self.version)?;
        let paths = SHAPES.iter().map(|shape| (shape.name, self.version.join(shape.name)));
        Ok((paths.collect(), if is_whole { Age::Old } else { Age::New }))
    }

    /// The maps hold what they must.
    pub(super) fn filled(&self) -> Result<(), LoadError> {
        make(&self.version.join(FILLED))
    }

    fn has_shape(&self, shape: &Shape, stripes: u32) -> bool {
        let Ok(data) = MapData::from_pin(self.version.join(shape.name)) else { return false };
        let text = info(data.fd().as_fd().as_raw_fd());
        let is = |key, wanted: u32| field(&text, key) == u64::from(wanted);
        is("map_type", shape.kind)
            && is("key_size", shape.key)
            && is("value_size", shape.value)
            && (shape.is_sized_at_load() || is("max_entries", shape.entries(stripes)))
    }

    /// Opens one of the maps.
    pub(super) fn open(&self, name: &'static str) -> Result<Map, LoadError> {
        let data = MapData::from_pin(self.version.join(name)).map_err(object(name))?;
        Map::from_map_data(data).map_err(object(name))
    }

    /// Programs at work since an earlier process of this version and plan, and what that one had chosen.
    pub(super) fn adopt(&self, stripes: u32) -> Option<(Running, Vec<Choice>)> {
        let is_whole = self.links.join(WHOLE).exists()
            && self.version.join(FILLED).exists()
            && SHAPES.iter().all(|shape| self.has_shape(shape, stripes));
        if !is_whole {
            return None;
        }
        let mut running = Running::new();
        for entry in fs::read_dir(&self.links).ok()?.flatten() {
            let file = entry.file_name().into_string().ok()?;
            let Some(name) = file.strip_prefix("prog_") else { continue };
            let link = PinnedLink::from_pin(self.links.join(format!("link_{name}"))).ok()?;
            let info = ProgramInfo::from_pin(entry.path()).ok()?;
            // Of whatever kind it is: only its descriptor is taken.
            let pinned = RawTracePoint::from_pin(entry.path()).ok()?;
            let loaded = pinned.fd().ok()?;
            running.push(Working::from_info(name, &info, loaded, Some(FdLink::from(link))).ok()?);
        }
        let choices = TARGETS.iter().map(|target| self.chosen(target, &running)).collect();
        Some((running, choices))
    }

    /// What a target's programs say that it was chosen to be.
    fn chosen(&self, target: &Target, running: &Running) -> Choice {
        let has = |program: &str| running.iter().any(|working| working.name == program);
        let by = |prefix: &str| {
            target.functions.iter().copied().find(|name| has(&format!("{prefix}_{name}")))
        };
        let points = target.tracepoints.iter().any(|(_, program)| has(program));
        let is_asked = target.operations.iter().any(|one| self.asked.operations.contains(one));
        let calls = is_asked && target.by_calls == Visibility::Seen && has("call_begins");
        let first = target.functions.first().copied();
        let first = first.or_else(|| target.tracepoints.first().map(|(point, _)| *point));
        let first = first.unwrap_or_default();
        let (tier, function) = match (by("fentry"), by("kprobe")) {
            (Some(function), _) => (Tier::Fentry, function),
            (None, Some(function)) => (Tier::Kprobe, function),
            (None, None) if points || calls => (Tier::RawTracepoint, first),
            (None, None) => (Tier::None, first),
        };
        let reason = if tier == Tier::Fentry { "" } else { "as the probe before this one chose" };
        Choice { hook: target.hook, tier, function, reason: reason.into() }
    }

    /// Pins what runs. Where a link cannot be pinned none is: the maps still are.
    pub(super) fn keep(&self, ebpf: &mut Ebpf, running: Running) -> Result<Running, LoadError> {
        if running.iter().any(|working| working.link.is_none()) {
            return Ok(running);
        }
        make(&self.links)?;
        let kept = running.into_iter().map(|working| self.keep_one(ebpf, working));
        let kept = kept.collect::<Result<Running, LoadError>>()?;
        make(&self.links.join(WHOLE))?;
        self.remove_other_versions()?;
        Ok(kept)
    }

    fn keep_one(&self, ebpf: &mut Ebpf, working: Working) -> Result<Working, LoadError> {
        let name = working.name.clone();
        if let Some(program) = ebpf.program_mut(&name) {
            program
                .pin(self.links.join(format!("prog_{name}")))
                .map_err(object("pin a program"))?;
        }
        let link = working.link.map(|link| link.pin(self.links.join(format!("link_{name}"))));
        let link = link.transpose().map_err(object("pin a link"))?.map(FdLink::from);
        Ok(Working { link, ..working })
    }

    /// Links of other plans on the same maps would count twice.
    fn remove_links(&self) -> Result<(), LoadError> {
        for path in folders(&self.version) {
            if named(&path).starts_with("links-") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Those of earlier versions have counted until now.
    fn remove_other_versions(&self) -> Result<(), LoadError> {
        for path in folders(&self.root) {
            if path != self.version && is_version(named(&path)) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Takes away all that a probe left below a folder: programs of no process stop then.
///
/// # Errors
/// As the kernel says.
pub fn remove_pins(root: &Path) -> Result<(), LoadError> {
    folders(root).iter().filter(|path| is_version(named(path))).try_for_each(|path| remove(path))
}

fn is_version(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whatever is put into programs at load is part of the plan's name: the rest is set anew in maps.
fn key(plan: &Plan) -> u64 {
    let Plan {
        operations,
        forced,
        pins: _,
        sampling: _,
        threshold: _,
        slow_per_second,
        slow_burst,
        block,
    } = plan;
    let operations = operations.iter().fold(0_u8, |bits, one| bits | 1 << one.index());
    let forced = forced.map_or(u8::MAX, |tier| tier as u8);
    let block = u8::from(*block == Switch::On);
    let bytes = [operations, forced, block]
        .into_iter()
        .chain(slow_per_second.to_le_bytes())
        .chain(slow_burst.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn info(fd: i32) -> String {
    fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default()
}

fn make(folder: &Path) -> Result<(), LoadError> {
    fs::create_dir_all(folder).map_err(failed("make", folder))
}

fn remove(folder: &Path) -> Result<(), LoadError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> LoadError {
    move |source| LoadError::Io { doing, path: path.to_owned(), source }
}

/// Memory of the maps in the kernel, from their pages in /proc.
pub(super) fn map_bytes(maps: &Maps) -> u64 {
    maps.descriptors().iter().map(|fd| field(&info(*fd), "memlock")).sum()
}
