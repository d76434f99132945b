//! From a command to the text it prints: connect, read, hand over to the pure functions.

use jiff::Timestamp;
use kube::Resource;
use serde::Serialize;
use serde_json::json;
use terrace_crds::{StorageNode, StorageVolume};
use terrace_plan::explain::explain_volume;
use terrace_plan::explain_claim::explain_claim;
use terrace_plan::explain_lost::explain_lost;

use crate::args::{Args, Command, Output};
use crate::cluster::Cluster;
use crate::fault::{Fault, Missing};
use crate::find::{Meant, find, parse_name};
use crate::volumes::{Only, Width};
use crate::{audit, live, nodes, operations, orphan, volumes};

/// Runs one command.
///
/// # Errors
/// [`Fault`], which reads as what to do about it.
pub async fn run(args: Args) -> Result<String, Fault> {
    let Args { command, connection } = args;
    let cluster = Cluster::connect(connection).await?;
    match command {
        Command::Volumes { node, pool, output } => {
            show_volumes(&cluster, &Only { node, pool }, output).await
        }
        Command::Explain { name } => explain(&cluster, &name).await,
        Command::Top(top) => live::top(&cluster, &top).await,
        Command::Latency { name, output } => live::latency(&cluster, &name, output).await,
        Command::Orphan { command } => orphan::run(&cluster, command).await,
        Command::Operations(asked) => operations::run(&cluster, asked).await,
        Command::Audit(asked) => audit::run(&cluster, asked).await,
        Command::Nodes { name, output } => show_nodes(&cluster, name, output).await,
    }
}

async fn show_volumes(
    cluster: &Cluster,
    only: &Only,
    output: Option<Output>,
) -> Result<String, Fault> {
    let mut found: Vec<StorageVolume> = cluster.list().await?;
    found.retain(|volume| only.admits(volume));
    let width = match output {
        Some(Output::Json) => return json_list(&found),
        Some(Output::Wide) => Width::Wide,
        None => Width::Narrow,
    };
    if found.is_empty() {
        return Ok(
            "No volumes. Make one with a PersistentVolumeClaim: kubectl explain pvc.spec\n".into()
        );
    }
    Ok(volumes::table(&found, width, Timestamp::now()).render())
}

async fn show_nodes(
    cluster: &Cluster,
    name: Option<String>,
    output: Option<Output>,
) -> Result<String, Fault> {
    let mut found: Vec<StorageNode> = cluster.list().await?;
    if let Some(name) = name {
        found.retain(|node| node.metadata.name.as_ref() == Some(&name));
        if found.is_empty() {
            return Err(Fault::Missing(Missing::Node { name }));
        }
    }
    let width = match output {
        Some(Output::Json) => return json_list(&found),
        Some(Output::Wide) => Width::Wide,
        None => Width::Narrow,
    };
    if found.is_empty() {
        return Ok("No node has reported: does terrace-node run?\n  kubectl get pods -A -l app.kubernetes.io/component=node -o wide\n".into());
    }
    Ok(nodes::report(&found, width, Timestamp::now()))
}

async fn explain(cluster: &Cluster, name: &str) -> Result<String, Fault> {
    let meant = parse_name(name, &cluster.namespace);
    let mut world = cluster.world().await?;
    let all: Vec<StorageVolume> = world.volumes.iter().map(|volume| (**volume).clone()).collect();
    if let Some(volume) = find(&all, &meant) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        world.looked.extend(cluster.look(volume).await?.map(|looked| (name, looked)));
        return Ok(explain_volume(&world, volume, Timestamp::now()));
    }
    let claim = meant.claim();
    match cluster.claim(claim).await? {
        Some(claim) => {
            if let Some(lost) = cluster.lost(&claim).await? {
                return Ok(explain_lost(&world, &lost));
            }
            let class = cluster.class_of(&claim).await?;
            Ok(explain_claim(&world, &claim, class.as_ref()))
        }
        None => Err(Fault::Missing(missing(meant))),
    }
}

fn missing(meant: Meant) -> Missing {
    match meant {
        Meant::Claim(claim) => Missing::Claim { namespace: claim.namespace, name: claim.name },
        Meant::Either { volume, claim } => {
            Missing::Volume { name: volume, namespace: claim.namespace }
        }
    }
}

/// The objects as kubectl prints them.
fn json_list<K>(objects: &[K]) -> Result<String, Fault>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}
