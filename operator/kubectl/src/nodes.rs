//! `kubectl terrace nodes`: what each node offers and what it lacks, as a short report. Pure.

use std::fmt::Write;

use jiff::Timestamp;
use terrace_crds::condition::{ConditionType, find};
use terrace_crds::measured::{Missed, ProbeFunction, ProbeStatus, ProbeTier};
use terrace_crds::node::{Device, Facility, HostVolume, HostVolumeState, NodePool};
use terrace_crds::{StorageNode, StorageNodeStatus};
use terrace_plan::age::Age;

use crate::table::Table;
use crate::volumes::Width;

/// Every node, one after the other.
#[must_use]
pub fn report(nodes: &[StorageNode], width: Width, now: Timestamp) -> String {
    let mut sorted: Vec<&StorageNode> = nodes.iter().collect();
    sorted.sort_by_key(|node| node.metadata.name.clone());
    let texts: Vec<String> = sorted.into_iter().map(|node| one(node, width, now)).collect();
    texts.join("\n")
}

fn one(node: &StorageNode, width: Width, now: Timestamp) -> String {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &node.status else {
        return format!("{name}: its agent has reported nothing yet\n");
    };
    let mut text = head(name, status, now);
    text.push_str(&section(
        "Pools",
        &pools(&status.pools),
        "none: make a StoragePool that selects this node",
    ));
    let shown: Vec<&Device> =
        status.devices.iter().filter(|device| width == Width::Wide || is_free(device)).collect();
    let (title, none) = match width {
        Width::Narrow => ("Devices that are free", "none (all of them: -o wide)"),
        Width::Wide => ("Devices", "none"),
    };
    text.push_str(&section(title, &devices(&shown), none));
    let lacking: Vec<&Facility> = status
        .facilities
        .iter()
        .filter(|facility| width == Width::Wide || !facility.available)
        .collect();
    let (title, none) = match width {
        Width::Narrow => ("Missing", "nothing"),
        Width::Wide => ("Facilities", "none reported"),
    };
    text.push_str(&section(title, &facilities(&lacking), none));
    text.push_str(&measured(status.probe.as_ref(), width));
    text.push_str(&odd(&status.volumes));
    text
}

/// How the probe is attached: how many functions a tier, or every one with its reason.
fn measured(probe: Option<&ProbeStatus>, width: Width) -> String {
    let Some(ProbeStatus { version, kernel: _, functions, unobservable, missed }) = probe else {
        return "  Probe: none is connected, so no latency is measured\n".to_owned();
    };
    let count = |tier: ProbeTier| functions.iter().filter(|it| it.tier == tier).count();
    let tiers = [
        (ProbeTier::Fentry, "by fentry"),
        (ProbeTier::Kprobe, "by kprobe"),
        (ProbeTier::RawTracepoint, "by raw tracepoints"),
        (ProbeTier::None, "not at all"),
    ];
    let counts: Vec<String> = tiers
        .iter()
        .map(|(tier, how)| (count(*tier), how))
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| format!("{count} {how}"))
        .collect();
    let title = format!("Probe {version}, functions of the kernel followed");
    let mut text = match width {
        Width::Narrow => format!("  {title}: {}\n", counts.join(", ")),
        Width::Wide => section(&title, &followed(functions), "none"),
    };
    if !unobservable.is_empty() {
        let _ = writeln!(text, "  Not seen by it: {}", unobservable.join(", "));
    }
    if !missed.is_empty() {
        let told = missed.iter().map(|Missed { reason, count }| format!("{count} {reason}"));
        let told: Vec<String> = told.collect();
        let _ = writeln!(text, "  Seen and not counted: {}", told.join(", "));
    }
    text
}

fn followed(functions: &[ProbeFunction]) -> Table {
    let mut table = Table::new(vec!["FUNCTION", "TIER", "WHY-NOT-BETTER"]);
    for ProbeFunction { name, tier, reason } in functions {
        let reason = reason.clone().unwrap_or_else(|| "-".to_owned());
        table.push(vec![name.clone(), tier.as_str().to_owned(), reason]);
    }
    table
}

