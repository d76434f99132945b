//! What the agents of all nodes tell of latencies, asked at once and shown: one table, table after table, or one volume's
//! histograms. It decides nothing.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::{Json, Top};
use crate::cluster::{Agent, Cluster};
use crate::fault::{Fault, Missing, chain};
use crate::find::{Meant, parse_name};
use crate::histogram;
use crate::measured::{Drawing, NodeTable, Volume};
use crate::top::{Answer, Answers, Failed, View, report};

/// Nodes that are asked at once.
const AT_ONCE: usize = 16;
/// To the upper left corner, everything cleared.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// `kubectl terrace top`: the text where it is asked for once, else it prints until nobody reads any more.
///
/// # Errors
/// [`Fault`]. That a node does not answer is part of the table, unless none does.
pub async fn top(cluster: &Cluster, top: &Top) -> Result<String, Fault> {
    let Top { by, sort, node, interval: seconds, once, output } = top;
    let view = View { by: *by, sort: *sort, namespace: cluster.asked.clone() };
    let mut screen = std::io::stdout();
    let is_terminal = screen.is_terminal();
    let mut ticks = interval(Duration::from_secs(*seconds));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
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
        let text = match output {
            None if is_terminal => format!("{CLEAR}{text}"),
            None => format!("{text}\n"),
            Some(Json::Json) => text,
        };
        match screen.write_all(text.as_bytes()).and_then(|()| screen.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(String::new()),
            Err(error) => return Err(Fault::Output(error)),
        }
    }
}

/// `kubectl terrace latency`.
///
/// # Errors
/// [`Fault`]; [`Missing::Measured`] where no Pod uses the volume.
pub async fn latency(cluster: &Cluster, name: &str, output: Option<Json>) -> Result<String, Fault> {
    let meant = parse_name(name, &cluster.namespace);
    let agents = agents(cluster, None).await?;
    let (mut texts, mut drawings, mut failed) = (Vec::new(), Vec::new(), None);
    for (agent, told) in tables(cluster, agents).await {
        let table = match told {
            Ok(answer) => answer.table,
            Err(fault) => {
                failed.get_or_insert(fault);
                continue;
            }
        };
        for volume in table.volumes.iter().filter(|volume| is_meant(volume, &meant)) {
            let path = format!("/v1/latency/{}", volume.pv_name);
            let drawing: Drawing = read(cluster, &agent, &path).await?.1;
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
    let agents = agents(cluster, node).await?;
    let mut answers = Answers::default();
    let mut first = None;
    for (agent, told) in tables(cluster, agents).await {
        match told {
            Ok(answer) => answers.nodes.push(answer),
            Err(fault) => {
                // Its first line says what is wrong, the others what to do.
                let error = chain(&fault).lines().next().unwrap_or_default().to_owned();
                answers.failed.push(Failed { node: agent.node, error });
                first.get_or_insert(fault);
            }
        }
    }
    // The first tells what to do about it.
    match first {
        Some(fault) if answers.nodes.is_empty() => Err(fault),
        Some(_) | None => Ok(answers),
    }
}

async fn agents(cluster: &Cluster, node: Option<&str>) -> Result<Vec<Agent>, Fault> {
    let agents = cluster.agents(node).await?;
    match (agents.is_empty(), node) {
        (true, Some(node)) => Err(Fault::NoPod { node: node.to_owned() }),
        (true, None) => Err(Fault::NoAgent),
        (false, _) => Ok(agents),
    }
}

/// The table of each, in the order of the agents.
async fn tables(cluster: &Cluster, agents: Vec<Agent>) -> Vec<(Agent, Result<Answer, Fault>)> {
    let each = agents.into_iter().map(|agent| async move {
        let told = read::<NodeTable>(cluster, &agent, "/v1/latency").await;
        (agent, told.map(|(now, table)| Answer { table, now }))
    });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    agent: &Agent,
    path: &str,
) -> Result<(jiff::Timestamp, T), Fault> {
    let (now, text) = cluster.page(agent, path).await?;
    let unreadable = |source| Fault::Unreadable { node: agent.node.clone(), source };
    Ok((now, serde_json::from_str(&text).map_err(unreadable)?))
}
