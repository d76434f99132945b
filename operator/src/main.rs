//! `terrace-operator`: reads its arguments, sets up logging, runs.

use clap::Parser;
use terrace_operator::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let telemetry = terrace_telemetry::init("terrace-operator", args.log_format)?;
    let done = run::run(args).await;
    telemetry.shutdown();
    Ok(done?)
}
