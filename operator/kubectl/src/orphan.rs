//! `kubectl terrace orphan`: list what no object claims, take one into service, or destroy one. The only part of the
//! plugin that changes anything: it makes one StorageVolume, or hands one person's word to one node, which decides.

use std::io::{BufRead, Write};

use serde_json::json;
use terrace_crds::{StorageNode, StorageVolume};

use crate::args::{Adopt, Delete, OrphanCommand, Output};
use crate::cluster::Cluster;
use crate::fault::{Fault, Missing};
use crate::find::parse_name;
use crate::orphans::{self, Found, Refused};
use crate::volumes::Width;

/// Runs one command.
///
/// # Errors
/// [`Fault`], which reads as what to do about it.
pub async fn run(cluster: &Cluster, command: OrphanCommand) -> Result<String, Fault> {
    match command {
        OrphanCommand::List { output } => list(cluster, output).await,
        OrphanCommand::Adopt(adopt) => take(cluster, adopt).await,
        OrphanCommand::Delete(delete) => end(cluster, delete).await,
    }
}

async fn list(cluster: &Cluster, output: Option<Output>) -> Result<String, Fault> {
    let nodes: Vec<StorageNode> = cluster.list().await?;
    let found = orphans::all(&nodes);
    let width = match output {
        Some(Output::Json) => {
            let list = json!({ "kind": "OrphanList", "items": orphans::items(&found) });
            return Ok(serde_json::to_string_pretty(&list)? + "\n");
        }
        Some(Output::Wide) => Width::Wide,
        None => Width::Narrow,
    };
    if found.is_empty() {
        return Ok("No orphans: every host object of Terrace belongs to an object here.\n".into());
    }
    let mut text = orphans::table(&found, width).render();
    match orphans::unlisted(&nodes) {
        0 => {}
        more => text.push_str(&format!("and {more} more, listed once some of these are gone\n")),
    }
    Ok(text)
}

async fn take(cluster: &Cluster, adopt: Adopt) -> Result<String, Fault> {
    let Adopt { uuid, claim, volume, dry_run } = adopt;
    let nodes: Vec<StorageNode> = cluster.list().await?;
    let found = find(&nodes, &uuid)?;
    let claim = parse_name(&claim, &cluster.namespace).claim().clone();
    let object = orphans::plan_adopt(&found, &claim, volume.as_deref())?;
    if dry_run {
        return Ok(terrace_crds::yaml::to_yaml(&object)?);
    }
    cluster.create(&object).await?;
    let name = &found.orphan.name;
    Ok(format!(
        "StorageVolume {name} made: it adopts {uuid} on node {} for claim {}/{}\n  Follow it: kubectl terrace explain {name}\n",
        found.node, claim.namespace, claim.name
    ))
}

fn find<'a>(nodes: &'a [StorageNode], uuid: &str) -> Result<Found<'a>, Fault> {
    let missing = || Fault::Missing(Missing::Orphan { uuid: uuid.to_owned() });
    orphans::find(nodes, uuid)?.ok_or_else(missing)
}

async fn end(cluster: &Cluster, delete: Delete) -> Result<String, Fault> {
    let Delete { uuid, yes } = delete;
    let nodes: Vec<StorageNode> = cluster.list().await?;
    let volumes: Vec<StorageVolume> = cluster.list().await?;
    let found = find(&nodes, &uuid)?;
    orphans::validate_delete(&found, &volumes)?;
    let what = orphans::describe(&found);
    if yes {
        eprint!("{what}");
    } else {
        let answer = |question: &str| {
            let mut line = String::new();
            let shown = std::io::stderr().write_all(question.as_bytes());
            let read = shown.and_then(|()| std::io::stdin().lock().read_line(&mut line));
            read.map(|_| line).unwrap_or_default()
        };
        confirm(&what, answer)?;
    }
    let name = &found.orphan.name;
    cluster.delete_orphan(found.node, &uuid, name).await?;
    Ok(format!("{name} ({uuid}) is gone from node {}\n", found.node))
}

/// Shows what would go, and goes on only on a plain yes.
fn confirm(what: &str, answer: impl FnOnce(&str) -> String) -> Result<(), Refused> {
    let question = format!("{what}These bytes would be gone for good. Type yes to delete them: ");
    if answer(&question).trim() == "yes" { Ok(()) } else { Err(Refused::Unconfirmed) }
}

#[cfg(test)]
mod tests {
    use super::{Refused, confirm};

    #[test]
    fn only_a_plain_yes_deletes() {
        let mut shown = String::new();
        let yes = |question: &str| {
            shown = question.to_owned();
            "yes\n".to_owned()
        };
        assert_eq!(confirm("Volume db\n", yes), Ok(()));
        assert!(shown.starts_with("Volume db\n"), "{shown}");
        for answer in ["", "\n", "y\n", "no\n", "yes please\n"] {
            let given = confirm("Volume db\n", |_| answer.to_owned());
            assert_eq!(given, Err(Refused::Unconfirmed), "{answer:?}");
        }
    }
}
