//! Tells the claim and the Pods of a volume, of whatever CSI driver, when its latency turns and when its operations begin to fail.
//! Best effort, like all Events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::condition::{self, Truth};
use terrace_crds::{ConditionType, Reason, StorageVolume};
use tokio::sync::{mpsc, watch};

use super::board::{Link, Turn};
use super::known::pv_name;
use super::status::high_message;
use crate::agent::Agent;
use crate::agent::events::Notice;
use crate::agent::health::{DWELL, Watched};

/// How often it looks what time alone has turned.
const EVERY: Duration = Duration::from_secs(10);

/// Tells until `end` turns true.
pub async fn run(
    agent: Arc<Agent>,
    mut turned: mpsc::UnboundedReceiver<Turn>,
    mut end: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watched = Watched::Briefly;
    loop {
        let turns = tokio::select! {
            _ = end.wait_for(|end| *end) => return,
            // Without a socket there is no sender, and nothing comes.
            Some(turn) = turned.recv() => vec![turn],
            _ = ticks.tick() => agent.probe.pass_time(Timestamp::now()),
        };
        for turn in turns {
            tell(&agent, &turn).await;
        }
        let so_far = Timestamp::now().duration_since(agent.probe.began());
        if watched == Watched::Briefly && so_far >= DWELL {
            watched = Watched::Enough;
            look_at_ill(&agent);
        }
    }
}

/// What an earlier run said of errors is past, unless they were told of again.
fn look_at_ill(agent: &Agent) {
    let is_ill = |volume: &StorageVolume| {
        let status = volume.status.as_ref();
        let said =
            status.and_then(|status| condition::find(&status.conditions, ConditionType::Healthy));
        said.is_some_and(|said| said.reason == Reason::IoErrors.as_str())
    };
    let volumes = agent.objects.volumes();
    let ill = volumes.iter().filter(|volume| is_ill(volume));
    let names = ill.filter_map(|volume| volume.metadata.name.as_ref());
    names.for_each(|name| agent.context.tell_changed(name));
}

/// One turn: an Event each for claim and Pods, and a new look at the volume where it is ours.
pub async fn tell(agent: &Agent, turn: &Turn) {
    let (pv, notice) = match turn {
        Turn::Latency(turned) if turned.high => {
            (&turned.pv_name, Notice::LatencyHigh(high_message(turned)))
        }
        Turn::Latency(turned) => (&turned.pv_name, recovered()),
        Turn::LatencyForgotten { pv_name } => (pv_name, recovered()),
        Turn::Failing { pv_name, failing } => (pv_name, Notice::Failing(failing.message())),
        Turn::Healed { pv_name } => {
            let message = "no operation failed any more for five minutes";
            (pv_name, Notice::Healed(message.to_owned()))
        }
    };
    look_again(agent, pv, turn);
    if is_known_already(agent, pv, turn) {
        return;
    }
    for about in agent.probe.knows().references(pv) {
        agent.events.tell_reference(&about, &notice).await;
    }
}

fn recovered() -> Notice {
    Notice::LatencyRecovered("operations are as fast as asked for again".to_owned())
}

/// `Healthy` is the agent's to write.
fn look_again(agent: &Agent, pv: &str, turn: &Turn) {
    match turn {
        Turn::Failing { .. } | Turn::Healed { .. } => {
            let volumes = agent.objects.volumes();
            let named = volumes.iter().filter(|volume| pv_name(volume) == Some(pv));
            let names: BTreeSet<&String> =
                named.filter_map(|volume| volume.metadata.name.as_ref()).collect();
            names.into_iter().for_each(|name| agent.context.tell_changed(name));
        }
        Turn::Latency(_) | Turn::LatencyForgotten { .. } => {}
    }
}

/// A probe says again what is high whenever it connects; an earlier run of csi-node has told of it.
fn is_known_already(agent: &Agent, pv: &str, turn: &Turn) -> bool {
    let (Turn::Latency(turned), Link::Up { since }) = (turn, agent.probe.link()) else {
        return false;
    };
    let volumes = agent.objects.volumes();
    let volume = volumes.iter().find(|volume| pv_name(volume) == Some(pv));
    let status = volume.and_then(|volume| volume.status.as_ref());
    let there =
        status.and_then(|status| condition::find(&status.conditions, ConditionType::LatencyHigh));
    let was_high = there.is_some_and(|there| {
        there.status == Truth::True.as_str() && there.last_transition_time.0 < since
    });
    turned.high && was_high
}
