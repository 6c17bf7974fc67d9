//! Set-up of the log: `log` through `env_logger`, to standard error, one line for each record.

mod gathered;
mod json;
mod text;

use std::io::Write as _;

use derive_more::Display;
use log::Level;

/// What is logged unless `RUST_LOG` says otherwise (its syntax:
/// <https://docs.rs/env_logger/#enabling-logging>). The server's dispatcher would log each broken
/// relay a second time.
pub const DEFAULT_FILTER: &str = "info,actix_http::h1::dispatcher=off";

/// The target of the access log.
pub(crate) const ACCESS: &str = "access";

/// What a line looks like.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub enum LogFormat {
    /// `[time LEVEL target] message key=value`
    #[display("text")]
    Text,
    /// A JSON object.
    #[display("json")]
    Json,
}

impl LogFormat {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json".to_owned()),
        }
    }
}

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
pub fn start(filter: &str, format: LogFormat) {
    let write = match format {
        LogFormat::Text => text::write,
        LogFormat::Json => json::write,
    };
    let gathers = gathered::start().is_ok();
    let _ = env_logger::Builder::new()
        .parse_filters(filter)
        .format(move |out, record| {
            // In one piece: `out` takes small ones at a price.
            let mut line = Vec::with_capacity(USUAL_LINE);
            write(&mut line, &out.timestamp_millis(), record)?;
            if gathers && record.target() == ACCESS {
                gathered::add(&line);
                return Ok(());
            }
            // What came before it stands before it.
            gathered::flush();
            out.write_all(&line)
        })
        .try_init();
}

/// Writes the lines of the access log that are still held: for the end of the process.
pub fn flush() {
    gathered::flush();
}

/// A line of the access log has 450 to 650 bytes.
const USUAL_LINE: usize = 768;

/// `INFO `, as wide as the longest.
fn padded(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

fn write_number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_bool(line: &mut Vec<u8>, value: bool) {
    let text: &[u8] = if value { b"true" } else { b"false" };
    line.extend_from_slice(text);
}
