//! Checks that a text is one JSON object (RFC 8259) and finds its members, in one pass that
//! builds nothing.
//!
//! `serde_json` either builds numbers and strings, and so refuses `1e999` and lone surrogates that
//! the grammar allows, or skips values without a bound on their depth.

use std::ops::Range;

use derive_more::{Display, Error};

/// How deep arrays and objects may be nested. Real requests stay under twenty; the bound keeps a
/// hostile one from exhausting the stack, here and in a provider's parser.
pub(super) const MAX_DEPTH: usize = 512;

/// Why a text isn't a JSON object. Never repeats the text, which may be confidential.
#[derive(Clone, Copy, Debug, Display, Error, PartialEq, Eq)]
pub(super) enum JsonError {
    /// It begins otherwise than an object does.
    #[display("it must be an object")]
    NotAnObject,
    /// It breaks the grammar.
    #[display("expected {expected} at byte {at}")]
    Syntax { expected: &'static str, at: usize },
    /// It nests deeper than [`MAX_DEPTH`].
    #[display("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

type Result<T> = std::result::Result<T, JsonError>;

/// Checks all of `text` and calls `visit` with each member of the outermost object: where its key
/// and its value are. A key's range includes the quotes.
pub(super) fn for_each_member(
    text: &str,
    visit: impl FnMut(Range<usize>, Range<usize>),
) -> Result<()> {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
    };
    scanner.skip_whitespace();
    if scanner.peek() != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    scanner.object(1, visit)?;
    scanner.skip_whitespace();
    match scanner.peek() {
        None => Ok(()),
        Some(_) => scanner.expected("the end"),
    }
}

/// The text of a string's literal, quotes included; `None` where an escape stands for no character
/// (a lone surrogate).
pub(super) fn decode_string(literal: &str) -> Option<String> {
    serde_json::from_str(literal).ok()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(depth + 1, |_, _| {}),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.expected("a value"),
        }
    }

    fn object(
        &mut self,
        depth: usize,
        mut visit: impl FnMut(Range<usize>, Range<usize>),
    ) -> Result<()> {
        self.open(depth)?;
        if self.accept(b'}') {
            return Ok(());
        }
        loop {
            let key = self.span(Self::key)?;
            self.skip_whitespace();
            if !self.accept(b':') {
                return self.expected("`:`");
            }
            self.skip_whitespace();
            let value = self.span(|scanner| scanner.value(depth))?;
            visit(key, value);
            self.skip_whitespace();
            if self.accept(b'}') {
                return Ok(());
            }
            if !self.accept(b',') {
                return self.expected("`,` or `}`");
            }
            self.skip_whitespace();
        }
    }

    fn array(&mut self, depth: usize) -> Result<()> {
        self.open(depth)?;
        if self.accept(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_whitespace();
            if self.accept(b']') {
                return Ok(());
            }
            if !self.accept(b',') {
                return self.expected("`,` or `]`");
            }
            self.skip_whitespace();
        }
    }

    /// Steps over the bracket that opens the container at this depth.
    fn open(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        self.skip_whitespace();
        Ok(())
    }

    fn key(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string(),
            _ => self.expected("a key in quotes"),
        }
    }

    fn string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            self.at += plain_run(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.expected("control characters to be escaped"),
                None => return self.expected("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                self.four_hexadecimal_digits()
            }
            _ => self.expected("an escape such as `\\n`"),
        }
    }

    fn four_hexadecimal_digits(&mut self) -> Result<()> {
        for _ in 0..4 {
            if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return self.expected("four hexadecimal digits");
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _ = self.accept(b'+') || self.accept(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let digits = self.bytes[self.at..].iter();
        match digits.take_while(|byte| byte.is_ascii_digit()).count() {
            0 => self.expected("a digit"),
            count => {
                self.at += count;
                Ok(())
            }
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Result<()> {
        if !self.bytes[self.at..].starts_with(literal) {
            return self.expected("a value");
        }
        self.at += literal.len();
        Ok(())
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn span(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<Range<usize>> {
        let start = self.at;
        step(self)?;
        Ok(start..self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T> {
        Err(JsonError::Syntax {
            expected,
            at: self.at,
        })
    }
}

/// How many bytes from the start on stand for themselves in a string: none is a quote, a backslash
/// or a control character. Nearly all of a large request is such runs, so many bytes are looked at
/// at once.
fn plain_run(bytes: &[u8]) -> usize {
    const STRIDE: usize = 32;
    let (strides, _) = bytes.as_chunks::<STRIDE>();
    let plain = strides.iter().take_while(|stride| !has_special(stride));
    let run = plain.count() * STRIDE;
    run + short_plain_run(&bytes[run..])
}

/// Without a branch, so that the compiler makes vector instructions of it.
fn has_special<const LENGTH: usize>(bytes: &[u8; LENGTH]) -> bool {
    let found = bytes
        .iter()
        .fold(0, |found, byte| found | u8::from(is_special(*byte)));
    found != 0
}

fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Eight bytes at once (<https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>).
fn short_plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;

    let mut run = 0;
    while let Some(eight) = bytes[run..].first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let special = (control | quote | backslash) & HIGH_BITS;
        if special != 0 {
            // A borrow may mark bytes after the first special one, never before it.
            return run + special.trailing_zeros() as usize / 8;
        }
        run += eight.len();
    }
    let rest = &bytes[run..];
    let special = rest.iter().position(|byte| is_special(*byte));
    run + special.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn check(text: &str) -> Result<()> {
        for_each_member(text, |_, _| {})
    }

    /// A judge of the whole grammar; `RawValue` skips numbers and strings without building them.
    fn serde_json_accepts(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok()
    }

    fn nested(levels: usize) -> String {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    }

    #[test]
    fn members_are_found_where_they_are() {
        let text = r#" { "a" : [1, {"b": 2}] ,"c\u0064":"x" } "#;
        let mut found = Vec::new();
        for_each_member(text, |key, value| {
            found.push((text[key].to_owned(), text[value].to_owned()));
        })
        .unwrap();
        let expected = [(r#""a""#, r#"[1, {"b": 2}]"#), (r#""c\u0064""#, r#""x""#)];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn what_is_json_passes_whatever_it_means() {
        for value in [
            "0",
            "-0",
            "10",
            "1e999",
            "-1.5E+10",
            "0.0e-0",
            "1E5",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "[ ]",
            "{}",
            "{ }",
            "[[],{}]",
            r#""\ud800""#,
            r#""\u0000\/\b\f\n\r\t\"\\""#,
            "\"\u{7f}é\u{2028}😀\"",
            r#"{"a":1,"a":2,"":3}"#,
        ] {
            let text = format!("{{\"v\":{value}}}");
            assert_eq!(check(&text), Ok(()), "{text}");
            assert!(serde_json_accepts(&text), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for value in [
            "",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "1e+",
            "0x10",
            "NaN",
            "Infinity",
            "tru",
            "True",
            "nul",
            "'a'",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12\"",
            "\"\n\"",
            "\"\u{1f}\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "1 2",
            "// x\n1",
            "\u{feff}1",
            "\u{a0}1",
        ] {
            let text = format!("{{\"v\":{value}}}");
            assert!(
                matches!(check(&text), Err(JsonError::Syntax { .. })),
                "{text}"
            );
            assert!(!serde_json_accepts(&text), "{text}");
        }
    }

    #[test]
    fn nothing_may_follow_the_object() {
        for text in ["{} x", "{}{}", "{},", "{}\0"] {
            assert!(
                matches!(check(text), Err(JsonError::Syntax { at, .. }) if at >= 2),
                "{text}"
            );
        }
        assert_eq!(check(" \t\r\n{ } \n"), Ok(()));
    }

    #[test]
    fn only_an_object_will_do() {
        for text in ["", " ", "[]", "1", "\"{}\"", "null", "\u{feff}{}"] {
            assert_eq!(check(text), Err(JsonError::NotAnObject), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(check(&nested(10_000)), Err(JsonError::TooDeep));
        let objects = r#"{"a":"#.repeat(10_000);
        assert_eq!(check(&objects), Err(JsonError::TooDeep));
    }

    #[test]
    fn a_special_byte_ends_a_run_wherever_it_is() {
        for special in [b'"', b'\\', 0, 0x1f] {
            for position in 0..100 {
                let mut bytes = vec![b'\x7f'; 104];
                bytes[position] = special;
                // A neighbour that differs from a special byte in one bit must not end the run.
                bytes[position + 1] = special ^ 1;
                bytes[position + 2] = 0xff;
                assert_eq!(plain_run(&bytes), position);
            }
        }
        assert_eq!(plain_run("é漢😀 ~#!][".repeat(3).as_bytes()), 3 * 15);
        assert_eq!(plain_run(b""), 0);
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_judged_as_serde_json_judges_it() {
        let text = r#"{"a":[-1.5e+3,true,null,{"b":"c\u00e9\n"}],"d":{},"e":[]}"#;
        for end in 1..text.len() {
            assert!(check(&text[..end]).is_err(), "{}", &text[..end]);
        }
        for position in 1..text.len() {
            for byte in 0..0x80_u8 {
                let mut changed = text.as_bytes().to_vec();
                changed[position] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(
                    check(&changed).is_ok(),
                    serde_json_accepts(&changed),
                    "{changed}"
                );
            }
        }
    }
}
