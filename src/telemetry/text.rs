//! Lines for people: `[time LEVEL target] message key=value key="another value"`.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use log::{
    Record,
    kv::{Error, Key, Value, VisitSource, VisitValue},
};

use super::{padded, write_bool, write_number};

/// Writes a line. Whatever its parts contain, it stays one line, and no part looks like another.
pub(super) fn write(
    line: &mut Vec<u8>,
    time: &dyn fmt::Display,
    record: &Record<'_>,
) -> io::Result<()> {
    write!(line, "[{time} {} ", padded(record.level()))?;
    write_escaped(line, record.target());
    line.push(b']');
    if record.args().as_str() != Some("") {
        line.push(b' ');
        let _ = write!(Escaped::new(line), "{}", record.args());
    }
    let fields = record.key_values();
    fields.visit(&mut Fields(line)).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(())
}

/// ` key=value` for each.
struct Fields<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_str().as_bytes());
        self.0.push(b'=');
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
        if is_plain(value) {
            self.0.extend_from_slice(value.as_bytes());
        } else {
            self.0.push(b'"');
            let mut quoted = Escaped::new(self.0);
            quoted.in_quotes = true;
            quoted.push(value);
            self.0.push(b'"');
        }
        Ok(())
    }
}

/// Whether a value needs no quotes.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// By byte: most values are looked at for nothing, so it had better be quick.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'\\' | b'=');
        byte += 1;
    }
    plain
};

fn write_escaped(line: &mut Vec<u8>, text: &str) {
    Escaped::new(line).push(text);
}

/// Writes control characters, and whatever else would change how a line is shown, as JSON does.
struct Escaped<'a> {
    line: &'a mut Vec<u8>,
    in_quotes: bool,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

impl<'a> Escaped<'a> {
    fn new(line: &'a mut Vec<u8>) -> Self {
        Self {
            line,
            in_quotes: false,
        }
    }

    fn push(&mut self, text: &str) {
        let mut rest = text;
        while let Some((at, character)) = self.first_to_escape(rest) {
            self.line.extend_from_slice(&rest.as_bytes()[..at]);
            self.push_escaped(character);
            rest = &rest[at + character.len_utf8()..];
        }
        self.line.extend_from_slice(rest.as_bytes());
    }

    fn push_escaped(&mut self, character: char) {
        match character {
            '\n' => self.line.extend_from_slice(b"\\n"),
            '\r' => self.line.extend_from_slice(b"\\r"),
            '\t' => self.line.extend_from_slice(b"\\t"),
            '"' => self.line.extend_from_slice(b"\\\""),
            '\\' => self.line.extend_from_slice(b"\\\\"),
            _ => self
                .line
                .extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
        }
    }

    fn first_to_escape(&self, text: &str) -> Option<(usize, char)> {
        let needs_none = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if text.bytes().all(needs_none) {
            return None;
        }
        text.char_indices()
            .find(|&(_, character)| self.must_be_escaped(character))
    }

    fn must_be_escaped(&self, character: char) -> bool {
        match character {
            '"' | '\\' => self.in_quotes,
            // Line ends, and what reverses the direction of writing.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
            _ => character.is_control(),
        }
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn line(message: fmt::Arguments<'_>, fields: &[(&str, &str)]) -> String {
        let record = Record::builder()
            .level(Level::Info)
            .target("access")
            .args(message)
            .key_values(&fields)
            .build();
        let mut line = Vec::new();
        write(&mut line, &"2026-11-26T04:00:00.000Z", &record).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let text = "cut\n[2026 ERROR x] forged\r\u{1b}[31m\u{9b}m \u{202e}\u{2028}\\ \"é\"";
        assert_eq!(
            line(format_args!("{text}"), &[]),
            "[2026-11-26T04:00:00.000Z INFO  access] cut\\n[2026 ERROR x] forged\\r\\u001b[31m\\u009bm \\u202e\\u2028\\ \"é\"\n"
        );
    }

    #[test]
    fn no_value_looks_like_another_field() {
        let fields = [
            ("plain", "a/b-c:1"),
            ("empty", ""),
            ("forged", "x outcome=complete"),
            ("quotes", "\"\\"),
            ("lines", "a\nb"),
            ("umlaut", "ü"),
        ];
        assert_eq!(
            line(format_args!(""), &fields),
            "[2026-11-26T04:00:00.000Z INFO  access] plain=a/b-c:1 empty=\"\" forged=\"x outcome=complete\" quotes=\"\\\"\\\\\" lines=\"a\\nb\" umlaut=\"ü\"\n"
        );
    }
}