fn head(name: &str, status: &StorageNodeStatus, now: Timestamp) -> String {
    let kernel = status.kernel.as_deref().unwrap_or("unknown");
    let volumes = match status.volumes.len() {
        1 => "1 volume".to_owned(),
        many => format!("{many} volumes"),
    };
    let mut text = format!("{name}: {volumes}, kernel {kernel}\n");
    match find(&status.conditions, ConditionType::Ready) {
        Some(ready) => {
            let age = Age::between(ready.last_transition_time.0, now);
            let _ = write!(text, "  Ready is {} for {age}, because {}", ready.status, ready.reason);
            if !ready.message.is_empty() {
                let _ = write!(text, ": {}", ready.message);
            }
            text.push('\n');
        }
        None => text.push_str("  Ready is Unknown: its agent has not said\n"),
    }
    text
}

fn section(title: &str, table: &Table, none: &str) -> String {
    if table.is_empty() {
        return format!("  {title}: {none}\n");
    }
    let rows: String = table.render().lines().map(|line| format!("    {line}\n")).collect();
    format!("  {title}\n{rows}")
}

fn pools(pools: &[NodePool]) -> Table {
    let mut table = Table::new(vec!["NAME", "STATE", "TIER", "BACKEND", "SIZE", "FREE", "MESSAGE"]);
    for pool in pools {
        let NodePool {
            name,
            uuid: _,
            tier,
            backend,
            state,
            capacity,
            free,
            metadata_used: _,
            unhealthy,
            message,
        } = pool;
        let size = |size: &Option<terrace_crds::Size>| {
            let bytes = size.as_ref().and_then(|size| size.bytes().ok());
            bytes.map(|bytes| terrace_crds::Size::rounded(bytes).to_string()).unwrap_or_default()
        };
        table.push(vec![
            name.clone(),
            format!("{state:?}"),
            tier.clone(),
            backend.clone(),
            size(capacity),
            size(free),
            unhealthy.clone().or(message.clone()).unwrap_or_default(),
        ]);
    }
    table
}

/// A device that a StoragePool could take.
fn is_free(device: &Device) -> bool {
    device.signature.is_none() && device.in_use_by.is_none()
}

fn devices(devices: &[&Device]) -> Table {
    let mut table = Table::new(vec!["ID", "PATH", "SIZE", "KIND", "MODEL", "HOLDS", "USED-BY"]);
    for device in devices {
        let Device {
            id,
            path,
            size,
            model,
            serial: _,
            wwn: _,
            transport,
            rotational,
            sectors: _,
            discard: _,
            write_cache: _,
            partition: _,
            made_of,
            signature,
            in_use_by,
            health: _,
        } = device;
        let kind = if *rotational { "spinning" } else { "solid" };
        let bytes = size.bytes().unwrap_or(0);
        table.push(vec![
            id.clone(),
            path.clone(),
            terrace_crds::Size::rounded(bytes).to_string(),
            transport.as_ref().map_or(kind.to_owned(), |transport| format!("{kind} {transport}")),
            model.clone().or_else(|| made_of.clone()).unwrap_or_default(),
            signature.clone().unwrap_or_default(),
            in_use_by.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn facilities(facilities: &[&Facility]) -> Table {
    let mut table = Table::new(vec!["NAME", "THERE", "DETAIL"]);
    for facility in facilities {
        let Facility { name, available, detail } = facility;
        let there = if *available { "yes" } else { "no" };
        table.push(vec![name.clone(), there.to_owned(), detail.clone().unwrap_or_default()]);
    }
    table
}

/// Host objects that nobody uses: kept, going, or unreadable.
fn odd(volumes: &[HostVolume]) -> String {
    let is_odd = |volume: &&HostVolume| match volume.state {
        HostVolumeState::Retained | HostVolumeState::Quarantined | HostVolumeState::Unreadable => {
            true
        }
        HostVolumeState::Creating | HostVolumeState::Ready => false,
    };
    let mut table = Table::new(vec!["UUID", "NAME", "SIZE", "STATE"]);
    for volume in volumes.iter().filter(is_odd) {
        let HostVolume {
            uuid,
            kind: _,
            name,
            pool_uuid: _,
            size,
            state,
            volume_mode: _,
            fs_type: _,
        } = volume;
        table.push(vec![uuid.clone(), name.clone(), size.to_string(), format!("{state:?}")]);
    }
    if table.is_empty() { String::new() } else { section("Bytes without a volume", &table, "") }
}
