//! Lines for programs: each a JSON object with `timestamp`, `level`, `target`, `message` and, in the
//! same object, whatever fields a record has.

use std::{
    fmt,
    io::{self, Write as _},
};

use log::{
    Record,
    kv::{Error, Key, Value, VisitSource, VisitValue},
};
use serde::Serializer as _;

use super::{write_bool, write_number};

/// Writes a line.
pub(super) fn write(
    line: &mut Vec<u8>,
    time: &dyn fmt::Display,
    record: &Record<'_>,
) -> io::Result<()> {
    let level = record.level().as_str();
    write!(
        line,
        r#"{{"timestamp":"{time}","level":"{level}","target":"#
    )?;
    write_text(line, record.target())?;
    if record.args().as_str() != Some("") {
        line.extend_from_slice(br#","message":"#);
        serde_json::Serializer::new(&mut *line).collect_str(record.args())?;
    }
    let fields = record.key_values();
    fields.visit(&mut Fields(line)).map_err(io::Error::other)?;
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn write_text(line: &mut Vec<u8>, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(line, text)?)
}

/// `,"key":value` for each.
struct Fields<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push(b',');
        write_text(self.0, key.as_str())?;
        self.0.push(b':');
        value.visit(self)
    }
}

impl<'v> VisitValue<'v> for Fields<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        write_number(self.0, value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        write_bool(self.0, value);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        Ok(write_text(self.0, value)?)
    }
}

#[cfg(test)]
mod tests {
    use log::Level;
    use serde_json::{Value as Json, json};

    use super::*;

    fn line(message: fmt::Arguments<'_>, fields: &[(&str, Value<'_>)]) -> Vec<u8> {
        let record = Record::builder()
            .level(Level::Warn)
            .target("llm_gateway::proxy")
            .args(message)
            .key_values(&fields)
            .build();
        let mut line = Vec::new();
        write(&mut line, &"2026-11-26T04:00:00.000Z", &record).unwrap();
        line
    }

    #[test]
    fn a_line_is_one_json_object() {
        let id = uuid::Uuid::nil();
        let fields: &[(&str, Value<'_>)] = &[
            ("status", 200_u16.into()),
            ("retried", true.into()),
            ("model", "a\n\"b\"".into()),
            ("id", Value::from_display(&id)),
        ];
        let line = line(format_args!("two\nlines, {}", "\"quoted\""), fields);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(
            serde_json::from_slice::<Json>(&line).unwrap(),
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
