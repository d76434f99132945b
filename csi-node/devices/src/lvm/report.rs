//! Reading `lvm fullreport` in JSON. Every value is a text (`json`; `json_std` came with lvm2 2.03.17 and would have numbers, which are read as well), and LVM
//! prints warnings and advice before, after and inside it: what is no line of the report is passed by, and the report must be there whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};
use terrace_device_types::lvm::{LvKind, LvScope, LvUuid, LvView, LvmTag, PvView, VgView};
use terrace_device_types::{Bytes, DevT, PoolFileError, PoolFileReading};

use crate::DeviceError;

type Row = Map<String, Value>;

/// What is asked for, report by report; the parser below knows no other field.
pub(super) const FIELDS: [(&str, &str); 5] = [
    ("vg", "vg_uuid,vg_name,vg_size,vg_free,vg_extent_size,vg_seqno,vg_missing_pv_count,vg_tags"),
    ("pv", "pv_uuid,pv_name,pv_size,pv_free,dev_size,pv_missing"),
    (
        "lv",
        "lv_uuid,lv_name,lv_size,lv_layout,lv_role,pool_lv,origin,lv_metadata_size,data_percent,metadata_percent,sync_percent,lv_health_status,lv_permissions,lv_skip_activation,lv_kernel_major,lv_kernel_minor,lv_tags",
    ),
    ("pvseg", "pv_name"),
    ("seg", "lv_uuid,chunk_size,thin_id,transaction_id"),
];

/// The groups of a report, whatever stands around it.
///
/// # Errors
/// When no report is in the text, or a value in it is not of its kind.
pub fn parse_report(text: &str) -> Result<Vec<VgView>, DeviceError> {
    let reports = objects(text).find_map(|object| match object {
        Value::Object(mut object) => object.remove("report"),
        _other => None,
    });
    let Some(Value::Array(reports)) = reports else { return Err(odd("report", text)) };
    let mut groups = Vec::new();
    for report in &reports {
        groups.extend(parse_group(report)?);
    }
    Ok(groups)
}

fn odd(what: &str, text: &str) -> DeviceError {
    let text = text.chars().take(200).collect::<String>();
    DeviceError::Parse { path: PathBuf::from(format!("lvm's {what}")), text }
}

/// Lvm writes its JSON so that a line of it begins with one of these and nothing that it says to people does: such lines it prints inside the report too.
const BEGINNINGS: [char; 6] = ['{', '}', '[', ']', ',', '"'];

/// The JSON objects in a text, whatever stands before, after and between their lines.
fn objects(text: &str) -> impl Iterator<Item = Value> {
    let lines = text.lines().filter(|line| line.trim_start().starts_with(BEGINNINGS));
    let bare = lines.collect::<Vec<_>>().join("\n");
    let stream: Vec<Value> = serde_json::Deserializer::from_str(&bare)
        .into_iter::<Value>()
        .map_while(Result::ok)
        .collect();
    stream.into_iter()
}

/// Volumes of no group make a report without one.
fn parse_group(report: &Value) -> Result<Option<VgView>, DeviceError> {
    let Some(vg) = rows(report, "vg").next() else { return Ok(None) };
    let segments: BTreeMap<&str, &Row> =
        rows(report, "seg").filter_map(|row| Some((row.get("lv_uuid")?.as_str()?, row))).collect();
    let lvs: Result<Vec<LvView>, DeviceError> =
        rows(report, "lv").map(|row| parse_lv(row, &segments)).collect();
    let pvs: Result<Vec<PvView>, DeviceError> = rows(report, "pv").map(parse_pv).collect();
    Ok(Some(VgView {
        uuid: read(vg, "vg_uuid")?,
        name: text(vg, "vg_name")?,
        size: Bytes(read(vg, "vg_size")?),
        free: Bytes(read(vg, "vg_free")?),
        extent: Bytes(read(vg, "vg_extent_size")?),
        seqno: read(vg, "vg_seqno")?,
        missing: read(vg, "vg_missing_pv_count")?,
        pool: parse_pool(&list(vg, "vg_tags")?),
        pvs: pvs?,
        lvs: lvs?,
    }))
}

fn parse_pool(tags: &[String]) -> PoolFileReading {
    let ours = tags.iter().any(|tag| tag.starts_with("terrace."));
    match LvmTag::read_pool(tags) {
        Some(text) => match serde_json::from_slice(&text) {
            Ok(file) => PoolFileReading::Read(file),
            Err(error) => {
                PoolFileReading::Unreadable(PoolFileError::Malformed { why: error.to_string() })
            }
        },
        None if ours => PoolFileReading::Unreadable(PoolFileError::Malformed {
            why: "the group's tags say it twice, or not as they must".to_owned(),
        }),
        None => PoolFileReading::Absent,
    }
}

