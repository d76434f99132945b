//! Taking stock: what lies on the pools, and which of it objects of this node claim. Looks, decides nothing.

use std::time::Instant;

use super::objects::Claims;
use super::sweep_plan::Noted;
use super::volume::Error;
use super::{Agent, orphans};
use crate::inventory::{self, Listing};

/// What a look showed.
#[derive(Debug, Default)]
pub struct Stock {
    /// The host objects.
    pub listing: Listing,
    /// What is claimed; `None`: the watches have not listed everything yet, so nothing can be called an orphan.
    pub claims: Option<Claims>,
}

/// Looks at every pool. What was claimed before the look or after it is claimed: an object may come or go meanwhile.
///
/// # Errors
/// If the host does not answer.
pub async fn take(agent: &Agent) -> Result<Stock, Error> {
    let before = agent.objects.claims();
    let (pools, cluster) = (agent.context.pools.clone(), agent.context.cluster());
    let Some(cluster) = cluster else { return Ok(Stock::default()) };
    let listing = agent.context.look(move |host| inventory::list(host, &pools, &cluster)).await?;
    let claims = before.zip(agent.objects.claims()).map(|(mut before, after)| {
        agent.objects.went_by(&after);
        before.extend(after);
        before
    });
    Ok(Stock { listing, claims })
}

/// Remembers what the sweeper may come to remove, and wakes it if that changed.
pub fn note(agent: &Agent, stock: &Stock) {
    let Some(claims) = &stock.claims else { return };
    let candidates = orphans::plan_candidates(&stock.listing, claims);
    let noted = agent.leftovers().note(&candidates, Instant::now());
    if noted == Noted::Changed || agent.swept().is_none() {
        agent.leftovers_turned.notify_one();
    }
}
