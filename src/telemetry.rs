//! Set-up of the log: `log` through `env_logger`, to standard error.

/// What is logged unless `RUST_LOG` says otherwise (its syntax:
/// <https://docs.rs/env_logger/#enabling-logging>). The server's dispatcher would log each broken
/// relay a second time.
pub const DEFAULT_FILTER: &str = "info,actix_http::h1::dispatcher=off";

/// Recognises a filter that [`start`] can use.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked_filter(text: &str) -> Result<String, String> {
    match env_filter::Builder::new().try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("is not a log filter ({error})")),
    }
}

/// Starts logging. A second call changes nothing, so that tests may call it as they like.
pub fn start(filter: &str) {
    let _ = env_logger::Builder::new()
        .parse_filters(filter)
        .format_timestamp_millis()
        .try_init();
}
