//! `terrace-probe`: parses the command line, attaches, gives up what attaching needed, runs. In that order, and up to there on one
//! thread: capabilities belong to threads.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use terrace_probe::args::Args;
use terrace_probe::aya_loader::AyaLoader;
use terrace_probe::capability::{keep_only, needed_after_attach};
use terrace_probe::loader::{Attached, FunctionReport, Loader, Plan};
use terrace_probe::metrics_self::tier_name;
use terrace_probe::unattached::Unattached;
use terrace_probe::{own, run};
use tokio::signal::unix::{SignalKind, signal};

/// How long csi-node may take to mount the bpffs.
const BPFFS_PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let plan = pinned_if_possible(args.plan());
    let attached = AyaLoader.attach(&plan);
    let kept = keep_only(needed_after_attach(&own::kernel_release()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result: anyhow::Result<()> = runtime.block_on(async {
        let telemetry =
            terrace_telemetry::init("terrace-probe", args.log_format).context("set up logs")?;
        match kept {
            Ok(kept) => tracing::info!(?kept, pins = ?plan.pins, "attached; all other capabilities are dropped"),
            Err(error) => tracing::error!(%error, "attached; capabilities are kept"),
        }
        let result = match attached {
            Ok(attached) => {
                log_functions(attached.functions());
                run::run(&args, attached, stop()).await
            }
            Err(error) => {
                let nothing = Unattached::because(&error).context("run without the kernel")?;
                log_functions(nothing.functions());
                run::run(&args, nothing, stop()).await
            }
        };
        telemetry.shutdown();
        Ok(result?)
    });
    // A stdout that nobody reads holds nothing up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Without a bpffs the probe still measures; it forgets when it is killed, and says so.
fn pinned_if_possible(plan: Plan) -> Plan {
    let Some(pins) = plan.pins.clone() else { return plan };
    let until = Instant::now() + BPFFS_PATIENCE;
    while !own::is_on_bpffs(&pins) {
        if Instant::now() >= until {
            eprintln!("{} is on no bpffs: figures will not outlive this process", pins.display());
            return Plan { pins: None, ..plan };
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    plan
}

/// What is followed how, and each reason for less once.
fn log_functions(functions: &[FunctionReport]) {
    let mut reasons: Vec<&str> = functions.iter().map(|one| one.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons.into_iter().filter(|reason| !reason.is_empty()) {
        let those = functions.iter().filter(|one| one.reason == reason);
        let named: Vec<String> =
            those.map(|one| format!("{} by {}", one.function, tier_name(one.tier))).collect();
        tracing::info!(functions = named.join(", "), reason, "not followed in the best way");
    }
}

async fn stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop");
}
