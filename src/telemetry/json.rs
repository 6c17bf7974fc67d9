//! Lines for programs: each a JSON object with `timestamp`, `level` and `target`, and beside them
//! `message`, or the fields of the access log.

use std::fmt;

use log::Level;
use serde::Serializer as _;

use super::{Fields, Line, write_flag, write_number};

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
        self.name("message");
        let written = serde_json::Serializer::new(&mut *self.0).collect_str(message);
        debug_assert!(written.is_ok(), "neither text nor memory fails");
    }

    fn end(&mut self) {
        self.0.extend_from_slice(b"}\n");
    }
}

impl Json<'_> {
    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        let written = serde_json::to_writer(&mut *self.0, value);
        debug_assert!(written.is_ok(), "neither text nor memory fails");
    }

    fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        write_number(self.0, value);
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        write_flag(self.0, value);
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
