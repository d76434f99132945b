//! `terrace-operator`: reads its arguments, sets up logging, runs.

use clap::Parser;
use terrace_operator::{args::Args, run};

// Memory must not grow with the processors of the machine it happens to run on.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let telemetry = terrace_telemetry::init("terrace-operator", args.log_format)?;
    let done = run::run(args).await;
    telemetry.shutdown();
    Ok(done?)
}
