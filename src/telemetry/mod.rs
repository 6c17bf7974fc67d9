//! The log, to standard error, one line for each record: what is logged through `log` goes there by
//! way of `env_logger`, the access log beside it, in the same formats.

mod gathered;
mod json;
mod text;

use std::{
    fmt,
    io::{self, Write as _},
    sync::OnceLock,
    time::SystemTime,
};

use chrono::{DateTime, SecondsFormat, Utc};
use derive_more::Display;
use log::{Level, Record};

use self::{json::Json, text::Text};

/// What is logged unless `RUST_LOG` says otherwise (its syntax:
/// <https://docs.rs/env_logger/#enabling-logging>). The server's dispatcher would log each broken
/// relay a second time.
pub const DEFAULT_FILTER: &str = "info,actix_http::h1::dispatcher=off";

/// The target of the access log.
const ACCESS: &str = "access";

/// What a line looks like.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub enum LogFormat {
    /// `[time LEVEL target] message`, or `[time LEVEL target] key=value …`
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

/// That of the access log, once logging has started.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Starts logging. It is done once in a process.
///
/// # Errors
/// The thread that writes the access log can't be started, or something else logs already.
pub fn start(filter: &str, format: LogFormat) -> io::Result<()> {
    let logger = env_logger::Builder::new()
        .parse_filters(filter)
        .format(move |out, record| {
            let mut line = Vec::new();
            match format {
                LogFormat::Text => write_record(Text(&mut line), record),
                LogFormat::Json => write_record(Json(&mut line), record),
            }
            // What came before it stands before it.
            gathered::flush();
            out.write_all(&line)
        })
        .try_init();
    logger.map_err(io::Error::other)?;
    gathered::start()?;
    let _ = FORMAT.set(format);
    Ok(())
}

fn write_record(mut line: impl Line, record: &Record<'_>) {
    let time = timestamp(SystemTime::now());
    line.begin(&time, record.level(), record.target());
    line.message(record.args());
    line.end();
}

/// RFC 3339, in UTC, with milliseconds.
fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Writes one line of the access log, unless the filter leaves out its target or its level.
pub(crate) fn log_access(level: Level, entry: &impl Entry) {
    let Some(format) = FORMAT.get() else { return };
    if log::log_enabled!(target: ACCESS, level) {
        gathered::add(|line, time| match format {
            LogFormat::Text => write_entry(Text(line), time, level, entry),
            LogFormat::Json => write_entry(Json(line), time, level, entry),
        });
    }
}

fn write_entry(mut line: impl Line, time: &str, level: Level, entry: &impl Entry) {
    line.begin(time, level, ACCESS);
    entry.write_to(&mut line);
    line.end();
}

/// What a line of the access log is about.
pub(crate) trait Entry {
    /// Gives each field, in the order of the line.
    fn write_to(&self, fields: &mut impl Fields);
}

/// Writes fields, in a format of its own. Names need no escapes in any. What writes them is compiled for
/// each format: a line has twenty, and is a twentieth of what a request costs.
pub(crate) trait Fields {
    /// Any text.
    fn text(&mut self, name: &str, value: &str);
    /// A text of ASCII that isn't empty and has neither white space nor quotes, backslashes, `=` and
    /// control characters: an id, a name of ours.
    fn word(&mut self, name: &str, value: &str);
    /// Writes the name; returns where its value goes.
    fn named(&mut self, name: &str) -> &mut Vec<u8>;

    fn number(&mut self, name: &str, value: u64) {
        let digits = &mut itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        self.named(name).extend_from_slice(digits);
    }

    fn flag(&mut self, name: &str, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.named(name).extend_from_slice(text);
    }
}

/// Writes all of a line, in a format of its own.
trait Line: Fields {
    fn begin(&mut self, time: &str, level: Level, target: &str);
    fn message(&mut self, message: &fmt::Arguments<'_>);
    fn end(&mut self);
}

/// Writes the lines of the access log that are still held: for the end of the process.
pub fn flush() {
    gathered::flush();
}
