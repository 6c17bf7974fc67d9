//! The access log: one line for each exchange, when it is over.

use std::time::Duration;

use log::{
    Level,
    kv::{Error, Key, Source, Value, VisitSource},
};

use uuid::Uuid;

use super::{Connection, Ended};
use crate::telemetry::ACCESS;

/// The longest id of a provider's that is repeated: they are some forty characters long.
const LONGEST_ID: usize = 128;

/// Writes the line of an exchange. What is asked for every few seconds is no news.
pub(super) fn write(ended: &Ended<'_>) {
    let level = match ended.endpoint.as_str() {
        "/healthz" | "/readyz" | "/metrics" => Level::Debug,
        _ => Level::Info,
    };
    if !log::log_enabled!(target: ACCESS, level) {
        return;
    }
    let (mut request_id, mut key_id) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let key = ended.record.key.get();
    let line = Line {
        ended,
        request_id: ended.record.id.written_to(&mut request_id),
        key: key.map(|key| {
            let id = key.id.hyphenated().encode_lower(&mut key_id);
            (&*id, key.name())
        }),
    };
    let record = log::Record::builder()
        .level(level)
        .target(ACCESS)
        .key_values(&line)
        .build();
    log::logger().log(&record);
}

/// An exchange, and its ids as text.
struct Line<'a> {
    ended: &'a Ended<'a>,
    request_id: &'a str,
    key: Option<(&'a str, &'a str)>,
}

/// The fields, in the order of the line. What isn't known is left out.
impl Source for Line<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        let ended = self.ended;
        let record = ended.record;
        let mut field =
            |key: &'static str, value: Value<'kvs>| visitor.visit_pair(Key::from_str(key), value);
        field("request_id", self.request_id.into())?;
        field("method", record.method.into())?;
        field("endpoint", ended.endpoint.as_str().into())?;
        if let Some(status) = record.status.get() {
            field("status", status.as_u16().into())?;
        }
        field("outcome", ended.outcome.as_str().into())?;
        if let Some(code) = record.code.get() {
            field("code", code.into())?;
        }
        if let Some((id, name)) = self.key {
            field("key_id", id.into())?;
            field("key_name", name.into())?;
        }
        if let Some(asked) = record.asked.get() {
            field("model", asked.model.as_str().into())?;
            field("provider", asked.route.provider.name.as_str().into())?;
            field("upstream_model", asked.route.provider_model.as_str().into())?;
            field("streamed", asked.is_streamed.into())?;
        }
        if let Some(id) = record.upstream_id() {
            field("upstream_request_id", id.into())?;
        }
        if let Some(connection) = record.connection.get() {
            field("connection", connection.as_str().into())?;
        }
        if record.is_retried.get() {
            field("retried", true.into())?;
        }
        let micros = |time: Duration| time.as_micros() as u64;
        if let Some(overhead) = ended.times.overhead {
            field("overhead_us", micros(overhead).into())?;
        }
        if let Some(first_byte) = ended.times.first_byte {
            field("first_byte_us", micros(first_byte).into())?;
        }
        field("duration_us", micros(ended.times.whole).into())?;
        field("bytes_in", record.bytes_in.get().into())?;
        field("bytes_out", ended.bytes_out().into())
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
