//! `terrace-operator` with fault points, for the crash image: as `main.rs`, and `faults list` prints the name of every point.

use clap::Parser;
use terrace_operator::fault::Point;
use terrace_operator::{args::Args, run};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    if std::env::args().skip(1).eq(["faults", "list"]) {
        Point::all().iter().for_each(|point| println!("{point}"));
        return Ok(());
    }
    let args = Args::parse();
    let telemetry = terrace_telemetry::init("terrace-operator", args.log_format)?;
    let done = run::run(args).await;
    telemetry.shutdown();
    Ok(done?)
}
