//! Parses the command line, runs it, prints the text or the error, and leaves with the exit code that
//! `--help` promises.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use kubectl_terrace::{args::Args, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run::run(Args::parse()).await {
        Ok(text) => print(&text),
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

/// A reader that has seen enough (`| head`) is no fault.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: write the output: {error}");
            ExitCode::FAILURE
        }
    }
}
