//! The binary: settings → telemetry → application → run.

mod healthcheck;

use std::{
    env,
    io::{self, Write},
    mem,
    process::ExitCode,
};

use llm_gateway::{
    Application, Settings, StopSignal,
    application::ApplicationError,
    metrics::Metrics,
    storage::{
        StorageError,
        database::{self, Target},
    },
    telemetry,
};

/// A request takes some fifty allocations, some of them larger than what glibc keeps at hand for each
/// thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
One lightweight process in front of many LLM providers, speaking the OpenAI API.

Usage: llm-gateway [COMMAND]

Commands:
  (none)         serve until SIGTERM or SIGINT
  check-config   print the effective settings, secrets masked; exit 1 if any can't be used
  healthcheck    ask the gateway on LISTEN_ADDR whether it is alive; exit 1 if not
  rotate-encryption-key [--to-plaintext]
                 seal every provider's key anew with ENCRYPTION_KEY, or with nothing; what
                 ENCRYPTION_KEY_PREVIOUS sealed is opened with that

Options:
  -h, --help     print this
  -V, --version  print the version

Settings come from the environment and from a .env file; .env.example lists them all.
ADMIN_KEY is the only one that is required.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => serve(),
        ["check-config"] => check_config(),
        ["healthcheck"] => settings().and_then(|settings| healthcheck::run(&settings)),
        ["rotate-encryption-key"] => rotate_encryption_key(Target::CurrentKey),
        ["rotate-encryption-key", "--to-plaintext"] => rotate_encryption_key(Target::Plaintext),
        ["-h" | "--help" | "help"] => print(HELP),
        ["-V" | "--version"] => print(&format!("llm-gateway {}\n", env!("CARGO_PKG_VERSION"))),
        [unknown, ..] => Err(format!(
            "unknown argument `{unknown}`; `llm-gateway --help` lists what there is"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "{problem}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| error.to_string())
}

fn settings() -> Result<Settings, String> {
    Settings::from_env().map_err(|problems| problems.to_string())
}

fn serve() -> Result<(), String> {
    let settings = settings()?;
    prepare_process(&settings)?;
    let run = async {
        // Heard during a slow start too: the first process of a container dies of no signal
        // that it doesn't handle.
        let mut stop = StopSignal::listen()?;
        let application = tokio::select! {
            application = Application::build(settings) => application?,
            _ = stop.received() => return Ok(()),
        };
        application.run_until_stopped(stop).await
    };
    let system = actix_rt::System::new();
    let result = system.block_on(run);
    telemetry::flush();
    // To drop the runtime would be to wait for blocking calls, a look-up of a name for example.
    mem::forget(system);
    result.map_err(|error: ApplicationError| error.to_string())
}

/// The log, and one provider of cryptography for every TLS connection of the process: to providers,
/// PostgreSQL and Redis.
fn prepare_process(settings: &Settings) -> Result<(), String> {
    telemetry::start(&settings.log_filter, settings.log_format)
        .map_err(|error| format!("the log cannot be started: {error}"))?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a provider of cryptography was installed already".to_owned())
}

fn rotate_encryption_key(target: Target) -> Result<(), String> {
    let settings = settings()?;
    prepare_process(&settings)?;
    let rotate = async {
        let database = database::connect(&settings.database, &Metrics::default())?;
        let resealed = database.rotate_encryption_key(target).await;
        database.close().await;
        resealed
    };
    let resealed = actix_rt::System::new().block_on(rotate);
    let resealed = resealed.map_err(|error: StorageError| error.to_string())?;
    print(&format!("{resealed}\n"))
}

fn check_config() -> Result<(), String> {
    let settings = settings()?;
    let lines: String = settings
        .effective()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    print(&lines)
}
