//! A page of every node's agent, asked for at once. It decides nothing.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{Agent, Cluster};
use crate::fault::{Fault, chain};

/// Nodes that are asked at once.
const AT_ONCE: usize = 16;

/// What a node told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told<T> {
    /// Its name.
    pub node: String,
    /// Its time.
    pub now: Timestamp,
    /// Its page.
    #[serde(flatten)]
    pub page: T,
}

/// A node without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Its name.
    pub node: String,
    /// Why there is none.
    pub error: String,
}

/// What all agents answer now, or that of one node; and those that do not.
///
/// # Errors
/// [`Fault`], if none answers.
pub async fn all<T: DeserializeOwned>(
    cluster: &Cluster,
    node: Option<&str>,
    path: &str,
) -> Result<(Vec<Told<T>>, Vec<Failed>), Fault> {
    let agents = agents(cluster, node).await?;
    let (mut answers, mut failed, mut first) = (Vec::new(), Vec::new(), None);
    for (agent, told) in each(cluster, agents, path).await {
        match told {
            Ok((now, page)) => answers.push(Told { node: agent.node, now, page }),
            Err(fault) => {
                // Its first line says what is wrong, the others what to do.
                let error = chain(&fault).lines().next().unwrap_or_default().to_owned();
                failed.push(Failed { node: agent.node, error });
                first.get_or_insert(fault);
            }
        }
    }
    // The first tells what to do about it.
    match first {
        Some(fault) if answers.is_empty() => Err(fault),
        Some(_) | None => Ok((answers, failed)),
    }
}

/// The running agents.
///
/// # Errors
/// [`Fault::NoPod`], [`Fault::NoAgent`].
pub async fn agents(cluster: &Cluster, node: Option<&str>) -> Result<Vec<Agent>, Fault> {
    let agents = cluster.agents(node).await?;
    match (agents.is_empty(), node) {
        (true, Some(node)) => Err(Fault::NoPod { node: node.to_owned() }),
        (true, None) => Err(Fault::NoAgent),
        (false, _) => Ok(agents),
    }
}

/// The page of each, with its time, in the order of the agents.
pub async fn each<T: DeserializeOwned>(
    cluster: &Cluster,
    agents: Vec<Agent>,
    path: &str,
) -> Vec<(Agent, Result<(Timestamp, T), Fault>)> {
    let each = agents.into_iter().map(|agent| async move {
        let told = read(cluster, &agent, path).await;
        (agent, told)
    });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

/// The page of one, with its time.
///
/// # Errors
/// [`Fault`], by what the agent answered.
pub async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    agent: &Agent,
    path: &str,
) -> Result<(Timestamp, T), Fault> {
    let (now, text) = cluster.page(agent, path).await?;
    let unreadable = |source| Fault::Unreadable { node: agent.node.clone(), source };
    Ok((now, serde_json::from_str(&text).map_err(unreadable)?))
}
