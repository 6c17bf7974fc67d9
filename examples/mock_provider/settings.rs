//! How one answer is given. The same settings with the same names come from flags (for every
//! request), from `x-mock-*` headers and from the model's name (for one request).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;

/// What a setting's name is put behind in a request header.
const HEADER_PREFIX: &str = "x-mock-";

/// What a model's name starts with when settings follow in it.
pub(crate) const MODEL_PREFIX: &str = "mock:";

/// Above this an answer is more likely a typing error than a wish.
const MOST_BYTES: usize = 1 << 30;

/// One row of the help text.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) meaning: &'static str,
}

/// Every setting, for the help text; `Settings::set` reads them.
pub(crate) const ROWS: &[Row] = &[
    row("delay", "DURATION", "wait before the answer's head [0]"),
    row(
        "chunk-delay",
        "DURATION",
        "wait between streamed events [0]",
    ),
    row("chunks", "N", "pieces of text in a streamed answer [20]"),
    row("chunk-bytes", "SIZE", "text in each piece [16]"),
    row(
        "response-bytes",
        "SIZE",
        "text in a whole answer [chunks times chunk-bytes]",
    ),
    row(
        "timed",
        "BOOL",
        "each streamed event says in a comment when it left, in ns since 1970 [false]",
    ),
    row("prompt-tokens", "N", "what `usage` says was read [12]"),
    row(
        "status",
        "CODE",
        "answer with this error, 400 to 599, in OpenAI's envelope",
    ),
    row(
        "retry-after",
        "SECONDS",
        "what errors 429 and 503 say in Retry-After [1]",
    ),
    row(
        "recovers",
        "N",
        "no error from the N-th repetition on, which SDKs count in x-stainless-retry-count",
    ),
    row(
        "cut",
        "N",
        "close the connection after N streamed events, or within a whole answer",
    ),
];

const fn row(name: &'static str, value: &'static str, meaning: &'static str) -> Row {
    Row {
        name,
        value,
        meaning,
    }
}

/// How one answer is given.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) delay: Duration,
    pub(crate) chunk_delay: Duration,
    pub(crate) chunks: usize,
    pub(crate) chunk_bytes: usize,
    pub(crate) response_bytes: Option<usize>,
    pub(crate) timed: bool,
    pub(crate) prompt_tokens: usize,
    pub(crate) status: Option<StatusCode>,
    pub(crate) retry_after: u64,
    pub(crate) recovers: Option<u32>,
    pub(crate) cut: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            chunks: 20,
            chunk_bytes: 16,
            response_bytes: None,
            timed: false,
            prompt_tokens: 12,
            status: None,
            retry_after: 1,
            recovers: None,
            cut: None,
        }
    }
}

impl Settings {
    /// Changes one setting; the error says what is wrong with the value.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match name {
            "delay" => self.delay = duration(value)?,
            "chunk-delay" => self.chunk_delay = duration(value)?,
            "chunks" => self.chunks = number(value)?,
            "chunk-bytes" => self.chunk_bytes = size(value)?,
            "response-bytes" => self.response_bytes = Some(size(value)?),
            "timed" => self.timed = boolean(value)?,
            "prompt-tokens" => self.prompt_tokens = number(value)?,
            "status" => self.status = Some(error_status(value)?),
            "retry-after" => self.retry_after = number(value)?,
            "recovers" => self.recovers = Some(number(value)?),
            "cut" => self.cut = Some(number(value)?),
            _ => return Err(format!("there is no setting '{name}'")),
        }
        Ok(())
    }

    /// Applies the request's `x-mock-*` headers.
    pub(crate) fn set_from_headers(&mut self, headers: &HeaderMap) -> Result<(), String> {
        for (name, value) in headers {
            let Some(setting) = name.as_str().strip_prefix(HEADER_PREFIX) else {
                continue;
            };
            let value = value
                .to_str()
                .map_err(|_| format!("the value of {name} is not plain text"))?;
            self.set(setting, value)
                .map_err(|problem| format!("{name}: {problem}"))?;
        }
        Ok(())
    }

    /// Applies what a name such as `mock:status=429,retry-after=7` asks for.
    pub(crate) fn set_from_model(&mut self, model: &str) -> Result<(), String> {
        let Some(list) = model.strip_prefix(MODEL_PREFIX) else {
            return Ok(());
        };
        for item in list.split(',') {
            let (setting, value) = item
                .split_once('=')
                .ok_or_else(|| format!("'{item}' in the model's name is not SETTING=VALUE"))?;
            self.set(setting.trim(), value)?;
        }
        Ok(())
    }

    /// The error to answer with, unless this is a repetition for which it is over.
    pub(crate) fn failure(&self, headers: &HeaderMap) -> Option<StatusCode> {
        let repetition = headers
            .get("x-stainless-retry-count")
            .and_then(|count| count.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        let is_over = self.recovers.is_some_and(|last| repetition >= last);
        self.status.filter(|_| !is_over)
    }

    /// How much text a whole answer carries: as much as a streamed one, unless told otherwise.
    pub(crate) fn whole_text_bytes(&self) -> usize {
        self.response_bytes
            .unwrap_or_else(|| self.chunks.saturating_mul(self.chunk_bytes))
            .min(MOST_BYTES)
    }
}

