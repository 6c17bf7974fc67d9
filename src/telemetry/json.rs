//! Lines for programs: each a JSON object with `timestamp`, `level` and `target`, and beside them
//! `message`, or the fields of the access log.

use std::fmt;

use log::Level;
use serde::Serializer as _;

use super::{Fields, Line};

/// Writes a line.
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Line for Json<'_> {
    fn begin(&mut self, time: &str, level: Level, target: &str) {
        self.0.extend_from_slice(br#"{"timestamp":""#);
        self.0.extend_from_slice(time.as_bytes());
        self.0.push(b'"');
        self.word("level", level.as_str());
        self.text("target", target);
    }

    fn message(&mut self, message: &fmt::Arguments<'_>) {
        let line = self.named("message");
        let written = serde_json::Serializer::new(line).collect_str(message);
        debug_assert!(written.is_ok(), "neither text nor memory fails");
    }

    fn end(&mut self) {
        self.0.extend_from_slice(b"}\n");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &str, value: &str) {
        let written = serde_json::to_writer(self.named(name), value);
        debug_assert!(written.is_ok(), "neither text nor memory fails");
    }

    fn word(&mut self, name: &str, value: &str) {
        let line = self.named(name);
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    }

    fn named(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let mut line = Vec::new();
        let mut json = Json(&mut line);
        json.begin(
            "2026-11-26T04:00:00.000Z",
            Level::Warn,
            "llm_gateway::proxy",
        );
        json.message(&format_args!("two\nlines, {}", "\"quoted\""));
        json.number("status", 200);
        json.flag("retried", true);
        json.text("model", "a\n\"b\"");
        json.word("id", "00000000-0000-0000-0000-000000000000");
        json.end();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(
            serde_json::from_slice::<Value>(&line).unwrap(),
            json!({
                "timestamp": "2026-11-26T04:00:00.000Z",
                "level": "WARN",
                "target": "llm_gateway::proxy",
                "message": "two\nlines, \"quoted\"",
                "status": 200,
                "retried": true,
                "model": "a\n\"b\"",
                "id": "00000000-0000-0000-0000-000000000000",
            })
        );
    }
}
