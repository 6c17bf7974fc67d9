//! The driver of `scripts/drill.sh` and `scripts/scale.sh`: starts gateways and a mock provider,
//! puts load on them, and prints what the caches kept of their promises.

// A program for the terminal: it speaks on standard output, and its tasks end with it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "../../tests/replicas/cable.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests use the rest, and may panic"
)]
mod cable;
mod changes;
mod flood;
mod http;
mod load;
mod machine;
mod options;
mod outages;
mod report;
mod scale;
mod site;
mod stage;

use std::{process::ExitCode, time::Duration};

use tokio::time::timeout;

use crate::{
    machine::Machine,
    options::{Options, Scenario},
    report::Report,
    stage::Stage,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The longest that everything may take.
const PATIENCE: Duration = Duration::from_secs(900);

#[actix_web::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("drill: {problem} (--help lists the flags)");
            return ExitCode::from(2);
        }
    };
    match timeout(PATIENCE, run(options)).await {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(problem)) => {
            eprintln!("drill: {problem}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("drill: it takes too long");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<bool> {
    let mut report = Report::default();
    let machine = Machine::now();
    match options.scenario {
        Scenario::Drill => drill(options, &mut report).await?,
        Scenario::Scale => scale::run(options, &mut report).await?,
    }
    if let Some(machine) = machine {
        machine.show_since(&report);
    }
    Ok(report.verdict())
}

async fn drill(options: Options, report: &mut Report) -> Result<()> {
    let stage = Stage::set(options).await?;
    changes::run(&stage, report).await?;
    outages::run(&stage, report).await?;
    changes::run_without_listeners(&stage, report).await?;
    flood::run(&stage, report).await
}
