//! Mount options: what may be asked for, and what is added. Pure.

use terrace_device_types::{FsType, Refusal, RequestRefusal};

/// What is asked, less `ro` and `rw` (they belong to publishing), plus relatime, plus `nouuid` for xfs (a restored copy on the same node has the same UUID).
pub(crate) fn mount_options(fs: FsType, asked: &[String]) -> Result<Vec<String>, Refusal> {
    let asked = asked.iter().map(String::as_str);
    let asked = asked.filter(|option| !option.is_empty() && *option != "ro" && *option != "rw");
    let mut options: Vec<String> = Vec::new();
    for option in asked {
        if !may_pass(option) {
            return Err(RequestRefusal::MountOption { option: option.to_owned() }.into());
        }
        if !options.iter().any(|known| known == option) {
            options.push(option.to_owned());
        }
    }
    let atime = ["noatime", "relatime", "strictatime"];
    if !options.iter().any(|option| atime.contains(&option.as_str())) {
        options.push("relatime".to_owned());
    }
    if fs == FsType::Xfs && !options.iter().any(|option| option == "nouuid") {
        options.push("nouuid".to_owned());
    }
    Ok(options)
}

/// Options that change what is mounted, or where, are not the user's to give.
fn may_pass(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or(option);
    let barred = [
        "bind",
        "rbind",
        "move",
        "remount",
        "loop",
        "offset",
        "sizelimit",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "private",
        "rprivate",
        "unbindable",
        "runbindable",
        "device",
        "subvol",
        "subvolid",
        "logdev",
        "rtdev",
        "journal_dev",
        "journal_path",
        "norecovery",
        "noload",
        "sb",
        "rescue",
        "usebackuproot",
    ];
    !barred.contains(&name) && !option.contains(',') && !option.chars().any(char::is_control)
}
