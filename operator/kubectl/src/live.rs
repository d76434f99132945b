//! What the agents of all nodes tell of latencies, asked at once and shown: one table, table after table, or one volume's
//! histograms. It decides nothing.

use serde_json::json;

use crate::args::{Json, Top};
use crate::ask::{self, Told};
use crate::cluster::Cluster;
use crate::fault::{Fault, Missing};
use crate::find::{Meant, parse_name};
use crate::histogram;
use crate::measured::{Drawing, NodeTable, Volume};
use crate::screen::{Screen, Shown};
use crate::top::{Answer, Answers, View, report};

/// The agents' page.
const PAGE: &str = "/v1/latency";

/// `kubectl terrace top`: the text where it is asked for once, else it prints until nobody reads any more.
///
/// # Errors
/// [`Fault`]. That a node does not answer is part of the table, unless none does.
pub async fn top(cluster: &Cluster, top: &Top) -> Result<String, Fault> {
    let Top { by, sort, node, interval: seconds, once, output } = top;
    let view = View { by: *by, sort: *sort, namespace: cluster.asked.clone() };
    let mut screen = Screen::every(*seconds);
    loop {
        screen.wait().await;
        let mut answers = ask(cluster, node.as_deref()).await?;
        answers.keep(view.namespace.as_deref());
        let text = match output {
            Some(Json::Json) if *once => serde_json::to_string_pretty(&answers)? + "\n",
            Some(Json::Json) => serde_json::to_string(&answers)? + "\n",
            None => report(&answers, &view),
        };
        if *once {
            return Ok(text);
        }
        let shown = match output {
            None => screen.table(&text)?,
            Some(Json::Json) => screen.line(&text)?,
        };
        if shown == Shown::ToNobody {
            return Ok(String::new());
        }
    }
}

/// `kubectl terrace latency`.
///
/// # Errors
/// [`Fault`]; [`Missing::Measured`] where no Pod uses the volume.
pub async fn latency(cluster: &Cluster, name: &str, output: Option<Json>) -> Result<String, Fault> {
    let meant = parse_name(name, &cluster.namespace);
    let agents = ask::agents(cluster, None).await?;
    let (mut texts, mut drawings, mut failed) = (Vec::new(), Vec::new(), None);
    for (agent, told) in ask::each::<NodeTable>(cluster, agents, PAGE).await {
        let table = match told {
            Ok((_, table)) => table,
            Err(fault) => {
                failed.get_or_insert(fault);
                continue;
            }
        };
        for volume in table.volumes.iter().filter(|volume| is_meant(volume, &meant)) {
            let path = format!("/v1/latency/{}", volume.pv_name);
            let drawing: Drawing = ask::read(cluster, &agent, &path).await?.1;
            texts.push(histogram::report(&agent.node, &drawing));
            drawings.push(json!({ "node": agent.node, "latency": drawing }));
        }
    }
    match (texts.is_empty(), failed, output) {
        // The node that did not answer may be the one.
        (true, Some(fault), _) => Err(fault),
        (true, None, _) => {
            let (name, namespace) = (name.to_owned(), cluster.namespace.clone());
            Err(Fault::Missing(Missing::Measured { name, namespace }))
        }
        (false, _, Some(Json::Json)) => Ok(serde_json::to_string_pretty(&drawings)? + "\n"),
        (false, _, None) => Ok(texts.join("\n")),
    }
}

fn is_meant(volume: &Volume, meant: &Meant) -> bool {
    let claim = meant.claim();
    let is_claim = volume.namespace == claim.namespace && volume.claim == claim.name;
    match meant {
        Meant::Claim(_) => is_claim,
        Meant::Either { volume: name, claim: _ } => {
            is_claim || volume.pv_name == *name || volume.volume.as_ref() == Some(name)
        }
    }
}

/// What all agents answer now.
async fn ask(cluster: &Cluster, node: Option<&str>) -> Result<Answers, Fault> {
    let (told, failed) = ask::all::<NodeTable>(cluster, node, PAGE).await?;
    let nodes = told.into_iter().map(|Told { node: _, now, page }| Answer { table: page, now });
    Ok(Answers { nodes: nodes.collect(), failed })
}
