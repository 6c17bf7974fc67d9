//! Reads lines of the log, strictly: what isn't exactly of its format fails the test.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::support::gateway::TestGateway;

/// What `LOG_FORMAT` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

impl Format {
    pub(super) const BOTH: [Self; 2] = [Self::Text, Self::Json];

    pub(super) fn setting(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("LOG_FORMAT", "text"),
            Self::Json => ("LOG_FORMAT", "json"),
        }
    }

    pub(super) fn read(self, line: &str) -> Line {
        match self {
            Self::Text => text(line),
            Self::Json => json(line),
        }
    }

    /// How a field with a plain value is written.
    fn field(self, key: &str, value: &str) -> String {
        match self {
            Self::Text => format!(" {key}={value} "),
            Self::Json => format!(r#""{key}":"{value}""#),
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) level: String,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) fields: BTreeMap<String, String>,
}

impl Line {
    /// A field that has to be there.
    pub(super) fn get(&self, key: &str) -> &str {
        match self.fields.get(key) {
            Some(value) => value,
            None => panic!("no `{key}` in {self:?}"),
        }
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }
}

/// The line of the access log for a request, once it is there.
pub(super) async fn access_line(gateway: &TestGateway, format: Format, id: &str) -> Line {
    let words = format.field("request_id", id);
    gateway.logged(&words).await;
    let lines: Vec<_> = access_lines(gateway, format)
        .into_iter()
        .filter(|line| line.get("request_id") == id)
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

/// The first line with this outcome, once it is there.
pub(super) async fn line_of_outcome(gateway: &TestGateway, format: Format, outcome: &str) -> Line {
    gateway.logged(&format.field("outcome", outcome)).await;
    let mut lines = access_lines(gateway, format).into_iter();
    lines.find(|line| line.get("outcome") == outcome).unwrap()
}

/// Every line of the access log so far. Every other line is read too, so that all are well-formed.
pub(super) fn access_lines(gateway: &TestGateway, format: Format) -> Vec<Line> {
    let log = gateway.log();
    let lines = log.lines().map(|line| format.read(line));
    lines.filter(|line| line.target == "access").collect()
}

/// `[time LEVEL target] message key=value key="value"`; no message has a `=`-less field behind it,
/// so that only lines of the access log, which have no message, have their fields read.
fn text(line: &str) -> Line {
    let (head, rest) = line.strip_prefix('[').unwrap().split_once(']').unwrap();
    let mut words = head.split_ascii_whitespace();
    let mut word = || words.next().unwrap().to_owned();
    let (time, level, target) = (word(), word(), word());
    assert!(!rest.chars().any(char::is_control), "{line:?}");
    let (message, fields) = match target.as_str() {
        "access" => (String::new(), pairs(rest)),
        _ => (rest.trim_start().to_owned(), BTreeMap::new()),
    };
    Line {
        time,
        level,
        target,
        message,
        fields,
    }
}

fn pairs(mut rest: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let (key, behind) = rest.strip_prefix(' ').unwrap().split_once('=').unwrap();
        assert!(
            key.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        );
        let (value, behind) = value(behind);
        assert!(fields.insert(key.to_owned(), value).is_none(), "two {key}");
        rest = behind;
    }
    fields
}

/// A value and what follows it.
fn value(text: &str) -> (String, &str) {
    if !text.starts_with('"') {
        let end = text.find(' ').unwrap_or(text.len());
        let value = &text[..end];
        assert!(
            !value.contains(['"', '=', '\\']) && !value.is_empty(),
            "{value}"
        );
        return (value.to_owned(), &text[end..]);
    }
    // A quoted value is a JSON string.
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next().unwrap().unwrap();
    (value, &text[values.byte_offset()..])
}

fn json(line: &str) -> Line {
    let mut object: Map<String, Value> = serde_json::from_str(line).unwrap();
    let mut take = |key: &str| match object.remove(key) {
        Some(Value::String(text)) => text,
        other => panic!("{key} is {other:?} in {line}"),
    };
    let (time, level, target) = (take("timestamp"), take("level"), take("target"));
    let message = match target.as_str() {
        "access" => String::new(),
        _ => take("message"),
    };
    let fields = object.into_iter().map(|(key, value)| match value {
        Value::String(text) => (key, text),
        // Numbers and booleans are no strings.
        other => (key, other.to_string()),
    });
    Line {
        fields: fields.collect(),
        time,
        level,
        target,
        message,
    }
}
