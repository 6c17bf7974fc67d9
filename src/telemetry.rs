//! Set-up of the log: `log` through `env_logger`, to standard error.

use env_logger::Env;

/// What is logged unless `RUST_LOG` says otherwise (its syntax:
/// <https://docs.rs/env_logger/#enabling-logging>). The server's dispatcher would log each broken
/// relay a second time.
const DEFAULT_FILTER: &str = "info,actix_http::h1::dispatcher=off";

/// Starts logging. A second call changes nothing, so that tests may call it as they like.
pub fn start() {
    let filter = Env::default().default_filter_or(DEFAULT_FILTER);
    let _ = env_logger::Builder::from_env(filter)
        .format_timestamp_millis()
        .try_init();
}
