//! `terrace-node` with fault points, for the crash image: as `main.rs`, and `faults list` prints the name of every point.

use anyhow::Context;
use clap::Parser;
use terrace_node::args::Args;
use terrace_node::fault::Point;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    if std::env::args().skip(1).eq(["faults", "list"]) {
        Point::all().iter().for_each(|point| println!("{point}"));
        return Ok(());
    }
    let args = Args::parse();
    let telemetry =
        terrace_telemetry::init("terrace-node", args.log_format).context("set up logs")?;
    let result = terrace_node::run::run(args).await;
    telemetry.shutdown();
    Ok(result?)
}
