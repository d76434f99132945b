//! `terrace-node`: parses the command line, sets up logs, runs the node.

use anyhow::Context;
use clap::Parser;
use terrace_node::args::Args;

// Most of its tasks only wait; a thread for each processor would cost memory on large machines.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let telemetry =
        terrace_telemetry::init("terrace-node", args.log_format).context("set up logs")?;
    let result = terrace_node::run::run(args).await;
    telemetry.shutdown();
    Ok(result?)
}