fn parse_pv(row: &Row) -> Result<PvView, DeviceError> {
    let device = text(row, "pv_name")?;
    Ok(PvView {
        uuid: read(row, "pv_uuid")?,
        device: device.starts_with('/').then(|| device.into()),
        size: Bytes(read(row, "pv_size")?),
        free: Bytes(read(row, "pv_free")?),
        device_size: Bytes(optional(row, "dev_size")?.unwrap_or_default()),
        missing: !text(row, "pv_missing")?.is_empty(),
    })
}

fn parse_lv(row: &Row, segments: &BTreeMap<&str, &Row>) -> Result<LvView, DeviceError> {
    let uuid = text(row, "lv_uuid")?;
    let segment = segments.get(uuid.as_str()).copied();
    let of_segment = |key| segment.map_or(Ok(None), |segment| optional(segment, key));
    let tags = list(row, "lv_tags")?;
    let roles = list(row, "lv_role")?;
    let public = roles.iter().any(|role| role == "public");
    let number = (optional(row, "lv_kernel_major")?, optional(row, "lv_kernel_minor")?);
    Ok(LvView {
        uuid: uuid.parse::<LvUuid>().map_err(|_| odd("lv_uuid", &uuid))?,
        // What is not for use is shown in brackets.
        name: text(row, "lv_name")?.trim_matches(['[', ']']).to_owned(),
        size: Bytes(read(row, "lv_size")?),
        kind: kind_of(&text(row, "lv_layout")?),
        scope: if public { LvScope::Public } else { LvScope::Private },
        pool: some(row, "pool_lv")?,
        origin: some(row, "origin")?,
        metadata_size: optional(row, "lv_metadata_size")?.map(Bytes),
        chunk: of_segment("chunk_size")?.filter(|size| *size > 0).map(Bytes),
        thin_id: of_segment("thin_id")?,
        transaction: of_segment("transaction_id")?,
        data_used: hundredths(row, "data_percent")?,
        metadata_used: hundredths(row, "metadata_percent")?,
        synced: hundredths(row, "sync_percent")?,
        health: some(row, "lv_health_status")?,
        read_only: text(row, "lv_permissions")?.starts_with("read-only"),
        skips_activation: !text(row, "lv_skip_activation")?.is_empty(),
        dev_t: match number {
            (Some(major), Some(minor)) => Some(DevT { major, minor }),
            (Some(_) | None, _) => None,
        },
        tag: LvmTag::read_volume(&tags),
        tags,
    })
}

fn kind_of(layout: &str) -> LvKind {
    match layout {
        "linear" => LvKind::Linear,
        "striped" => LvKind::Striped,
        "raid,raid1" => LvKind::Raid1,
        "thin,sparse" => LvKind::Thin,
        "thin,pool" => LvKind::ThinPool,
        other => LvKind::Other { layout: other.to_owned() },
    }
}

fn rows<'a>(report: &'a Value, name: &str) -> impl Iterator<Item = &'a Row> {
    let rows = report.get(name).and_then(Value::as_array);
    rows.into_iter().flatten().filter_map(Value::as_object)
}

/// A missing field is an error: what was asked for was not answered.
fn text(row: &Row, key: &str) -> Result<String, DeviceError> {
    match row.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::Array(items)) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Ok(items.join(","))
        }
        Some(Value::Bool(_) | Value::Object(_)) | None => Err(odd(key, "no value")),
    }
}

fn some(row: &Row, key: &str) -> Result<Option<String>, DeviceError> {
    Ok(Some(text(row, key)?).filter(|text| !text.is_empty()).map(|text| {
        // The name of a volume that is not for use.
        text.trim_matches(['[', ']']).to_owned()
    }))
}

fn list(row: &Row, key: &str) -> Result<Vec<String>, DeviceError> {
    let text = text(row, key)?;
    Ok(text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

fn read<T: FromStr>(row: &Row, key: &str) -> Result<T, DeviceError> {
    let text = text(row, key)?;
    text.parse().map_err(|_| odd(key, &text))
}

/// Nothing, and what is below zero, means that it has none.
fn optional<T: FromStr>(row: &Row, key: &str) -> Result<Option<T>, DeviceError> {
    let text = text(row, key)?;
    if text.is_empty() || text.starts_with('-') {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| odd(key, &text))
}

/// `12.34` is 1234.
fn hundredths(row: &Row, key: &str) -> Result<Option<u32>, DeviceError> {
    let text = text(row, key)?;
    if text.is_empty() || text.starts_with('-') {
        return Ok(None);
    }
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = format!("{part:0<2}");
    let number = |digits: &str| digits.parse::<u32>().map_err(|_| odd(key, &text));
    let part = number(part.get(..2).unwrap_or_default())?;
    Ok(Some(number(whole)?.saturating_mul(100).saturating_add(part)))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
