//! A provider that speaks OpenAI's API and Anthropic's and costs nothing: for trying the gateway without a paid key,
//! for the client tests and for the benches. Its answers, delays and failures are chosen by flags,
//! by request headers or by the model's name: `cargo run --example mock_provider -- --help`.

// A program for the terminal speaks on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod audio;
mod chat;
mod completions;
mod embeddings;
mod endpoints;
mod error;
mod form;
mod images;
mod messages;
mod models;
mod moderations;
mod options;
mod rerank;
mod responses;
mod server;
mod settings;
mod tools;

use std::process::ExitCode;

use options::Options;

#[actix_web::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("mock_provider: {problem} (--help lists the flags)");
            return ExitCode::from(2);
        }
    };
    match server::run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mock_provider: {problem}");
            ExitCode::FAILURE
        }
    }
}
