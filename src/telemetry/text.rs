//! Lines for people: `[time LEVEL target] message`, or the fields of the access log in place of the
//! message: `key=value key="another value"`.

use std::fmt::{self, Write as _};

use log::Level;

use super::{Fields, Line};

/// Writes a line. Whatever its parts contain, it stays one line, and no part looks like another.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Line for Text<'_> {
    fn begin(&mut self, time: &str, level: Level, target: &str) {
        self.0.push(b'[');
        self.0.extend_from_slice(time.as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(padded(level).as_bytes());
        self.0.push(b' ');
        Escaped::new(self.0).push(target);
        self.0.push(b']');
    }

    fn message(&mut self, message: &fmt::Arguments<'_>) {
        self.0.push(b' ');
        let _ = write!(Escaped::new(self.0), "{message}");
    }

    fn end(&mut self) {
        self.0.push(b'\n');
    }
}

impl Fields for Text<'_> {
    fn text(&mut self, name: &str, value: &str) {
        if is_plain(value) {
            self.word(name, value);
        } else {
            let line = self.named(name);
            line.push(b'"');
            let mut quoted = Escaped::new(line);
            quoted.in_quotes = true;
            quoted.push(value);
            line.push(b'"');
        }
    }

    fn word(&mut self, name: &str, value: &str) {
        debug_assert!(is_plain(value), "{name}: {value:?}");
        self.named(name).extend_from_slice(value.as_bytes());
    }

    fn named(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.push(b' ');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0
    }
}

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
    use super::*;

    fn line(write: impl FnOnce(&mut Text<'_>)) -> String {
        let mut line = Vec::new();
        let mut text = Text(&mut line);
        text.begin("2026-11-26T04:00:00.000Z", Level::Info, "access");
        write(&mut text);
        text.end();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let text = "cut\n[2026 ERROR x] forged\r\u{1b}[31m\u{9b}m \u{202e}\u{2028}\\ \"é\"";
        assert_eq!(
            line(|line| line.message(&format_args!("{text}"))),
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
        let line = line(|line| {
            for (name, value) in fields {
                line.text(name, value);
            }
        });
        assert_eq!(
            line,
            "[2026-11-26T04:00:00.000Z INFO  access] plain=a/b-c:1 empty=\"\" forged=\"x outcome=complete\" quotes=\"\\\"\\\\\" lines=\"a\\nb\" umlaut=\"ü\"\n"
        );
    }
}