fn number<N: std::str::FromStr>(value: &str) -> Result<N, String> {
    value
        .parse()
        .map_err(|_| format!("'{value}' is not a number such as 20"))
}

fn boolean(value: &str) -> Result<bool, String> {
    value
        .parse()
        .map_err(|_| format!("'{value}' is neither true nor false"))
}

fn error_status(value: &str) -> Result<StatusCode, String> {
    StatusCode::from_bytes(value.as_bytes())
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| format!("'{value}' is not an error status such as 429"))
}

/// Reads `250ms`, `2s`, `5m`, or a bare number of seconds.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: Option<u64> = digits.parse().ok();
    let unit = match &value[digits.len()..] {
        "ms" => Some(Duration::from_millis(1)),
        "" | "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        _ => None,
    };
    count
        .zip(unit)
        .and_then(|(count, unit)| unit.checked_mul(u32::try_from(count).ok()?))
        .ok_or_else(|| format!("'{value}' is not a duration such as 250ms or 2s"))
}

/// Reads `64KiB`, `50MiB`, or a bare number of bytes.
fn size(value: &str) -> Result<usize, String> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: Option<usize> = digits.parse().ok();
    let unit = match &value[digits.len()..] {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    count
        .zip(unit)
        .and_then(|(count, unit)| count.checked_mul(unit))
        .filter(|bytes| *bytes <= MOST_BYTES)
        .ok_or_else(|| format!("'{value}' is not a size up to 1024MiB such as 64KiB"))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_models_name_carries_settings() {
        let mut settings = Settings::default();
        settings
            .set_from_model("mock:status=429,retry-after=7,delay=250ms,chunk-bytes=2KiB")
            .unwrap();
        assert_eq!(settings.status, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(settings.retry_after, 7);
        assert_eq!(settings.delay, Duration::from_millis(250));
        assert_eq!(settings.chunk_bytes, 2048);
    }

    #[test]
    fn other_names_carry_none() {
        let mut settings = Settings::default();
        settings.set_from_model("vendor/model:free").unwrap();
        assert_eq!(settings.status, None);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("delay", "soon"),
            ("delay", "99999999999m"),
            ("chunks", "-1"),
            ("chunk-bytes", "2GiB"),
            ("status", "200"),
            ("nonsense", "1"),
        ] {
            assert!(settings.set(name, value).is_err(), "{name}={value}");
        }
        assert!(settings.set_from_model("mock:status").is_err());
    }

    #[test]
    fn an_error_is_over_when_it_was_met_often_enough() {
        let mut settings = Settings::default();
        settings
            .set_from_model("mock:status=503,recovers=2")
            .unwrap();
        let failure = |count: &'static str| {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_static("x-stainless-retry-count");
            headers.insert(name, HeaderValue::from_static(count));
            settings.failure(&headers)
        };
        assert_eq!(failure("0"), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(failure("1"), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(failure("2"), None);
        assert!(settings.failure(&HeaderMap::new()).is_some());
    }

    #[test]
    fn every_row_of_the_help_can_be_set() {
        for row in ROWS {
            let example = match row.value {
                "DURATION" => "5ms",
                "SIZE" => "1KiB",
                "CODE" => "503",
                "BOOL" => "true",
                _ => "3",
            };
            assert!(
                Settings::default().set(row.name, example).is_ok(),
                "{}",
                row.name
            );
        }
    }
}
