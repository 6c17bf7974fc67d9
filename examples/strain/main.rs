//! The driver of `scripts/strain.sh` and `scripts/soak.sh`: clients and providers that are slow,
//! broken or gone, with the gateway between them; it prints what became of it, and fails if that is
//! not what docs/STREAMS.md says.

// A program for the terminal: it speaks on standard output, and its tasks end with it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod caller;
mod disconnects;
#[path = "../drill/http.rs"]
#[allow(dead_code, reason = "the drill uses the rest")]
mod http;
mod provider;
mod rolling;
mod site;
mod slow_readers;
mod soak;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const HELP: &str = "\
Usage: strain SCENARIO --program GATEWAY --folder FOLDER [FLAGS]

Scenarios:
  slow-readers     200 clients that read 1 KiB/s from providers that send 50 MiB
  disconnects      clients that leave at every stage; --count N [10000]
  rolling-restart  two replicas behind HAProxy, restarted in turn under load; --ports A,B,C
  soak             mixed traffic, errors and disconnects; --minutes N [10]
";

/// What the command line says.
struct Options {
    program: PathBuf,
    folder: PathBuf,
    count: usize,
    minutes: f64,
    ports: Vec<u16>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            program: PathBuf::new(),
            folder: PathBuf::new(),
            count: 10_000,
            minutes: 10.0,
            ports: Vec::new(),
        };
        while let Some(flag) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--program" => options.program = value.into(),
                "--folder" => options.folder = value.into(),
                "--count" => options.count = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                "--ports" => {
                    let ports = value.split(',').map(str::parse);
                    options.ports = ports.collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        Ok(options)
    }
}

#[actix_rt::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    match run(&scenario, arguments).await {
        Ok(()) => {
            println!("{scenario}: ok");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{scenario}: FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: &str, arguments: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::parse(arguments)?;
    match scenario {
        "slow-readers" => slow_readers::run(&options).await,
        "disconnects" => disconnects::run(&options).await,
        "rolling-restart" => rolling::run(&options).await,
        "soak" => soak::run(&options).await,
        _ => Err(HELP.into()),
    }
}

/// Fails, with the reason, where something isn't so.
fn ensure(is_so: bool, what: impl FnOnce() -> String) -> Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(what().into()),
    }
}

/// Looks again and again until something is so.
async fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + patience;
    while !is_so() {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("waited in vain for {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
