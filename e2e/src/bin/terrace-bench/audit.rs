//! The API server's own record of who wrote what, from the rig's log of it. Pure but for reading that file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use terrace_e2e::rig;

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Renewed all the time, by whoever leads.
pub(crate) const LEASES: &str = "leases";
/// Our service accounts.
const OURS: &str = "system:serviceaccount:terrace-system:";

/// Writes of one program to one object; to one kind if those are Leases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    /// Service account and program.
    pub(crate) who: String,
    pub(crate) what: String,
}

/// A place in the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// Where the record ends now.
pub(crate) fn mark() -> Result<Mark> {
    Ok(Mark(open()?.metadata()?.len()))
}

/// What Terrace's programs and sidecars wrote since, counted.
pub(crate) fn writes_since(mark: Mark) -> Result<BTreeMap<Write, usize>> {
    let mut file = open()?;
    file.seek(SeekFrom::Start(mark.0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        if let Some(write) = parse(line) {
            *counted.entry(write).or_default() += 1;
        }
    }
    Ok(counted)
}

fn open() -> Result<File> {
    let kubeconfig = rig::kubeconfig()?;
    let rig = kubeconfig.parent().map_or_else(PathBuf::new, PathBuf::from);
    let path = rig.join("log/audit.log");
    File::open(&path).with_context(|| {
        format!(
            "open {}: the rig was started by an older hack/up; hack/down and hack/up again",
            path.display()
        )
    })
}

/// A write of ours that the API server has answered; a line that is not whole yet is none.
fn parse(line: &str) -> Option<Write> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let account = text("/user/username")?.strip_prefix(OURS)?;
    if text("/stage") != Some("ResponseComplete") || !WRITES.contains(&text("/verb")?) {
        return None;
    }
    let program = text("/userAgent").unwrap_or_default();
    let program = program.split(['/', ' ']).next().unwrap_or_default();
    // Our own programs name none.
    let who =
        if program.is_empty() { account.to_owned() } else { format!("{account} ({program})") };
    let kind = text("/objectRef/resource")?;
    let words = ["/objectRef/name", "/objectRef/subresource"].into_iter().filter_map(text);
    let what = if kind == LEASES {
        kind.to_owned()
    } else {
        [kind].into_iter().chain(words).collect::<Vec<_>>().join("/")
    };
    Some(Write { who, what })
}

#[cfg(test)]
mod tests {
    use super::{Write, parse};

    #[test]
    fn only_answered_writes_of_ours_count() {
        let line = |user: &str, verb: &str, stage: &str| {
            format!(
                r#"{{"stage":"{stage}","verb":"{verb}","user":{{"username":"{user}"}},"userAgent":"csi-provisioner/v6.3.0 (linux)","objectRef":{{"resource":"leases"}}}}"#
            )
        };
        let ours = "system:serviceaccount:terrace-system:terrace-operator";
        let (who, what) = ("terrace-operator (csi-provisioner)".to_owned(), "leases".to_owned());
        assert_eq!(parse(&line(ours, "update", "ResponseComplete")), Some(Write { who, what }));
        assert_eq!(parse(&line(ours, "get", "ResponseComplete")), None);
        assert_eq!(parse(&line(ours, "update", "RequestReceived")), None);
        assert_eq!(parse(&line("system:kube-scheduler", "update", "ResponseComplete")), None);
        assert_eq!(parse("{\"stage\":"), None);
        let status = line(ours, "patch", "ResponseComplete").replace(
            r#""resource":"leases""#,
            r#""resource":"storagenodes","name":"node-a","subresource":"status""#,
        );
        assert_eq!(
            parse(&status).map(|write| write.what),
            Some("storagenodes/node-a/status".into())
        );
    }
}
