//! What a disk says of its own health, asked of smartctl (smartmontools), which knows the dialects. A disk that sleeps is not woken.

use std::path::Path;

use serde_json::Value;
use terrace_device_types::{SmartView, Tool};

use crate::tool::run_tool;
use crate::{Deadline, DeviceError};

/// Asks the disk at `path`, such as `/dev/sda`. `None`: it sleeps, or has nothing to say.
///
/// # Errors
/// Where smartctl is missing or does not end in time. Its exit code tells of the disk's past too: only its words count.
pub fn observe_smart(path: &Path, deadline: Deadline) -> Result<Option<SmartView>, DeviceError> {
    let words = ["--json=c", "--nocheck=standby", "--health", "--attributes"];
    let arguments: Vec<&Path> = words.iter().map(Path::new).chain([path]).collect();
    let ended = run_tool(Tool::Smartctl, &arguments, deadline)?;
    Ok(parse_smart(&ended.stdout))
}

fn parse_smart(text: &str) -> Option<SmartView> {
    let said: Value = serde_json::from_str(text).ok()?;
    let number = |path: &str| said.pointer(path).and_then(Value::as_u64);
    let nvme = "/nvme_smart_health_information_log";
    let unreadable = [attribute(&said, 197), attribute(&said, 198)].into_iter().flatten().max();
    let smart = SmartView {
        passed: said.pointer("/smart_status/passed").and_then(Value::as_bool),
        unreadable: unreadable.or_else(|| number(&format!("{nvme}/media_errors"))),
        warning: number(&format!("{nvme}/critical_warning")),
        worn: number(&format!("{nvme}/percentage_used"))
            .or_else(|| number("/scsi_percentage_used_endurance_indicator")),
    };
    (smart != SmartView::default()).then_some(smart)
}

/// The raw value of an attribute of an ATA disk. Vendors put other things into the upper bytes.
fn attribute(said: &Value, id: u64) -> Option<u64> {
    let table = said.pointer("/ata_smart_attributes/table")?.as_array()?;
    let row = table.iter().find(|row| row.get("id").and_then(Value::as_u64) == Some(id))?;
    row.pointer("/raw/value")?.as_u64().map(|raw| raw & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut down from what smartctl 7.3 said of real disks.
    #[test]
    fn ata_nvme_and_scsi_disks_say_it_each_in_their_own_way() {
        let ata = r#"{"smartctl":{"exit_status":0},"smart_status":{"passed":true},"ata_smart_attributes":{"table":[
            {"id":5,"name":"Reallocated_Sector_Ct","raw":{"value":0}},{"id":197,"name":"Current_Pending_Sector","raw":{"value":8}},
            {"id":198,"name":"Offline_Uncorrectable","raw":{"value":4294967298}}]}}"#;
        let view = SmartView { passed: Some(true), unreadable: Some(8), warning: None, worn: None };
        assert_eq!(parse_smart(ata), Some(view));
        let nvme = r#"{"smart_status":{"passed":false,"nvme":{"value":4}},"nvme_smart_health_information_log":
            {"critical_warning":4,"temperature":43,"available_spare":100,"percentage_used":103,"media_errors":2}}"#;
        let view = SmartView {
            passed: Some(false),
            unreadable: Some(2),
            warning: Some(4),
            worn: Some(103),
        };
        assert_eq!(parse_smart(nvme), Some(view));
        let scsi = r#"{"smart_status":{"passed":true},"scsi_grown_defect_list":0}"#;
        let view = SmartView { passed: Some(true), ..SmartView::default() };
        assert_eq!(parse_smart(scsi), Some(view));
    }

    #[test]
    fn a_disk_that_sleeps_or_knows_no_smart_says_nothing() {
        let asleep = r#"{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(2)"}],"exit_status":2}}"#;
        assert_eq!(parse_smart(asleep), None);
        assert_eq!(parse_smart("smartctl: cannot say it in JSON"), None);
    }
}
