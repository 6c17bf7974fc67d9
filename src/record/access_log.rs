//! The access log: one line for each exchange, when it is over.

use std::time::Duration;

use log::Level;
use uuid::Uuid;

use super::{Connection, Ended};
use crate::telemetry::{self, Entry, Fields};

/// The longest id of a provider's that is repeated: they are some forty characters long.
const LONGEST_ID: usize = 128;

/// Writes the line of an exchange. What is asked for every few seconds is no news.
pub(super) fn write(ended: &Ended<'_>) {
    let level = match ended.endpoint.as_str() {
        "/healthz" | "/readyz" | "/metrics" => Level::Debug,
        _ => Level::Info,
    };
    telemetry::log_access(level, ended);
}

/// What isn't known is left out.
impl Entry for Ended<'_> {
    fn write_to(&self, fields: &mut impl Fields) {
        let record = self.record;
        let uuid = &mut Uuid::encode_buffer();
        fields.word("request_id", record.id.written_to(uuid));
        fields.word("method", record.method);
        fields.word("endpoint", self.endpoint.as_str());
        if let Some(status) = record.status.get() {
            fields.number("status", status.as_u16().into());
        }
        fields.word("outcome", self.outcome.as_str());
        if let Some(code) = record.code.get() {
            fields.word("code", code);
        }
        if let Some(key) = record.key.get() {
            fields.word("key_id", key.id.hyphenated().encode_lower(uuid));
            fields.text("key_name", key.name());
        }
        if let Some(asked) = record.asked.get() {
            fields.text("model", &asked.model);
            fields.text("provider", asked.route.provider.name.as_str());
            fields.text("upstream_model", asked.route.provider_model.as_str());
            fields.flag("streamed", asked.is_streamed);
        }
        if let Some(id) = record.upstream_id() {
            fields.text("upstream_request_id", id);
        }
        if let Some(connection) = record.connection.get() {
            fields.word("connection", connection.as_str());
        }
        if record.is_retried.get() {
            fields.flag("retried", true);
        }
        let micros = |time: Duration| time.as_micros() as u64;
        if let Some(overhead) = self.times.overhead {
            fields.number("overhead_us", micros(overhead));
        }
        if let Some(first_byte) = self.times.first_byte {
            fields.number("first_byte_us", micros(first_byte));
        }
        fields.number("duration_us", micros(self.times.whole));
        fields.number("bytes_in", record.bytes_in.get());
        fields.number("bytes_out", self.bytes_out());
    }
}

impl super::Record {
    /// What the provider calls the request, as far as that can be printed.
    fn upstream_id(&self) -> Option<&str> {
        let id = self.upstream_id.get()?.to_str().ok()?;
        Some(&id[..id.len().min(LONGEST_ID)])
    }
}

impl Connection {
    fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reused => "reused",
        }
    }
}
